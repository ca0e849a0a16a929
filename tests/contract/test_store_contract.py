"""What every store does, whatever it stands on: the rules of zarkov.store.contract.

A backend is a function that makes a store over given generations of events (oldest first, each a list of chunks).
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from bson import Decimal128, Int64, ObjectId

from stored import event_id, write
from zarkov.errors import AppendOnly, DocumentExists, FilterInvalid, StoreFailed, UpdateInvalid
from zarkov.journal import Journal
from zarkov.store.compare import sort_key
from zarkov.store.contract import Collection, Store
from zarkov.store.sqlite import SqliteStore

Chunks = Sequence[Sequence[dict[str, Any]]]
Open = Callable[..., Store]

DAY = datetime(2011, 7, 20)


def open_sqlite(folder: Path, closing: ExitStack, generations: Sequence[Chunks]) -> Store:
    chunks = [chunk for generation in generations for chunk in generation]
    ends = [sum(map(len, generations[: at + 1])) - 1 for at in range(len(generations) - 1)]
    write(folder / "journal", chunks, rotate_after=ends)
    journal = closing.enter_context(Journal.open(folder / "journal"))
    return closing.enter_context(SqliteStore(journal, folder / "documents.sqlite"))


BACKENDS = {"sqlite": open_sqlite}


@pytest.fixture(params=BACKENDS)
def open_store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Open]:
    with ExitStack() as closing:
        yield lambda *generations: BACKENDS[request.param](tmp_path, closing, generations or ([],))


@pytest.fixture
def things(open_store: Open) -> Collection:
    return open_store().collection("things")


def event(number: int, **more: Any) -> dict[str, Any]:
    return {
        "_id": event_id(number),
        "timestamp": DAY + timedelta(minutes=number),
        "type": "odd" if number % 2 else "even",
        "context": {"project": f"p{number % 3}"},
        **more,
    }


def numbers(documents: Any) -> list[int]:
    return [int(str(document["_id"]), 16) for document in documents]


@pytest.fixture
def events(open_store: Open) -> Collection:
    """Thirty events in three chunks; those of the second are older than those of the first."""
    chunks = [[event(n) for n in span] for span in (range(11, 21), range(1, 11), range(21, 31))]
    return open_store(chunks).collection("event")


ARRIVED = [*range(11, 21), *range(1, 11), *range(21, 31)]


# --- reading events


def test_events_come_in_the_order_of_arrival(events: Collection) -> None:
    assert numbers(events.find()) == ARRIVED
    assert numbers(events.find().sort({"$natural": -1})) == ARRIVED[::-1]


def test_skip_and_limit_take_their_part(events: Collection) -> None:
    assert numbers(events.find().skip(12).limit(5)) == ARRIVED[12:17]
    assert numbers(events.find({"type": "odd"}, skip=3, limit=4)) == [n for n in ARRIVED if n % 2][3:7]
    assert numbers(events.find().sort("$natural", -1).skip(12).limit(5)) == ARRIVED[::-1][12:17]
    assert numbers(events.find().limit(-2)) == ARRIVED[:2]
    assert numbers(events.find().skip(30)) == []


@pytest.mark.parametrize("limit", [0, 1, 7, 100])
@pytest.mark.parametrize("skip", [0, 4])
@pytest.mark.parametrize("direction", [1, -1])
@pytest.mark.parametrize("field", ["timestamp", "_id", "context.project", "type"])
@pytest.mark.parametrize("filter", [{}, {"type": "odd"}, {"timestamp": {"$gte": DAY + timedelta(minutes=9)}}])
def test_a_sort_with_a_limit_is_the_beginning_of_the_whole_sort(
    events: Collection, filter: dict[str, Any], field: str, direction: int, skip: int, limit: int
) -> None:
    def key(document: dict[str, Any]) -> Any:
        outer, _, inner = field.partition(".")
        return sort_key(document[outer][inner] if inner else document[outer])

    whole = sorted(events.find(filter), key=key, reverse=direction < 0)
    part = events.find(filter).sort(field, direction).skip(skip).limit(limit)
    assert list(part) == whole[skip : skip + limit if limit else None]


def test_a_sort_may_have_several_keys_of_different_directions(events: Collection) -> None:
    found = events.find({"_id": {"$lte": event_id(6)}}).sort([("type", -1), ("timestamp", 1)])
    assert numbers(found) == [1, 3, 5, 2, 4, 6]
    assert numbers(events.find().sort([("timestamp", -1), ("type", 1)]).limit(3)) == [30, 29, 28]


def test_events_are_counted_by_any_filter(events: Collection) -> None:
    assert events.count_documents({}) == events.estimated_document_count() == 30
    assert events.count_documents({"type": "odd"}) == 15
    assert events.count_documents({"context.project": "p0"}) == 10
    early = {"$lt": DAY + timedelta(minutes=15)}
    assert events.count_documents({"timestamp": early}) == 14
    assert events.count_documents({"timestamp": early, "type": {"$in": ["odd", "even"]}}) == 14
    assert events.count_documents({"timestamp": early}, skip=4, limit=5) == 5
    assert events.count_documents({}, skip=40) == 0


def test_an_event_is_found_by_its_id(events: Collection) -> None:
    assert events.find_one(event_id(5)) == event(5)
    assert events.find_one({"_id": event_id(5), "type": "even"}) is None
    assert events.find_one(event_id(99)) is None
    assert events.find_one({"_id": event_id(5)}, ["type"]) == {"_id": event_id(5), "type": "odd"}
    assert numbers(events.find({"_id": {"$in": [event_id(25), event_id(5)]}})) == [5, 25]
    found = events.find_one({"type": "odd"}, sort=[("timestamp", -1)], skip=1)
    assert found == event(27)


def test_distinct_values_come_once_and_in_order(events: Collection) -> None:
    assert events.distinct("context.project") == ["p0", "p1", "p2"]
    assert events.find({"_id": event_id(4)}).distinct("context.project") == ["p1"]
    assert events.distinct("nothing") == []


def test_a_projection_leaves_fields_out(events: Collection) -> None:
    assert events.find_one({}, {"context.project": 1, "_id": 0}) == {"context": {"project": "p2"}}
    assert events.find_one({}, {"context": 0, "timestamp": 0}) == {"_id": event_id(11), "type": "odd"}
    assert events.find_one({}, {"_id": 1}) == {"_id": event_id(11)}
    with pytest.raises(FilterInvalid, match="either includes"):
        events.find_one({}, {"context": 0, "type": 1})


def test_generations_are_collections_of_their_own(open_store: Open) -> None:
    store = open_store([[event(1)], [event(2)]], [[event(3)]], [[event(4)]])
    for name, expected in (("event.1", [1, 2]), ("event.0", [3]), ("event", [4]), ("event.2", [])):
        collection = store.collection(name)
        assert numbers(collection.find()) == expected
        assert collection.count_documents({}) == len(expected)
    assert store.collection("event").find_one(event_id(1)) is None
    assert store.collection_names() == ["event", "event.0", "event.1"]


def test_events_that_were_not_validated_are_read_as_they_are(open_store: Open) -> None:
    strange = [
        {"_id": event_id(1), "timestamp": DAY, "type": "nop", "context": {}},
        {"_id": event_id(2), "timestamp": "yesterday", "type": 5},
        {"_id": event_id(3), "timestamp": [DAY, DAY + timedelta(days=9)], "type": ["nop", "x"]},
    ]
    found = open_store([strange]).collection("event")
    assert numbers(found.find({"type": "nop"})) == [1, 3]
    assert numbers(found.find({"timestamp": {"$gt": DAY}})) == [3]
    assert found.count_documents({"timestamp": {"$gte": DAY}}) == 2
    assert numbers(found.find().sort("timestamp", 1).limit(1)) == [2]


def test_an_event_is_never_changed(events: Collection) -> None:
    attempts: list[Callable[[], object]] = [
        lambda: events.insert_one(event(99)),
        lambda: events.replace_one({"_id": event_id(1)}, event(1), upsert=True),
        lambda: events.update_one({}, {"$set": {"a": 1}}),
        lambda: events.update_many({}, {"$set": {"a": 1}}),
        lambda: events.delete_one({}),
        lambda: events.delete_many({}),
        lambda: events.find_one_and_update({}, {"$set": {"a": 1}}),
        lambda: events.find_one_and_replace({}, {}),
        lambda: events.find_one_and_delete({}),
        events.drop,
        lambda: events.rename("other"),
    ]
    for attempt in attempts:
        with pytest.raises(AppendOnly, match="append-only"):
            attempt()
    assert numbers(events.find()) == ARRIVED


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
    for collection in (events, things):
        for attempt in (
            lambda c: c.find({"a": {"$near": 1}}).to_list(),
            lambda c: c.count_documents({"$where": "1"}),
            lambda c: c.find().sort("a", 2),
            lambda c: c.find().sort([("a", 1), ("$natural", 1)]),
            lambda c: c.find().skip(-1),
            lambda c: c.find({}, {"a": {"$slice": 1}}).to_list(),
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


def test_documents_of_every_kind_of_id_are_found_and_lie_in_their_order(things: Collection) -> None:
    things.insert_many({"_id": ident} for ident in reversed(IDS))
    assert [document["_id"] for document in things.find()] == sorted(IDS, key=sort_key)
    assert [document["_id"] for document in things.find().sort("_id", -1)] == sorted(IDS, key=sort_key, reverse=True)
    for ident in IDS:
        found = things.find_one({"_id": {"$eq": ident}})
        assert found is not None
        assert sort_key(found["_id"]) == sort_key(ident)


@pytest.mark.parametrize("operator", ["$eq", "$gt", "$gte", "$lt", "$lte"])
def test_a_range_of_ids_is_what_the_filter_says_of_each(things: Collection, operator: str) -> None:
    from zarkov.store.filter import compile_filter

    things.insert_many({"_id": ident} for ident in IDS)
    for ident in [*IDS, "aa", 7, float("nan")]:
        filter = {"_id": {operator: ident}}
        expected = [each for each in sorted(IDS, key=sort_key) if compile_filter(filter)({"_id": each})]
        assert [document["_id"] for document in things.find(filter)] == expected
        assert things.count_documents(filter) == len(expected)


def test_an_id_is_there_once(things: Collection) -> None:
    things.insert_many([{"_id": 1}, {"_id": True}])
    for taken in (1, 1.0, Int64(1)):
        with pytest.raises(DocumentExists, match="already"):
            things.insert_many([{"_id": 7}, {"_id": taken}])
    assert things.count_documents({}) == 2


@pytest.mark.parametrize("ident", [[1], Decimal128("1"), "x" * 9000])
def test_an_impossible_id_is_refused(things: Collection, ident: Any) -> None:
    with pytest.raises(StoreFailed):
        things.insert_one({"_id": ident})
    assert things.find_one({"_id": ident}) is None


def test_a_document_that_bson_cannot_hold_is_refused(things: Collection) -> None:
    for value in (2**64, {1, 2}, "\ud800", "x" * (17 * 1024 * 1024)):
        with pytest.raises(StoreFailed):
            things.insert_one({"value": value})
    assert things.count_documents({}) == 0


def test_replace_keeps_the_id_and_upserts_when_asked(things: Collection) -> None:
    assert things.replace_one({"_id": 1}, {"a": 1}).matched_count == 0
    assert things.replace_one({"_id": 1}, {"_id": 1, "a": 1}, upsert=True).upserted_id == 1
    result = things.replace_one({"a": 1}, {"b": 2})
    assert (result.matched_count, result.modified_count, result.upserted_id) == (1, 1, None)
    assert things.replace_one({"b": 2}, {"b": 2}).modified_count == 0
    assert list(things.find()) == [{"_id": 1, "b": 2}]
    with pytest.raises(UpdateInvalid, match="cannot change the `_id`"):
        things.replace_one({"b": 2}, {"_id": 5})
    with pytest.raises(UpdateInvalid, match="no operators"):
        things.replace_one({}, {"$set": {"a": 1}})


def test_updates_change_one_or_all(things: Collection) -> None:
    things.insert_many({"_id": n, "n": n} for n in range(3000))
    assert things.update_one({"n": {"$gte": 10}}, {"$inc": {"n": -10}}).modified_count == 1
    assert things.find_one(10) == {"_id": 10, "n": 0}
    result = things.update_many({"n": {"$lt": 2500}}, {"$set": {"low": True}})
    assert (result.matched_count, result.modified_count) == (2500, 2500)
    assert things.update_many({"low": True}, {"$set": {"low": True}}).modified_count == 0


def test_an_update_that_fails_changes_nothing(things: Collection) -> None:
    things.insert_many([{"_id": 1, "n": 1}, {"_id": 2, "n": "two"}])
    with pytest.raises(UpdateInvalid, match="needs a number"):
        things.update_many({}, {"$inc": {"n": 1}})
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
    assert [document["_id"] for document in things.find()] == [1, 2, 8]


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


def test_rename_takes_the_place_of_the_target_only_when_asked(open_store: Open) -> None:
    store = open_store()
    new, old = store.collection("out.new"), store.collection("out")
    new.insert_one({"_id": 1})
    old.insert_one({"_id": 2})
    with pytest.raises(DocumentExists, match="already"):
        new.rename("out")
    new.rename("out", drop_target=True)
    assert (list(new.find()), list(old.find())) == ([], [{"_id": 1}])


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
