"""Documents, cursors and collections, as every store has them: the rules of zarkov.store.contract."""

from datetime import datetime
from typing import Any

import pytest
from bson import Decimal128, Int64, ObjectId

from stores import DAY, Keeps, Open, event, numbers
from zarkov.errors import (
    AppendOnly,
    DocumentExists,
    FilterInvalid,
    StoreFailed,
    StoreUnreachable,
    UpdateInvalid,
)
from zarkov.store.compare import sort_key
from zarkov.store.contract import Collection

# --- cursors


def test_a_cursor_reads_nothing_before_its_first_document_and_starts_again_when_rewound(things: Collection) -> None:
    cursor = things.find()
    things.insert_one({"_id": 1})
    assert list(cursor) == [{"_id": 1}]
    things.insert_one({"_id": 2})
    assert list(cursor) == []
    assert cursor.rewind().to_list() == [{"_id": 1}, {"_id": 2}]


def test_a_cursor_being_read_cannot_be_asked_otherwise(events: Collection) -> None:
    cursor = events.find()
    next(cursor)
    with pytest.raises(FilterInvalid, match="being read"):
        cursor.limit(3)


def test_what_is_asked_wrongly_is_refused(events: Collection, things: Collection) -> None:
    things.insert_one({"a": 1})  # FerretDB reads a filter only where there is something to filter
    for collection in (events, things):
        for attempt in (
            lambda c: c.find({"a": {"$near": 1}}).to_list(),
            lambda c: c.count_documents({"$where": "1"}),
            lambda c: c.find().sort("a", 2),
            lambda c: c.find().sort([("a", 1), ("$natural", 1)]),
            lambda c: c.find().skip(-1),
            lambda c: c.find([1]).to_list(),
            lambda c: c.count_documents({"a": {2, 3}}),
        ):
            with pytest.raises(FilterInvalid):
                attempt(collection)


# --- documents


def test_a_document_reads_back_as_bson_keeps_it(things: Collection) -> None:
    result = things.insert_one({"when": datetime(2011, 7, 20, 1, 2, 3, 4567), "list": (1, 2), "n": None})
    assert isinstance(result.inserted_id, ObjectId)
    assert things.find_one(result.inserted_id) == {
        "_id": result.inserted_id,
        "when": datetime(2011, 7, 20, 1, 2, 3, 4000),
        "list": [1, 2],
        "n": None,
    }


IDS: list[Any] = [
    None,
    float("-inf"),
    -(2**63),
    -1.5,
    0,
    1,
    Int64(2),
    2**53,
    2**53 + 1,
    2**53 + 2,
    float("inf"),
    "",
    "a",
    "a\x00",
    "a\x00b",
    "ab",
    "é",
    {},
    {"a": 1},
    {"a": 1, "b": 2},
    {"b": 1},
    {"a": "x"},
    {"a": ["x", 2]},
    b"zz",
    b"aaa",
    ObjectId("0" * 24),
    False,
    True,
    datetime(1901, 1, 1),
    DAY,
]


@pytest.fixture
def ids(keeps: Keeps) -> list[Any]:
    return [each for each in IDS if keeps("infinity") or each not in (float("inf"), float("-inf"))]


def test_documents_of_every_kind_of_id_are_found_and_lie_in_their_order(
    things: Collection, keeps: Keeps, ids: list[Any]
) -> None:
    things.insert_many({"_id": ident} for ident in reversed(ids))
    if keeps("id order"):
        assert [document["_id"] for document in things.find()] == sorted(ids, key=sort_key)
    assert [document["_id"] for document in things.find().sort("_id")] == sorted(ids, key=sort_key)
    assert [document["_id"] for document in things.find().sort("_id", -1)] == sorted(ids, key=sort_key, reverse=True)
    for ident in ids:
        found = things.find_one({"_id": {"$eq": ident}})
        assert found is not None
        assert sort_key(found["_id"]) == sort_key(ident)


@pytest.mark.parametrize("operator", ["$eq", "$gt", "$gte", "$lt", "$lte"])
def test_a_range_of_ids_is_what_the_filter_says_of_each(
    things: Collection, keeps: Keeps, ids: list[Any], operator: str
) -> None:
    from zarkov.store.filter import compile_filter

    things.insert_many({"_id": ident} for ident in ids)
    for ident in [*ids, "aa", 7, *([float("nan")] if keeps("nan") else [])]:
        filter = {"_id": {operator: ident}}
        expected = [each for each in sorted(ids, key=sort_key) if compile_filter(filter)({"_id": each})]
        assert [document["_id"] for document in things.find(filter).sort("_id")] == expected
        assert things.count_documents(filter) == len(expected)


def test_an_id_is_there_once(things: Collection, keeps: Keeps) -> None:
    things.insert_many([{"_id": 1}, {"_id": True}])
    for taken in (1, 1.0, Int64(1)):
        with pytest.raises(DocumentExists, match="already"):
            things.insert_one({"_id": taken})
        with pytest.raises(DocumentExists, match="already"):
            things.insert_many([{"_id": str(taken), "first": type(taken).__name__}, {"_id": taken}])
    assert things.count_documents({"_id": {"$type": ["int", "bool"]}}) == 2
    assert (things.count_documents({}) == 2) is keeps("all or none")


def test_an_array_is_no_id(things: Collection) -> None:
    with pytest.raises(StoreFailed):
        things.insert_one({"_id": [1]})
    assert things.count_documents({}) == 0


@pytest.mark.parametrize("ident", [Decimal128("1"), "x" * 9000])
def test_an_id_of_a_rare_type_or_a_long_one_is_refused_where_this_is_promised(
    things: Collection, keeps: Keeps, ident: Any
) -> None:
    if keeps("plain ids"):
        with pytest.raises(StoreFailed):
            things.insert_one({"_id": ident})
        assert things.find_one({"_id": ident}) is None
    elif isinstance(ident, str) or keeps("decimals"):
        things.insert_one({"_id": ident})
        assert things.find_one({"_id": ident}) == {"_id": ident}


def test_rare_numbers_are_stored(things: Collection, keeps: Keeps) -> None:
    for at, (value, promise) in enumerate(
        [(float("inf"), "infinity"), (float("-inf"), "infinity"), (Decimal128("1.5"), "decimals")]
    ):
        if keeps(promise):
            things.insert_one({"_id": at, "v": value})
            assert things.find_one({"v": value}) == {"_id": at, "v": value}
        else:
            with pytest.raises((StoreFailed, StoreUnreachable)):
                things.insert_one({"_id": at, "v": value})


def test_a_document_that_bson_cannot_hold_is_refused(things: Collection) -> None:
    for value in (2**64, {1, 2}, "\ud800", "x" * (17 * 1024 * 1024)):
        with pytest.raises(StoreFailed):
            things.insert_one({"value": value})
    assert things.count_documents({}) == 0


def test_replace_keeps_the_id_and_upserts_when_asked(things: Collection, keeps: Keeps) -> None:
    assert things.replace_one({"_id": 1}, {"a": 1}).matched_count == 0
    assert things.replace_one({"_id": 1}, {"_id": 1, "a": 1}, upsert=True).upserted_id == 1
    result = things.replace_one({"a": 1}, {"b": 2})
    assert (result.matched_count, result.modified_count, result.upserted_id) == (1, 1, None)
    assert (things.replace_one({"b": 2}, {"b": 2}).modified_count == 0) is keeps("unchanged")
    assert list(things.find()) == [{"_id": 1, "b": 2}]
    with pytest.raises(UpdateInvalid, match="cannot change the `_id`"):
        things.replace_one({"b": 2}, {"_id": 5})
    with pytest.raises(UpdateInvalid, match="no operators"):
        things.replace_one({}, {"$set": {"a": 1}})


def test_updates_change_one_or_all(things: Collection, backend: str) -> None:
    # More than a page of the embedded store; FerretDB looks through all documents for each that it changes.
    all_of_them = 3000 if backend == "sqlite" else 300
    most = all_of_them - 50
    things.insert_many({"_id": n, "n": n} for n in range(all_of_them))
    assert things.update_one({"n": {"$gte": 10}}, {"$inc": {"n": -10}}).modified_count == 1
    assert things.find_one(10) == {"_id": 10, "n": 0}
    result = things.update_many({"n": {"$lt": most}}, {"$set": {"low": True}})
    assert (result.matched_count, result.modified_count) == (most, most)
    assert things.update_many({"low": True}, {"$set": {"low": True}}).modified_count == 0


def test_an_update_that_fails_changes_nothing(things: Collection, keeps: Keeps) -> None:
    things.insert_many([{"_id": 1, "n": 1}, {"_id": 2, "n": "two"}])
    with pytest.raises(UpdateInvalid, match=r"needs a number|non-numeric"):
        things.update_one({"_id": 2}, {"$inc": {"n": 1}, "$set": {"m": 1}})
    assert things.find_one(2) == {"_id": 2, "n": "two"}
    with pytest.raises(UpdateInvalid, match=r"needs a number|non-numeric"):
        things.update_many({}, {"$inc": {"n": 1}})
    assert things.find_one(2) == {"_id": 2, "n": "two"}
    if keeps("all or none"):
        assert things.find_one(1) == {"_id": 1, "n": 1}


def test_an_upsert_starts_from_what_the_filter_says_is_equal(things: Collection) -> None:
    result = things.update_one(
        {"_id": "k", "a.b": 1, "n": {"$gt": 5}}, {"$inc": {"v": 2}, "$setOnInsert": {"new": True}}, upsert=True
    )
    assert (result.upserted_id, result.matched_count) == ("k", 0)
    assert things.find_one("k") == {"_id": "k", "a": {"b": 1}, "v": 2, "new": True}
    assert things.update_many({"x": 1}, {"$set": {"y": 2}}, upsert=True).upserted_id is not None


def test_find_one_and_change_gives_the_document_before_or_after(things: Collection) -> None:
    things.insert_many([{"_id": 1, "n": 1}, {"_id": 2, "n": 2}])
    before = things.find_one_and_update({}, {"$inc": {"n": 10}}, sort=[("n", -1)])
    assert before == {"_id": 2, "n": 2}
    after = things.find_one_and_replace({"n": 12}, {"m": 3}, projection=["m"], return_document=True)
    assert after == {"_id": 2, "m": 3}
    assert things.find_one_and_update({"_id": 9}, {"$set": {"n": 9}}, upsert=True) is None
    assert things.find_one_and_update({"_id": 8}, {"$set": {"n": 8}}, upsert=True, return_document=True) == {
        "_id": 8,
        "n": 8,
    }
    assert things.find_one_and_delete({"n": {"$gte": 8}}, sort=[("n", -1)]) == {"_id": 9, "n": 9}
    assert things.find_one_and_delete({"n": 99}) is None
    assert [document["_id"] for document in things.find().sort("_id")] == [1, 2, 8]


def test_delete_removes_one_or_all(things: Collection) -> None:
    things.insert_many({"_id": n, "n": n % 2} for n in range(2500))
    assert things.delete_one({"n": 1}).deleted_count == 1
    assert things.delete_many({"n": 1}).deleted_count == 1249
    assert things.delete_many({"n": 5}).deleted_count == 0
    assert things.count_documents({}) == 1250


def test_documents_are_sorted_by_any_field(things: Collection) -> None:
    mixed = [3, "x", None, 1.5, True, [9, 0], [], DAY, {"a": 1}]
    things.insert_many({"_id": at, "v": value} for at, value in enumerate(mixed))
    things.insert_one({"_id": 9})
    ascending = [document["_id"] for document in things.find().sort("v")]
    assert ascending == [6, 2, 9, 5, 3, 0, 1, 8, 4, 7]
    descending = [document["_id"] for document in things.find().sort("v", -1)]
    assert descending == [7, 4, 8, 1, 5, 0, 3, 2, 9, 6]


def test_rename_takes_the_place_of_the_target_only_when_asked(open_store: Open, keeps: Keeps) -> None:
    store = open_store()
    new, old = store.collection("out.new"), store.collection("out")
    if keeps("indexes"):
        new.create_index("n")
    new.insert_one({"_id": 1})
    old.insert_one({"_id": 2})
    with pytest.raises(DocumentExists, match="already"):
        new.rename("out")
    new.rename("out", drop_target=True)
    assert (list(new.find()), list(old.find())) == ([], [{"_id": 1}])
    if keeps("indexes"):
        assert ("n_1" in old.index_information()) is keeps("rename in one step")
    old.rename("out", drop_target=True)
    assert list(old.find()) == [{"_id": 1}]


def test_nothing_is_renamed_into_the_events(open_store: Open) -> None:
    store = open_store([[event(1)]])
    store.collection("things").insert_one({"_id": 1})
    for name in ("event", "event.0"):
        with pytest.raises(AppendOnly, match="holds the events"):
            store.collection("things").rename(name, drop_target=True)
    assert numbers(store.collection("event").find()) == [1]
    assert store.collection("things").count_documents({}) == 1


def test_a_collection_that_is_not_there_is_renamed_as_an_empty_one(open_store: Open) -> None:
    store = open_store()
    store.collection("old").insert_one({"_id": 1})
    with pytest.raises(DocumentExists, match="already"):
        store.collection("nothing").rename("old")
    store.collection("nothing").rename("nowhere")
    store.collection("nothing").rename("old", drop_target=True)
    assert store.collection_names() == ["event"]


def test_collections_that_hold_documents_are_listed_and_dropped(open_store: Open) -> None:
    store = open_store([[event(1)]])
    assert store.collection_names() == ["event"]
    for name in ("perftest.sum_by_second", "agg_def", "event.notes"):
        store.collection(name).insert_one({"_id": 1})
    assert store.collection_names() == ["agg_def", "event", "event.notes", "perftest.sum_by_second"]
    store.collection("agg_def").drop()
    assert store.collection_names() == ["event", "event.notes", "perftest.sum_by_second"]
    store.drop_database()
    assert store.collection_names() == ["event"]
    assert store.collection("event").count_documents({}) == 1


@pytest.mark.parametrize("name", ["", "$cmd", "x" * 300, "a\x00b"])
def test_an_impossible_name_is_refused(open_store: Open, name: str) -> None:
    with pytest.raises(FilterInvalid, match="not a collection's name"):
        open_store().collection(name)


# --- what only some stores have


def test_a_filter_beyond_the_list_reaches_the_server_or_is_refused(things: Collection, keeps: Keeps) -> None:
    things.insert_one({"_id": 1, "v": 5})
    beyond = things.find({"v": {"$bitsAllSet": 4}})
    if keeps("own operators"):
        with pytest.raises(FilterInvalid, match="no operator"):
            beyond.to_list()
    else:
        assert beyond.to_list() == [{"_id": 1, "v": 5}]


def test_pipelines_run_where_the_server_runs_them(things: Collection, keeps: Keeps) -> None:
    things.insert_many({"_id": n, "kind": n % 2, "n": n} for n in range(10))
    pipeline = [{"$match": {"n": {"$gte": 4}}}, {"$group": {"_id": "$kind", "sum": {"$sum": "$n"}}}]
    assert hasattr(things, "aggregate") is keeps("aggregate")
    if keeps("aggregate"):
        found = {document["_id"]: document["sum"] for document in things.aggregate(pipeline)}
        assert found == {0: 18, 1: 21}


def test_a_unique_index_is_kept_or_refused_and_never_a_promise_without_effect(
    things: Collection, keeps: Keeps
) -> None:
    if not keeps("indexes"):
        with pytest.raises(FilterInvalid, match="no unique indexes"):
            things.create_index("n", unique=True)
        return
    assert things.create_index([("n", 1)], unique=True) == "n_1"
    assert set(things.index_information()) == {"_id_", "n_1"}
    things.insert_one({"n": 1})
    with pytest.raises(DocumentExists, match="already"):
        things.insert_one({"n": 1})
    things.drop_indexes()
    things.insert_one({"n": 1})
