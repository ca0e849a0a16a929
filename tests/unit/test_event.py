"""What is an event and what is not."""

from datetime import datetime

import pytest
from bson import ObjectId
from bson.datetime_ms import DatetimeMS

from zarkov.errors import EventRefused
from zarkov.event import complete, depth_of, fill, parse_rfc3339

NOW = datetime(2026, 11, 24, 10, 0, 0, 123000)
ID = ObjectId("4e2723eeb240217416000001")


def test_a_nop_alone_gets_an_id_a_timestamp_and_an_empty_context() -> None:
    event = complete({"type": "nop"}, now=NOW, new_id=ID)
    assert event == {"_id": ID, "timestamp": NOW, "type": "nop", "context": {}}
    assert next(iter(event)) == "_id"


def test_a_complete_event_is_returned_as_it_is() -> None:
    event = {"_id": ID, "timestamp": NOW, "type": "nop", "context": {}, "extra": [1]}
    assert complete(event, now=datetime(2000, 1, 1), new_id=ObjectId()) is event


def test_extra_is_kept_only_if_it_was_sent() -> None:
    assert "extra" not in complete({"type": "nop"}, now=NOW, new_id=ID)
    assert complete({"type": "nop", "extra": None}, now=NOW, new_id=ID)["extra"] is None


def test_an_rfc_3339_timestamp_becomes_a_naive_utc_date() -> None:
    event = complete({"type": "nop", "timestamp": "2020-01-01T02:00:00.5+02:00"}, now=NOW, new_id=ID)
    assert event["timestamp"] == datetime(2020, 1, 1, 0, 0, 0, 500000)


@pytest.mark.parametrize(
    ("document", "code"),
    [
        ({}, "type_missing"),
        ({"type": 1}, "type_invalid"),
        ({"type": ""}, "type_invalid"),
        ({"type": "x" * 1025}, "type_invalid"),
        ({"type": "é" * 513}, "type_invalid"),
        ({"type": "nop", "context": None}, "context_invalid"),
        ({"type": "nop", "context": []}, "context_invalid"),
        ({"type": "nop", "timestamp": 5}, "timestamp_invalid"),
        ({"type": "nop", "timestamp": None}, "timestamp_invalid"),
        ({"type": "nop", "timestamp": "yesterday"}, "timestamp_invalid"),
        ({"type": "nop", "timestamp": DatetimeMS(2**62)}, "timestamp_invalid"),
        ({"type": "nop", "_id": "4e2723eeb240217416000001"}, "id_invalid"),
    ],
)
def test_what_is_not_an_event_is_refused_with_its_code(document: dict, code: str) -> None:
    with pytest.raises(EventRefused) as refused:
        complete(document, now=NOW, new_id=ID)
    assert refused.value.code == code


def test_an_event_that_skips_validation_gets_what_readers_need_and_nothing_else() -> None:
    assert fill({"type": 7}, now=NOW, new_id=ID) == {"_id": ID, "timestamp": NOW, "type": 7}
    with pytest.raises(EventRefused, match="ObjectId"):
        fill({"_id": 1}, now=NOW, new_id=ID)


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2011-07-20T18:52:30.272Z", datetime(2011, 7, 20, 18, 52, 30, 272000)),
        ("2011-07-20 18:52:30+00:00", datetime(2011, 7, 20, 18, 52, 30)),
        ("2011-07-20T18:52:30", datetime(2011, 7, 20, 18, 52, 30)),
        ("2011-07-20t18:52:30z", datetime(2011, 7, 20, 18, 52, 30)),
        ("2011-07-20T18:52:30.999999-05:00", datetime(2011, 7, 20, 23, 52, 30, 999000)),
    ],
)
def test_rfc_3339_dates_are_read_in_utc_to_the_millisecond(text: str, moment: datetime) -> None:
    assert parse_rfc3339(text) == moment


@pytest.mark.parametrize("text", ["", "2011-07-20", "0001-01-01T00:00:00+14:00", "2011-13-01T00:00:00Z", "now"])
def test_what_is_no_rfc_3339_date_is_refused(text: str) -> None:
    with pytest.raises(EventRefused) as refused:
        parse_rfc3339(text)
    assert refused.value.code == "timestamp_invalid"


def test_depth_counts_documents_and_arrays() -> None:
    assert depth_of(1) == 0
    assert depth_of({}) == 1
    assert depth_of({"a": [{"b": 1}], "c": 2}) == 3
    nested: object = {}
    for _ in range(500):
        nested = {"a": nested}
    assert depth_of(nested) == 101
