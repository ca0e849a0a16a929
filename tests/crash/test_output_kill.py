"""kill -9 in the middle of writing an output: it is there as a whole or not at all, and in the end once."""

from __future__ import annotations

import os
import random
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from mongod import MongoServer
from outputs import OUT, content, open_outputs, start, was_killed, write
from zarkov.crash import OUTPUT_POINTS
from zarkov.store.mongo import MongoStore
from zarkov.store.sqlite import SqliteStore

ROUNDS = int(os.environ.get("ZARKOV_TEST_ROUNDS", "50" if os.environ.get("CI") else "10"))
#: Documents of a batch, and of the outputs: one batch, and several.
BATCH, SMALL, LARGE = 10, 7, 45


@pytest.fixture(params=["sqlite", "mongo"])
def place(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Where a store is, with small batches in every process that opens it."""
    monkeypatch.setenv("BATCH", str(BATCH))
    for name in ("encoded.BATCH_COUNT", "sqlite_output.BATCH_COUNT", "mongo_stage.COPIED_COUNT"):
        monkeypatch.setattr(f"zarkov.store.{name}", BATCH)
    monkeypatch.setattr("zarkov.store.sqlite_output.SHARED_MAX", 4 * BATCH)
    monkeypatch.setattr("zarkov.store.document_table.PAGE_COUNT", BATCH + 1)
    monkeypatch.setattr("zarkov.store.document_file.PAGE_COUNT", BATCH + 1)
    if request.param == "sqlite":
        yield str(tmp_path)
        return
    mongo: MongoServer = request.getfixturevalue("mongo")
    yield f"{mongo.uri} {mongo.database()}"


def check_tidy(store: SqliteStore | MongoStore) -> None:
    """Nothing is left of attempts."""
    assert store.unsettled() == []
    if isinstance(store, MongoStore):
        names = store.database.list_collection_names()
        assert [name for name in names if name.startswith("zarkov.stage")] == []
        return
    documents = store._documents
    files = {path.name.partition("-")[0] for path in documents.outputs.folder.glob("*")}
    assert files == {f"{name}.sqlite" for name in documents.placed().values()}
    for collection in documents.placed():
        assert documents.main.count(collection) == 0


@pytest.mark.parametrize("point", OUTPUT_POINTS)
@pytest.mark.parametrize("how", ["replace", "merge"])
def test_an_output_killed_at_a_named_point_is_written_once(place: str, how: str, point: str) -> None:
    """After each kill some documents are changed by somebody else: what was written already keeps the change."""
    rng = random.Random(f"{how} {point}")
    kills = 0
    for commit in range(1, ROUNDS + 1):
        count = rng.choice([SMALL, SMALL * 2, LARGE * 2]) if commit > 1 else LARGE
        killed = was_killed(place, how, count, commit, f"{point}:{rng.choice([1, 1, 2, 3]) if commit > 1 else 1}")
        kills += killed
        with open_outputs(place) as store:
            seen = content(store)
            copying = isinstance(store, MongoStore) and how == "replace" and point == "in_publish"
            assert copying or how == "merge" or set(seen.values()) in ({commit}, {commit - 1}, set())
            changed = [] if copying else rng.sample(sorted(seen), min(3, len(seen)))
            for number in changed:
                store.collection(OUT).update_one({"_id": number}, {"$inc": {"n": 1000}})
            if killed and commit % 3 == 0:
                store.settle(f"job {commit}")
                if store.was_committed(f"job {commit}", OUT):
                    assert {value % 1000 for value in list(content(store).values())[:count]} == {commit}
            if killed or commit % 2:
                write(store, how, commit, count)
            old = seen if how == "merge" else {}
            expected = old | dict.fromkeys(range(count), commit)
            for number in changed:
                if seen[number] == commit or number >= count:
                    expected[number] = seen[number] + 1000
            if how == "replace":
                expected = {number: value for number, value in expected.items() if number < count}
            assert content(store) == expected, f"commit {commit} of {count}"
            assert write(store, how, commit, count) is False
            assert store.was_committed(f"job {commit}", OUT)
            check_tidy(store)
            store.collection(OUT).update_many({"n": {"$gt": 1000}}, {"$set": {"n": 0}})
            store.collection(OUT).update_many({}, {"$set": {"n": commit}})
    assert kills or (point == "before_publish" and not place.startswith("mongodb"))


@pytest.mark.parametrize("how", ["replace", "merge"])
def test_kills_at_any_moment_leave_a_whole_commit_and_the_next_goes_on(place: str, how: str) -> None:
    rng = random.Random(20261201)
    done, count = 0, LARGE
    for _ in range(ROUNDS):
        process = start(place, how, count, done + 1, 10_000)
        assert process.stdout is not None
        with process:
            printed = process.stdout.readline()
            timer = threading.Timer(rng.uniform(0, 0.3), process.kill)
            timer.start()
            lines = [printed, *process.stdout]
            timer.join()
        assert process.returncode != 0
        done = max(done, *(int(line) for line in lines if line.endswith("\n")))
        with open_outputs(place) as store:
            if not place.startswith("mongodb"):
                assert set(content(store).values()) in ({done}, {done + 1})
                assert len(content(store)) == count
            done += 1
            write(store, how, done, count)
            assert content(store) == dict.fromkeys(range(count), done)
            check_tidy(store)


def test_readers_never_see_a_mixture_while_outputs_are_replaced(tmp_path: Path) -> None:
    """Large and small ones in turn; readers in this process, the writer in another."""
    place = str(tmp_path)
    with open_outputs(place) as store:
        write(store, "replace", 0, 3000)
        writers = [start(place, "replace", size, at, at + 30) for at, size in ((100, 900), (200, 3000))]
        seen = 0
        with writers[0], writers[1]:
            while any(writer.poll() is None for writer in writers) or seen < 10:
                values = [each["n"] for each in store.collection(OUT).find()]
                assert len(set(values)) == 1
                assert len(values) in (900, 3000)
                assert store.collection(OUT).count_documents({}) in (900, 3000)
                seen += 1
        assert [writer.returncode for writer in writers] == [0, 0]
        check_tidy(store)
