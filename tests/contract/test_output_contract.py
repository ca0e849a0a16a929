"""Outputs, as every store has them: written as a whole, and once for each commit; zarkov.store.contract.Outputs."""

import os
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import bson
import pytest
from bson import Int64, ObjectId

from stores import Keeps, Open, event
from zarkov.errors import AppendOnly, DocumentExists, FilterInvalid, StoreError, StoreFailed
from zarkov.store.contract import COMMIT_BYTES_MAX, Row, Store
from zarkov.store.keys import id_key

#: Batches are small here, so that there are many without many documents (FerretDB looks through all of a collection
#: for each that it changes).
BATCH_COUNT = 20
SMALLER = {
    "encoded.BATCH_COUNT": BATCH_COUNT,
    "sqlite_output.BATCH_COUNT": BATCH_COUNT,
    "sqlite_output.SHARED_MAX": BATCH_COUNT * 2,
    "document_table.PAGE_COUNT": BATCH_COUNT + 1,
    "document_file.PAGE_COUNT": BATCH_COUNT + 1,
    "document_file.CLEARED_COUNT": BATCH_COUNT + 2,
    "mongo_stage.COPIED_COUNT": BATCH_COUNT // 2,
    "mongo_output.ASKED_COUNT": BATCH_COUNT // 2,
}
#: One batch, which the embedded store keeps in its first file, and several, which get a file of their own.
SMALL, LARGE = 3, BATCH_COUNT * 2 + 7
KEYS: list[Any] = [
    None,
    -1.5,
    0,
    Int64(2),
    2**53 + 1,
    "",
    "é",
    {"0": "allura", "1": 9},
    {"1": 9, "0": "allura"},
    b"bytes",
    ObjectId("0" * 24),
    False,
    True,
    datetime(2011, 7, 20, 1, 2, 3, 4000),
]


@pytest.fixture(autouse=True)
def _smaller(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in SMALLER.items():
        monkeypatch.setattr(f"zarkov.store.{name}", value)


@pytest.fixture
def store(open_store: Open) -> Store:
    return open_store()


def numbered(count: int, value: Any = "new") -> Iterator[dict[str, Any]]:
    return ({"_id": number, "value": value} for number in range(count))


def rows(*documents: dict[str, Any]) -> list[Row]:
    """As map-reduce hands them over."""
    return [(id_key(each["_id"]), bson.encode(each)) for each in documents]


def content(store: Store, name: str = "out") -> dict[Any, Any]:
    return {each["_id"]: each["value"] for each in store.collection(name).find()}


def fill(store: Store, how: str, name: str = "out") -> None:
    """An old content of each kind: none, of a user's making, of a small output, of a large one."""
    if how == "by hand":
        store.collection(name).insert_many(numbered(SMALL * 2, "old"))
    elif how == "small":
        store.replace(name, numbered(SMALL * 2, "old"), commit="before")
    elif how == "large":
        store.replace(name, numbered(LARGE + 5, "old"), commit="before")


BEFORE = ("nothing", "by hand", "small", "large")


@pytest.mark.parametrize("count", [0, 1, SMALL, BATCH_COUNT, BATCH_COUNT + 1, LARGE])
@pytest.mark.parametrize("before", BEFORE)
def test_replace_makes_the_documents_the_whole_content(store: Store, before: str, count: int) -> None:
    fill(store, before)
    assert store.replace("out", numbered(count), commit="job") is True
    assert content(store) == dict.fromkeys(range(count), "new")
    assert store.collection("out").count_documents({}) == count
    assert store.was_committed("job", "out")


@pytest.mark.parametrize("count", [0, 1, SMALL, BATCH_COUNT, LARGE])
@pytest.mark.parametrize("before", BEFORE)
def test_merge_writes_whole_documents_and_leaves_the_others(store: Store, before: str, count: int) -> None:
    fill(store, before)
    old = content(store)
    assert store.merge("out", numbered(count), commit="job") is True
    assert content(store) == old | dict.fromkeys(range(count), "new")
    assert {frozenset(each) for each in store.collection("out").find()} <= {frozenset({"_id", "value"})}
    assert store.was_committed("job", "out")


@pytest.mark.parametrize("count", [SMALL, LARGE])
@pytest.mark.parametrize("how", ["replace", "merge"])
def test_a_commit_is_written_once_however_often_it_is_asked_for(store: Store, how: str, count: int) -> None:
    write = getattr(store, how)
    assert not store.was_committed("job", "out")
    assert write("out", numbered(count), commit="job") is True
    store.collection("out").update_one({"_id": 1}, {"$set": {"value": "changed since"}})

    def unread() -> Iterator[dict[str, Any]]:
        raise AssertionError("documents of a commit that was written are not read")
        yield {}

    assert write("out", unread(), commit="job") is False
    assert content(store)[1] == "changed since"
    assert write("out", numbered(count), commit="another job") is True
    assert content(store)[1] == "new"


def test_one_commit_may_write_several_collections_each_once(store: Store) -> None:
    for name in ("perftest.a", "perftest.b"):
        assert store.merge(name, numbered(SMALL), commit="job") is True
        assert store.was_committed("job", name)
    assert store.merge("perftest.a", numbered(SMALL, "again"), commit="job") is False
    assert not store.was_committed("job", "perftest.c")
    assert content(store, "perftest.a") == content(store, "perftest.b") == dict.fromkeys(range(SMALL), "new")


@pytest.mark.parametrize("count", [SMALL, LARGE])
@pytest.mark.parametrize("after", ["replace", "merge", "drop", "rename", "rename over", "drop_database"])
def test_a_commit_is_remembered_whatever_becomes_of_its_collection(store: Store, after: str, count: int) -> None:
    fill(store, "large")
    for how in ("replace", "merge"):
        getattr(store, how)("out", numbered(count), commit=how)
    out = store.collection("out")
    if after == "drop":
        out.drop()
    elif after == "rename":
        out.rename("elsewhere")
    elif after == "rename over":
        store.collection("other").insert_one({"_id": 1})
        store.collection("other").rename("out", drop_target=True)
    elif after == "drop_database":
        store.drop_database()
    else:
        getattr(store, after)("out", numbered(LARGE), commit="later")
    for how in ("replace", "merge"):
        assert store.was_committed(how, "out")
        assert getattr(store, how)("out", numbered(count), commit=how) is False


@pytest.mark.parametrize("count", [SMALL, LARGE])
def test_what_was_written_is_a_collection_like_any_other(store: Store, keeps: Keeps, count: int) -> None:
    for how in ("replace", "merge"):
        getattr(store, how)(how, numbered(count), commit="job")
    assert store.collection_names() == ["event", "merge", "replace"]
    out = store.collection("replace")
    assert out.find_one(1) == {"_id": 1, "value": "new"}
    assert out.update_one({"_id": 1}, {"$set": {"value": "changed"}}).modified_count == 1
    assert out.update_many({"_id": {"$lt": 2}}, {"$set": {"more": 1}}).modified_count == 2
    assert out.find_one_and_delete({"_id": 0}) == {"_id": 0, "value": "new", "more": 1}
    out.insert_one({"_id": "x", "value": "inserted"})
    with pytest.raises(DocumentExists):
        out.insert_one({"_id": 1})
    assert out.distinct("value") == ["changed", "inserted", "new"]
    assert [each["_id"] for each in out.find({"_id": {"$gte": 1}}).sort("_id", -1)] == [*range(count - 1, 0, -1)]
    assert out.count_documents({}) == out.estimated_document_count() == count
    if keeps("indexes"):
        out.create_index("value")
        assert "value_1" in out.index_information()
    out.rename("elsewhere")
    assert store.collection_names() == ["elsewhere", "event", "merge"]
    assert store.collection("elsewhere").find_one(1) == {"_id": 1, "value": "changed", "more": 1}
    assert out.count_documents({}) == 0
    with pytest.raises(DocumentExists):
        store.collection("merge").rename("elsewhere")
    store.collection("merge").rename("elsewhere", drop_target=True)
    assert content(store, "elsewhere") == dict.fromkeys(range(count), "new")
    store.collection("elsewhere").drop()
    assert store.collection_names() == ["event"]
    store.collection("elsewhere").insert_one({"_id": 9, "value": "anew"})
    assert content(store, "elsewhere") == {9: "anew"}
    store.drop_database()
    assert store.collection_names() == ["event"]


@pytest.mark.parametrize("how", ["replace", "merge"])
def test_keys_of_every_kind_come_as_rows_and_are_found_by_them(store: Store, how: str) -> None:
    wanted = rows(*({"_id": key, "value": at} for at, key in enumerate(KEYS)))
    getattr(store, how)("out", wanted, commit="job")
    assert sorted(store.stored("out", wanted)) == sorted(wanted)
    assert [store.collection("out").find_one({"_id": key})["value"] for key in KEYS] == [*range(len(KEYS))]
    same = rows({"_id": 0.0}, {"_id": Int64(0)}, {"_id": 2.0}, {"_id": "nowhere"})
    assert sorted(bson.decode(data)["value"] for _, data in store.stored("out", same[1:])) == [2, 3]
    assert store.stored("out", []) == []
    assert store.stored("nothing", wanted) == []


@pytest.mark.parametrize("count", [1, BATCH_COUNT, LARGE])
def test_of_many_keys_those_that_are_stored_are_found(store: Store, count: int) -> None:
    store.replace("out", numbered(count), commit="job")
    asked = rows(*({"_id": number} for number in range(0, 2 * count, 3)))
    found = store.stored("out", asked)
    assert sorted(bson.decode(data)["_id"] for _, data in found) == [*range(0, count, 3)]
    assert {key for key, _ in found} <= {key for key, _ in asked}


def test_documents_without_an_id_get_one_and_stay_as_they_were(store: Store) -> None:
    document = {"value": 1}
    store.replace("out", [document, {"value": 2}], commit="job")
    assert document == {"value": 1}
    assert all(isinstance(key, ObjectId) for key in content(store))


def test_documents_may_come_in_any_order(store: Store) -> None:
    backwards = [{"_id": number, "value": number} for number in reversed(range(LARGE))]
    store.replace("out", backwards, commit="job")
    assert content(store) == {number: number for number in range(LARGE)}


@pytest.mark.parametrize("how", ["replace", "merge"])
@pytest.mark.parametrize("before", BEFORE)
@pytest.mark.parametrize("at", [0, 2, BATCH_COUNT + 1, LARGE - 1])
def test_an_error_of_what_is_read_is_raised_as_it_is_and_changes_nothing(
    store: Store, how: str, before: str, at: int
) -> None:
    fill(store, before)
    old = content(store)

    def failing() -> Iterator[dict[str, Any]]:
        for number in range(LARGE):
            if number == at:
                raise ZeroDivisionError
            yield {"_id": number, "value": "new"}

    with pytest.raises(ZeroDivisionError):
        getattr(store, how)("out", failing(), commit="job")
    assert content(store) == old
    assert not store.was_committed("job", "out")
    assert getattr(store, how)("out", numbered(1), commit="job") is True
    assert content(store)[0] == "new"


@pytest.mark.parametrize("how", ["replace", "merge"])
@pytest.mark.parametrize("second", [1, LARGE])
def test_two_documents_with_one_id_are_refused(store: Store, how: str, second: int) -> None:
    fill(store, "small")
    old = content(store)
    twice = [*numbered(second), {"_id": 0.0, "value": "twice"}]
    with pytest.raises(DocumentExists, match="same `_id`"):
        getattr(store, how)("out", twice, commit="job")
    assert content(store) == old
    assert not store.was_committed("job", "out")


def test_what_cannot_be_stored_is_refused_and_changes_nothing(store: Store) -> None:
    fill(store, "small")
    old = content(store)
    for value in (2**64, {1, 2}, "\ud800", "x" * (17 * 1024 * 1024)):
        for write in (store.replace, store.merge):
            with pytest.raises(StoreFailed):
                write("out", [*numbered(LARGE), {"_id": "x", "value": value}], commit="job")
    assert content(store) == old


def test_names_and_ids_that_cannot_be_are_refused(open_store: Open) -> None:
    store = open_store([[event(1)]])
    for write in (store.replace, store.merge):
        for name in ("event", "event.0"):
            with pytest.raises(AppendOnly):
                write(name, numbered(1), commit="job")
        for name in ("", "$cmd", "zarkov.commits", "system.users"):
            with pytest.raises(FilterInvalid):
                write(name, numbered(1), commit="job")
        for commit in ("", "a\x00b", "x" * (COMMIT_BYTES_MAX + 1)):
            with pytest.raises(FilterInvalid):
                write("out", numbered(1), commit=commit)
    assert store.collection_names() == ["event"]


def test_ids_of_commits_are_told_apart_whatever_is_in_them(store: Store) -> None:
    store.merge("b out", numbered(1), commit="a")
    assert not store.was_committed("a b", "out")
    odd = "job/7 of é %20" + "x" * 150
    store.merge("out", numbered(1), commit=odd)
    assert store.was_committed(odd, "out")
    assert not store.was_committed("job/7 of é  " + "x" * 150, "out")


@pytest.mark.parametrize("count", [SMALL, LARGE])
def test_a_cursor_sees_the_old_content_or_fails_when_its_collection_is_replaced(store: Store, count: int) -> None:
    for name, before in (("by hand", LARGE), ("small", SMALL), ("large", LARGE)):
        if name == "by hand":
            store.collection(name).insert_many(numbered(before, "old"))
        else:
            store.replace(name, numbered(before, "old"), commit="before")
        cursor = store.collection(name).find().sort("_id")
        seen = [next(cursor)]
        store.replace(name, numbered(count), commit="job")
        try:
            seen += cursor
        except StoreError:
            assert len(seen) < before
        else:
            assert len(seen) == before
        assert {each["value"] for each in seen} == {"old"}
        assert content(store, name) == dict.fromkeys(range(count), "new")


def test_indexes_stay_when_a_collection_is_replaced(store: Store, keeps: Keeps) -> None:
    if not (keeps("indexes") and keeps("rename in one step")):
        return
    fill(store, "small")
    store.collection("out").create_index("value")
    store.collection("out").create_index("unique", unique=True, sparse=True, name="mine")
    store.replace("out", numbered(SMALL), commit="job")
    found = store.collection("out").index_information()
    assert set(found) == {"_id_", "value_1", "mine"}
    assert found["mine"]["unique"]


def test_a_merge_leaves_no_trace_but_its_documents(store: Store, keeps: Keeps) -> None:
    fill(store, "by hand")
    seen: list[set[str]] = []

    def looking() -> Iterator[dict[str, Any]]:
        for document in numbered(LARGE):
            if document["_id"] == LARGE - 1:
                seen.extend(set(each) for each in store.collection("out").find())
            yield document

    store.merge("out", looking(), commit="job")
    assert {frozenset(each) for each in seen} == {frozenset({"_id", "value"})}
    assert len(seen) == SMALL * 2  # nothing of it was to be seen before all of it was read
    if keeps("merge in one step"):
        store.merge("out", [{"_id": 0, "value": 1, "zarkov_commit": "mine"}], commit="mine")
    else:
        with pytest.raises(StoreFailed, match="zarkov_commit"):
            store.merge("out", [{"_id": 0, "value": 1, "zarkov_commit": "mine"}], commit="mine")
        store.merge("out", [{"_id": 0, "value": {"zarkov_commit": "zarkov_commit\x00"}}], commit="nested")
    assert store.collection_names() == ["event", "out"]
    assert store.unsettled() == []


def test_old_commits_are_forgotten_and_newer_ones_are_not(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("document_table", "mongo_commits"):
        monkeypatch.setattr(f"zarkov.store.{module}.COMMITS_MAX", 5)
    monkeypatch.setattr("zarkov.store.mongo_commits._SLACK", 0)
    for number in range(12):
        store.merge("out", numbered(1), commit=f"job {number}")
    assert [store.was_committed(f"job {number}", "out") for number in range(12)] == [False] * 7 + [True] * 5


def test_settling_what_is_done_or_was_never_begun_changes_nothing(store: Store) -> None:
    store.settle("nothing")
    store.replace("out", numbered(LARGE), commit="job")
    store.settle("job")
    assert len(content(store)) == LARGE
    assert store.unsettled() == []


def test_stores_opened_twice_see_each_others_outputs(store: Store, backend: str) -> None:
    """As two processes would: the file of a collection that is open changes under it."""
    if backend != "sqlite":
        return
    from zarkov.store.sqlite import SqliteStore

    with SqliteStore(store._events, store._documents.path) as other:  # type: ignore[attr-defined]
        for number in range(4):
            store.replace("out", numbered(LARGE + number, number), commit=f"a {number}")
            assert set(content(other).values()) == {number}
            assert other.merge("out", numbered(LARGE, -number), commit=f"b {number}")
            assert store.was_committed(f"b {number}", "out")
            assert len(content(store)) == LARGE + number
    assert os.listdir(store._documents.outputs.folder)  # type: ignore[attr-defined]
