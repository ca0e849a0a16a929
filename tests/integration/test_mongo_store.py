"""What MongoStore does beyond the contract, on a real server: hidden fields, exact order, Ming, and a server away."""

from collections.abc import Iterator
from datetime import datetime
from typing import Any

import pytest
from bson import ObjectId

from mongod import MongoServer, need_mongo
from stored import event_id
from waiting import wait_until
from zarkov.errors import AppendOnly, ConfigError, FilterInvalid, StoreFailed, StoreUnreachable
from zarkov.model import open_model
from zarkov.store.mongo import MongoStore

DAY = datetime(2011, 7, 20)


@pytest.fixture
def store(mongo: MongoServer) -> Iterator[MongoStore]:
    with MongoStore(mongo.uri, mongo.database()) as store:
        yield store
        store.client.drop_database(store.database.name)


def load(store: MongoStore, *origins: tuple[str, int], generation: str = "event") -> None:
    """Insert an event for each (journal, offset), as the loader does."""
    store.database[generation].insert_many(
        {"_id": event_id(100 + offset), "timestamp": DAY, "type": "nop", "context": {}, "o": [journal, offset]}
        for journal, offset in origins
    )


def offsets(events: Any) -> list[int]:
    return [int(str(event["_id"]), 16) - 100 for event in events]


@pytest.mark.parametrize(
    ("projection", "fields"),
    [
        (None, {"_id", "timestamp", "type", "context"}),
        ({}, {"_id", "timestamp", "type", "context"}),
        ([], {"_id", "timestamp", "type", "context"}),
        ({"context": 0}, {"_id", "timestamp", "type"}),
        ({"_id": 0}, {"timestamp", "type", "context"}),
        ({"_id": 1}, {"_id"}),
        (["type"], {"_id", "type"}),
        ({"type": 1, "_id": 0}, {"type"}),
        ({"o": 1, "_id": 0}, {"o"}),
        ({"o": 0, "_id": 0}, {"timestamp", "type", "context"}),
    ],
)
def test_where_an_event_stands_is_shown_only_when_asked_for(
    store: MongoStore, projection: Any, fields: set[str]
) -> None:
    load(store, ("a", 0))
    events = store.collection("event")
    assert set(events.find_one({}, projection) or {}) == fields
    assert [set(found) for found in events.find({}, projection)] == [fields]


def test_pipelines_over_events_do_not_see_where_they_stand(store: MongoStore) -> None:
    load(store, ("a", 0), ("a", 1))
    events = store.collection("event")
    assert [set(event) for event in events.aggregate([])] == [{"_id", "timestamp", "type", "context"}] * 2
    assert offsets(events.aggregate([{"$match": {"o.1": 1}}])) == [1]
    counted = events.aggregate([{"$match": {"type": "nop"}}, {"$group": {"_id": "$type", "n": {"$sum": 1}}}])
    assert list(counted) == [{"_id": "nop", "n": 2}]
    with pytest.raises(AppendOnly):
        events.aggregate([{"$out": "event"}])
    with pytest.raises(FilterInvalid):
        list(events.aggregate([{"$nothing": 1}]))


def test_the_natural_order_is_the_journals_however_the_events_were_loaded(store: MongoStore) -> None:
    load(store, ("b", 7), ("a", 3), ("a", 20), ("a", 1), ("b", 5))
    events = store.collection("event")
    assert offsets(events.find().sort("$natural", 1)) == [1, 3, 20, 5, 7]
    assert offsets(events.find().sort("$natural", -1).limit(3)) == [7, 5, 20]
    assert offsets(events.find({"o.0": "a", "o.1": {"$gte": 3}}).sort("o.1")) == [3, 20]


def test_zarkovs_own_collections_are_not_listed_and_stay_when_the_database_is_dropped(store: MongoStore) -> None:
    load(store, ("a", 0))
    load(store, ("a", 1), generation="event.0")
    for name in ("zarkov.loader", "zarkov", "agg_def"):
        store.database[name].insert_one({"_id": 1})
    assert store.collection_names() == ["agg_def", "event", "event.0", "zarkov"]
    store.drop_database()
    assert store.collection_names() == ["event", "event.0"]
    assert store.database["zarkov.loader"].count_documents({}) == 1
    assert store.collection("event.0").count_documents({}) == 1


def test_a_name_that_only_mongodb_refuses_is_refused(store: MongoStore) -> None:
    for name in ("a..b", ".a", "a."):
        with pytest.raises(FilterInvalid, match="not a collection's name"):
            store.collection(name)


def test_documents_without_an_id_get_one_from_the_function_given(mongo: MongoServer) -> None:
    with MongoStore(mongo.uri, mongo.database(), new_id=lambda: ObjectId("0" * 24)) as store:
        assert store.collection("things").insert_one({}).inserted_id == ObjectId("0" * 24)


def test_a_cursor_takes_a_hint_and_is_cloned(store: MongoStore) -> None:
    things = store.collection("things")
    things.insert_many({"n": n} for n in range(300))
    things.create_index("n")
    cursor = things.find({"n": {"$gte": 290}}).sort("n", -1).hint("n_1").limit(3)
    assert [each["n"] for each in cursor] == [299, 298, 297]
    assert [each["n"] for each in cursor.clone()] == [299, 298, 297]
    assert cursor.clone().distinct("n") == list(range(290, 300))


def test_ming_finds_events_and_saves_definitions(store: MongoStore) -> None:
    load(store, ("a", 0), ("a", 1))
    load(store, ("a", 2), generation="event.0")
    model = open_model(store, database=store.database.name)
    assert model.event.m.find().all()[0] == {
        "_id": event_id(100),
        "aggregates": [],
        "context": {},
        "jobs": [],
        "timestamp": DAY,
        "type": "nop",
    }
    assert model.event.m.find({"type": "nop"}).sort("_id", -1).limit(1).first()._id == event_id(101)
    assert model.event.m.find({"type": "nop"}).count() == 2
    assert offsets(model.db["event.0"].find()) == [2]
    definition = model.AggDef.make({"name": "perftest", "task_name": "zarkov.aggregate.PerfTest"})
    definition.m.save()
    definition.realtime = True
    definition.m.save()
    found = model.AggDef.m.get(name="perftest")
    assert (found._id, found.realtime, found.inputs) == (definition._id, True, ["event", "event.0"])
    assert model.db.agg_def.count_documents({}) == 1
    assert list(model.db.agg_def.aggregate([{"$count": "n"}])) == [{"n": 1}]
    found.m.delete()
    assert model.AggDef.m.find().all() == []
    with pytest.raises(AppendOnly):
        model.event.make({"_id": event_id(9), "type": "x"}).m.save()
    assert model.db.name == store.database.name


# --- a server that is away


def test_nothing_is_asked_before_the_first_query_and_then_a_server_away_is_said_in_bounded_time() -> None:
    with MongoStore("mongodb://127.0.0.1:1/", "zarkov", timeout_s=0.2) as store:
        things = store.collection("things")
        cursor = things.find()
        attempts: list[Any] = [
            lambda: next(cursor),
            lambda: things.count_documents({}),
            lambda: things.estimated_document_count(),
            lambda: things.distinct("a"),
            lambda: things.insert_one({}),
            lambda: things.insert_many([{}]),
            lambda: things.replace_one({}, {}),
            lambda: things.update_many({}, {"$set": {"a": 1}}),
            lambda: things.delete_one({}),
            lambda: things.find_one_and_delete({}),
            lambda: things.rename("other"),
            things.drop,
            things.drop_indexes,
            lambda: things.create_index("a"),
            things.index_information,
            lambda: list(things.aggregate([])),
            store.collection_names,
            store.drop_database,
        ]
        for attempt in attempts:
            with pytest.raises(StoreUnreachable, match="does not answer") as caught:
                attempt()
            assert caught.value.retryable


@pytest.fixture
def own_server() -> Iterator[MongoServer]:
    need_mongo()
    with MongoServer() as server:
        yield server


def test_a_server_killed_and_started_again_is_found_again_with_what_was_written(own_server: MongoServer) -> None:
    with MongoStore(own_server.uri, own_server.database(), timeout_s=0.5) as store:
        things = store.collection("things")
        things.insert_many({"_id": n} for n in range(1000))
        cursor = things.find()
        next(cursor)
        own_server.kill()
        with pytest.raises(StoreUnreachable):
            list(cursor)
        with pytest.raises(StoreUnreachable):
            things.insert_one({"_id": 1000})
        own_server.start()
        assert things.count_documents({}) == 1000


def test_a_server_that_does_not_answer_is_not_waited_for_longer_than_the_setting_says(
    own_server: MongoServer,
) -> None:
    with MongoStore(own_server.uri, own_server.database(), timeout_s=0.5) as store:
        things = store.collection("things")
        things.insert_one({"_id": 1})
        own_server.pause()
        try:
            with pytest.raises(StoreUnreachable):
                things.find_one(1)
            with pytest.raises(StoreUnreachable):
                things.insert_one({"_id": 2})
        finally:
            own_server.resume()
        wait_until(own_server.answers)
        assert things.find_one(1) == {"_id": 1}


def test_credentials_that_the_server_does_not_take_are_said_to_be_the_fault(mongo: MongoServer) -> None:
    user = {"username": "nobody", "password": "wrong-secret"}
    with MongoStore(mongo.uri, mongo.database(), timeout_s=20, **user) as store:
        with pytest.raises(StoreFailed, match="does not let this user in") as caught:
            store.collection("things").find_one()
    assert "mongo_password" in caught.value.hint
    assert "wrong-secret" not in f"{caught.value}{caught.value.__cause__}"


def test_a_user_without_a_password_is_a_fault_of_the_settings(mongo: MongoServer) -> None:
    with pytest.raises(ConfigError):
        MongoStore(mongo.uri, "zarkov", username="nobody")
