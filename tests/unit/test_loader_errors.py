"""What an error of MongoDB means for the loader, and how it sees itself."""

import pytest
from pymongo.errors import (
    AutoReconnect,
    BulkWriteError,
    DocumentTooLarge,
    NetworkTimeout,
    NotPrimaryError,
    OperationFailure,
    ServerSelectionTimeoutError,
)

from zarkov.errors import StoreUnreachable
from zarkov.store.load_errors import is_cut_off, is_document_fault, is_unanswered
from zarkov.store.load_insert import failures_in
from zarkov.store.load_rotation import back_of, collection_of
from zarkov.store.load_status import Rate


def bulk(*errors: dict[str, object], concern: list[dict[str, object]] | None = None) -> BulkWriteError:
    return BulkWriteError({"writeErrors": list(errors), "writeConcernErrors": concern or []})


@pytest.mark.parametrize("code", [2, 22, 52, 57, 121, 10334])
def test_a_code_about_the_document_is_the_events_own_fault(code: int) -> None:
    assert is_document_fault(OperationFailure("no", code))


@pytest.mark.parametrize("code", [13, 18, 64, 91, 112, 189, 10107, 14031, 99999, None])
def test_any_other_code_is_waited_out(code: int | None) -> None:
    assert not is_document_fault(OperationFailure("no", code))


def test_a_document_that_the_driver_finds_too_large_is_the_events_own_fault() -> None:
    assert is_document_fault(DocumentTooLarge("too large"))


def test_a_closed_connection_may_be_an_events_fault_but_an_absent_server_is_not() -> None:
    assert is_cut_off(AutoReconnect("connection closed"))
    for error in (NetworkTimeout("slow"), NotPrimaryError("no"), ServerSelectionTimeoutError("away")):
        assert not is_cut_off(error)


def test_only_a_request_without_an_answer_may_still_be_carried_out() -> None:
    assert is_unanswered(NetworkTimeout("slow"))
    assert not is_unanswered(ServerSelectionTimeoutError("away"))


def test_failed_writes_are_told_apart_by_their_place_in_the_whole_batch() -> None:
    found = failures_in(bulk({"index": 0, "code": 11000}, {"index": 3, "code": 2}), 10)
    assert {index: each["code"] for index, each in found.items()} == {10: 11000, 13: 2}


def test_one_failed_write_for_another_reason_means_that_the_batch_waits() -> None:
    with pytest.raises(StoreUnreachable):
        failures_in(bulk({"index": 0, "code": 11000}, {"index": 1, "code": 14031, "errmsg": "disk full"}), 0)


def test_writes_that_no_majority_confirmed_wait_even_if_each_succeeded() -> None:
    with pytest.raises(StoreUnreachable):
        failures_in(bulk(concern=[{"code": 64, "errmsg": "waiting for replication timed out"}]), 0)


def test_generations_and_their_collections() -> None:
    assert [collection_of(back) for back in range(3)] == ["event", "event.0", "event.1"]
    assert [back_of(name) for name in ("event", "event.0", "event.12")] == [0, 1, 13]
    assert [back_of(name) for name in ("events", "event.", "event.x", "event.01", "zarkov.loader")] == [None] * 5


def test_the_rate_is_that_of_the_last_whole_window() -> None:
    rate = Rate(0.0, window_s=2.0)
    assert rate.add(100, 1.0) == 0
    assert rate.add(100, 2.0) == 100
    assert rate.add(0, 3.0) == 100
    assert rate.add(0, 4.0) == 0
