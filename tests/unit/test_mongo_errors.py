"""pymongo's errors as Zarkov's, and the options of an address; no server is asked."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from bson.errors import InvalidDocument
from pymongo.errors import (
    AutoReconnect,
    BulkWriteError,
    DuplicateKeyError,
    ExecutionTimeout,
    NetworkTimeout,
    NotPrimaryError,
    OperationFailure,
    PyMongoError,
    ServerSelectionTimeoutError,
    WTimeoutError,
)

from zarkov.errors import (
    AppendOnly,
    ConfigError,
    DocumentExists,
    FilterInvalid,
    StoreError,
    StoreFailed,
    StoreUnreachable,
    UpdateInvalid,
)
from zarkov.store.mongo import MongoStore, connect
from zarkov.store.mongo_errors import translated
from zarkov.store.mongo_guard import checked_pipeline, hiding, without_code


def bulk(code: int) -> BulkWriteError:
    return BulkWriteError({"writeErrors": [{"index": 0, "code": code, "errmsg": "said"}]})


@pytest.mark.parametrize(
    ("raised", "expected"),
    [
        (ServerSelectionTimeoutError("no servers"), StoreUnreachable),
        (AutoReconnect("connection closed"), StoreUnreachable),
        (NetworkTimeout("timed out"), StoreUnreachable),
        (NotPrimaryError("not primary", {"code": 10107}), StoreUnreachable),
        (ExecutionTimeout("exceeded time limit", 50), StoreUnreachable),
        (WTimeoutError("waiting for replication timed out", 64), StoreUnreachable),
        (OperationFailure("shutdown in progress", 91), StoreUnreachable),
        (BulkWriteError({"writeConcernErrors": [{"code": 64, "errmsg": "timed out"}]}), StoreUnreachable),
        (OperationFailure("Authentication failed.", 18), StoreFailed),
        (OperationFailure("not authorized", 13), StoreFailed),
        (OperationFailure("out of disk space", 14031), StoreFailed),
        (DuplicateKeyError("E11000", 11000), DocumentExists),
        (bulk(11000), DocumentExists),
        (OperationFailure("target namespace exists", 48), DocumentExists),
        (OperationFailure("unknown operator: $near", 2), UpdateInvalid),
        (OperationFailure("unknown stage", 40324), UpdateInvalid),
        (bulk(2), UpdateInvalid),
        (InvalidDocument("cannot encode object"), UpdateInvalid),
        (OverflowError("8-byte ints"), UpdateInvalid),
        (OperationFailure("something new", 20), StoreFailed),
        (PyMongoError("something else"), StoreFailed),
    ],
)
def test_an_error_of_the_driver_says_whose_fault_it_is(raised: Exception, expected: type[StoreError]) -> None:
    with pytest.raises(StoreError) as caught, translated(UpdateInvalid):
        raise raised
    assert type(caught.value) is expected
    assert caught.value.hint
    assert "full error" not in str(caught.value)


def test_only_a_wrong_argument_is_taken_for_one() -> None:
    with pytest.raises(TypeError), translated():
        raise TypeError("a fault of ours")
    with pytest.raises(FilterInvalid, match="does not take this"), translated(argument=True):
        raise TypeError("filter must be a mapping")


@pytest.mark.parametrize(
    "asked",
    [
        {"$where": "sleep(10000)"},
        {"a": {"$elemMatch": {"$where": "1"}}},
        {"$and": [{"a": 1}, {"$or": [{"$where": "1"}]}]},
        {"$expr": {"$function": {"body": "f", "args": [], "lang": "js"}}},
        [{"$group": {"_id": 1, "n": {"$accumulator": {}}}}],
        [{"$lookup": {"from": "x", "pipeline": [{"$match": {"$where": "1"}}]}}],
        [{"$facet": {"a": [{"$match": {"$where": "1"}}]}}],
    ],
)
def test_code_is_refused_wherever_it_stands(asked: Any) -> None:
    with pytest.raises(FilterInvalid, match="runs code"):
        without_code(asked)


def test_a_filter_of_any_depth_is_refused_and_not_followed_for_ever() -> None:
    asked: Any = {"a": 1}
    for _ in range(10_000):
        asked = {"$and": [asked]}
    with pytest.raises(FilterInvalid, match="deeper than"):
        without_code(asked)


@pytest.mark.parametrize(
    "stage",
    [
        {"$out": "event"},
        {"$out": {"db": "zarkov", "coll": "event.3"}},
        {"$merge": "event"},
        {"$merge": {"into": "event.0", "on": "_id"}},
        {"$merge": {"into": {"db": "zarkov", "coll": "event"}, "whenMatched": "replace"}},
    ],
)
def test_a_pipeline_never_writes_over_events(stage: dict[str, Any]) -> None:
    with pytest.raises(AppendOnly, match="holds the events"):
        checked_pipeline([{"$match": {}}, stage])
    assert checked_pipeline([{"$out": "event.notes"}]) == [{"$out": "event.notes"}]


@pytest.mark.parametrize("pipeline", [None, "x", {"$match": {}}, [1], [{"$out": 5}], [{"$merge": {}}]])
def test_what_is_no_pipeline_is_refused(pipeline: Any) -> None:
    with pytest.raises(FilterInvalid):
        checked_pipeline(pipeline)


def test_a_hidden_field_goes_after_the_stages_that_an_index_serves() -> None:
    found, group, unset = {"$match": {"type": "x"}}, {"$group": {"_id": "$type"}}, {"$unset": "o"}
    assert hiding("o", [found, {"$sort": {"a": 1}}, group]) == [found, {"$sort": {"a": 1}}, unset, group]
    assert hiding("o", [found]) == [found, unset]
    assert hiding("o", []) == [unset]


@contextmanager
def connected(uri: str, **options: Any) -> Iterator[Any]:
    client = connect(uri, **options)
    try:
        yield client.options
    finally:
        client.close()


def test_every_wait_is_bounded_and_writes_are_confirmed_by_a_majority() -> None:
    with connected("mongodb://127.0.0.1:1/", timeout_s=7) as options:
        assert options.server_selection_timeout == 7
        assert options.pool_options.connect_timeout == 7
        assert options.pool_options.socket_timeout == 7
        assert options.write_concern.document == {"w": "majority", "wtimeout": 7000, "j": True}
        assert options.pool_options.appname == "zarkov"


def test_the_options_of_the_address_win() -> None:
    uri = "mongodb://127.0.0.1:1,127.0.0.1:2/?replicaSet=rs0&tls=true&SocketTimeoutMS=5000&w=2&appName=mine"
    with connected(uri, timeout_s=7) as options:
        assert options.replica_set_name == "rs0"
        assert options.pool_options._ssl_context is not None
        assert options.pool_options.socket_timeout == 5
        assert options.server_selection_timeout == 7
        assert options.write_concern.document["w"] == 2
        assert options.pool_options.appname == "mine"


def test_credentials_stand_in_the_address_or_beside_it() -> None:
    with connected("mongodb://127.0.0.1:1/", username="ada", password="p@ss/word") as options:
        assert (options.pool_options._credentials.username, options.pool_options._credentials.password) == (
            "ada",
            "p@ss/word",
        )
        assert options.pool_options._credentials.source == "admin"
    with connected("mongodb://ada:secret@127.0.0.1:1/crm") as options:
        assert (options.pool_options._credentials.username, options.pool_options._credentials.source) == (
            "ada",
            "crm",
        )


@pytest.mark.parametrize(
    "uri",
    [
        "http://localhost",
        "mongodb://",
        "mongodb://localhost:port/",
        "mongodb://ada:sec:ret@x:27017/",
        "mongodb://ada:sec/ret@127.0.0.1/",
        "mongodb://ada:secret@127.0.0.1:99999/",
    ],
)
def test_an_address_that_cannot_be_one_is_refused_and_no_password_shown(uri: str) -> None:
    with pytest.raises(ConfigError, match="mongo_uri cannot be used") as caught:
        connect(uri)
    assert "sec" not in str(caught.value)
    assert caught.value.__cause__ is None or "@" not in uri


def test_a_name_that_no_database_has_is_refused() -> None:
    with pytest.raises(ConfigError, match="not a database's name"):
        MongoStore("mongodb://127.0.0.1:1/", "a b")
