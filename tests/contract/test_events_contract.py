"""Events, as every store gives them: the rules of zarkov.store.contract."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from stored import event_id
from stores import ARRIVED, DAY, Keeps, Open, event, numbers
from zarkov.errors import AppendOnly, FilterInvalid
from zarkov.store.compare import sort_key
from zarkov.store.contract import Collection


def test_events_come_in_the_order_of_arrival(events: Collection, keeps: Keeps) -> None:
    if keeps("arrival"):
        assert numbers(events.find()) == ARRIVED
    assert numbers(events.find().sort("$natural", 1)) == ARRIVED
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
    events: Collection, keeps: Keeps, filter: dict[str, Any], field: str, direction: int, skip: int, limit: int
) -> None:
    def key(document: dict[str, Any]) -> Any:
        outer, _, inner = field.partition(".")
        return sort_key(document[outer][inner] if inner else document[outer])

    whole = sorted(events.find(filter), key=key, reverse=direction < 0)
    part = list(events.find(filter).sort(field, direction).skip(skip).limit(limit))
    expected = whole[skip : skip + limit if limit else None]
    assert list(map(key, part)) == list(map(key, expected))
    assert len(set(numbers(part)) & set(numbers(whole))) == len(part)
    if keeps("ties"):
        assert part == expected


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
