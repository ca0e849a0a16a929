"""Outputs against a plain dict: any commits, retries and changes, in two stores over the same files."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from outputs import NoEvents
from zarkov.store import document_file, document_table, encoded, sqlite_output
from zarkov.store.sqlite import SqliteStore

NAMES = ("a", "b", "c")
#: Batches are small, so that a few documents are a large output.
BATCH = 3

_names = st.sampled_from(NAMES)
_numbers = st.lists(st.integers(0, 25), unique=True, max_size=14)
_which = st.integers(0, 1)


class Outputs(RuleBasedStateMachine):
    """`model` is what each collection should hold, `commits` what was committed, by (commit, collection)."""

    def __init__(self) -> None:
        super().__init__()
        self.patched = pytest.MonkeyPatch()
        for module, name, value in (
            (encoded, "BATCH_COUNT", BATCH),
            (sqlite_output, "BATCH_COUNT", BATCH),
            (sqlite_output, "SHARED_MAX", 3 * BATCH),
            (document_table, "PAGE_COUNT", BATCH + 1),
            (document_file, "PAGE_COUNT", BATCH + 1),
            (document_file, "CLEARED_COUNT", 2),
            (document_file, "OPEN_MAX", 1),
        ):
            self.patched.setattr(module, name, value)
        self.folder = Path(tempfile.mkdtemp())
        self.stores: list[SqliteStore] = []
        self.model: dict[str, dict[int, Any]] = {name: {} for name in NAMES}
        self.commits: set[tuple[str, str]] = set()
        self.serial = 0

    @initialize()
    def open(self) -> None:
        self.stores = [SqliteStore(NoEvents(), self.folder / "documents.sqlite") for _ in range(2)]

    @rule(which=_which, how=st.sampled_from(["replace", "merge"]), name=_names, numbers=_numbers, retry=st.booleans())
    def commit(self, which: int, how: str, name: str, numbers: list[int], retry: bool) -> None:
        self.serial += not retry
        commit, is_new = f"job {self.serial}", (f"job {self.serial}", name) not in self.commits
        documents = [{"_id": number, "value": [self.serial, which]} for number in numbers]
        assert getattr(self.stores[which], how)(name, documents, commit=commit) is is_new
        if is_new:
            self.commits.add((commit, name))
            kept = {} if how == "replace" else self.model[name]
            self.model[name] = kept | {number: [self.serial, which] for number in numbers}

    @rule(which=_which, how=st.sampled_from(["replace", "merge"]), name=_names, numbers=_numbers)
    def fail(self, which: int, how: str, name: str, numbers: list[int]) -> None:
        def failing() -> Any:
            yield from ({"_id": number} for number in numbers)
            raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            getattr(self.stores[which], how)(name, failing(), commit="fails")

    @rule(which=_which, name=_names, below=st.integers(0, 25))
    def change(self, which: int, name: str, below: int) -> None:
        changed = self.stores[which].collection(name).update_many({"_id": {"$lt": below}}, {"$push": {"value": "x"}})
        for number, value in self.model[name].items():
            if number < below:
                self.model[name][number] = [*value, "x"]
        assert changed.modified_count == sum(number < below for number in self.model[name])

    @rule(which=_which, name=_names, numbers=_numbers)
    def add_and_remove(self, which: int, name: str, numbers: list[int]) -> None:
        collection, model = self.stores[which].collection(name), self.model[name]
        collection.insert_many({"_id": number, "value": ["hand"]} for number in numbers if number not in model)
        model |= {number: ["hand"] for number in numbers if number not in model}
        for number in numbers[::2]:
            assert collection.delete_one({"_id": number}).deleted_count == 1
            del model[number]

    @rule(which=_which, old=_names, new=_names)
    def rename(self, which: int, old: str, new: str) -> None:
        self.stores[which].collection(old).rename(new, drop_target=True)
        if old != new:
            self.model[new], self.model[old] = self.model[old], {}

    @rule(which=_which, name=_names)
    def drop(self, which: int, name: str) -> None:
        self.stores[which].collection(name).drop()
        self.model[name] = {}

    @rule(which=_which)
    def reopen(self, which: int) -> None:
        self.stores[which].close()

    @invariant()
    def both_hold_what_the_model_holds(self) -> None:
        for store in self.stores:
            for name in NAMES:
                found = {each["_id"]: each["value"] for each in store.collection(name).find()}
                assert found == self.model[name]
                assert store.collection(name).count_documents({}) == len(found)
            assert set(store.collection_names()) - {"event"} == {name for name in NAMES if self.model[name]}
            assert all(store.was_committed(commit, name) for commit, name in self.commits)
            assert not store.was_committed("fails", "a")
            assert store.unsettled() == []

    @invariant()
    def nothing_is_left_over(self) -> None:
        if self.stores:
            documents = self.stores[0]._documents
            files = {path.name.partition(".")[0] for path in documents.outputs.folder.glob("*")}
            assert files == set(documents.placed().values())

    def teardown(self) -> None:
        for store in self.stores:
            store.close()
        self.patched.undo()
        shutil.rmtree(self.folder)


TestOutputs = Outputs.TestCase
TestOutputs.settings = settings(settings.get_profile("default"), stateful_step_count=25)
