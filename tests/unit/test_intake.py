"""What is taken, as it is stored, and what is refused: BSON."""

from collections.abc import Sequence
from typing import Any

import bson
import pytest
from bson import ObjectId
from bson.datetime_ms import DatetimeMS

from intakes import ID, NOW, THEN, an_intake, codes_of, documents_of, encoded, event
from zarkov.batch import Summary
from zarkov.errors import REFUSAL_CODES


def test_complete_events_keep_their_bytes_as_they_came() -> None:
    messages = encoded(event(extra=1), event(aggregates=[], jobs=[]), event(extra={"a": [1, {"b": None}]}))
    taken = an_intake().take_bson(messages)
    assert taken.data == b"".join(messages)
    assert (taken.received, taken.count, taken.refused, taken.duplicates) == (3, 3, [], [])


def test_the_summary_is_that_of_the_stored_events() -> None:
    messages = encoded(event(type="b"), event(timestamp=NOW, type="a"), {"type": "c"}, {"type": 1})
    taken = an_intake().take_bson(messages)
    assert taken.count == 3
    assert taken.summary == Summary.of(documents_of(taken))
    assert taken.summary.types == {"a", "b", "c"}


def test_a_single_concatenated_payload_keeps_the_very_bytes() -> None:
    payload = b"".join(encoded(event(), event(), event()))
    taken = an_intake().take_bson([payload])
    assert taken.data is payload
    assert taken.count == 3


def test_a_message_may_hold_several_events() -> None:
    messages = encoded(event(extra=0), event(extra=1), event(extra=2), event(extra=3))
    taken = an_intake().take_bson([messages[0], b"".join(messages[1:3]), messages[3]])
    assert [document["extra"] for document in documents_of(taken)] == [0, 1, 2, 3]


def test_a_nop_gets_an_id_in_front_a_timestamp_and_a_context() -> None:
    taken = an_intake().take_bson(encoded({"type": "nop"}))
    (document,) = documents_of(taken)
    assert list(document) == ["_id", "timestamp", "type", "context"]
    assert document["timestamp"] == NOW
    assert taken.data[4:9] == b"\x07_id\x00"


def test_an_event_that_only_lacks_an_id_is_otherwise_kept_as_it_came() -> None:
    (sent,) = encoded({"type": "nop", "extra": 1, "timestamp": THEN, "context": {"user": "u"}})
    taken = an_intake().take_bson([sent])
    assert taken.data[21:] == sent[4:]
    assert taken.summary is not None
    assert taken.summary.id_min == taken.data[9:21]


def test_an_id_that_does_not_come_first_is_put_first() -> None:
    (sent,) = encoded({"type": "nop", "timestamp": THEN, "context": {}, "_id": ID})
    taken = an_intake().take_bson([sent])
    assert next(iter(documents_of(taken)[0])) == "_id"
    assert taken.data[9:21] == ID.binary


def test_an_id_that_stands_twice_is_stored_once_as_decoders_read_it() -> None:
    one, other = bson.encode({"_id": ObjectId(), "type": "a"}), bson.encode(event(_id=ID))
    body = one[4:-1] + other[4:-1] + b"\x00"
    taken = an_intake().take_bson([(len(body) + 4).to_bytes(4, "little") + body])
    assert taken.count == 1
    assert taken.data[9:21] == ID.binary
    assert taken.data.count(b"_id\x00") == 1


def test_a_timestamp_as_text_becomes_a_date() -> None:
    taken = an_intake().take_bson(encoded(event(timestamp="2020-01-02T05:04:05+02:00")))
    assert documents_of(taken)[0]["timestamp"] == THEN


def test_extra_is_stored_only_if_it_was_sent() -> None:
    taken = an_intake().take_bson(encoded({"type": "a"}, {"type": "a", "extra": None}))
    assert ["extra" in document for document in documents_of(taken)] == [False, True]


@pytest.mark.parametrize(
    ("document", "code"),
    [
        ({}, "type_missing"),
        ({"type": 1}, "type_invalid"),
        ({"type": ""}, "type_invalid"),
        ({"type": "é" * 513}, "type_invalid"),
        ({"type": "a", "timestamp": 1}, "timestamp_invalid"),
        ({"type": "a", "timestamp": None}, "timestamp_invalid"),
        ({"type": "a", "timestamp": "yesterday"}, "timestamp_invalid"),
        ({"type": "a", "timestamp": DatetimeMS(2**60)}, "timestamp_invalid"),
        ({"type": "a", "context": None}, "context_invalid"),
        ({"type": "a", "context": [1]}, "context_invalid"),
        ({"type": "a", "_id": "4e2723eeb240217416000001"}, "id_invalid"),
        ({"type": "a", "_id": None}, "id_invalid"),
        ({"type": "a", "$command": "drop"}, "command_unknown"),
        ({"type": "a", "$command": None}, "command_unknown"),
        ({"type": "a", "$command": ["event"]}, "command_unknown"),
    ],
)
def test_what_is_no_event_is_refused_with_a_code_and_its_bytes(document: dict[str, Any], code: str) -> None:
    complete = {**event(), **document} if document else {}
    for each in (document, complete):
        (sent,) = encoded(each)
        good = encoded(event(), event())
        taken = an_intake().take_bson([good[0], sent, good[1]])
        assert codes_of(taken) == {1: code}
        assert taken.refused[0].data == sent
        assert taken.data == b"".join(good)
        assert code in REFUSAL_CODES


@pytest.mark.parametrize("kind", ["x" * 1_024, "é" * 512, "x" * 256, "x" * 257])
def test_a_type_may_have_1024_bytes(kind: str) -> None:
    assert an_intake().take_bson(encoded(event(type=kind))).count == 1


BROKEN: Sequence[bytes] = [
    b"",
    b"\x05",
    b"GET / HTTP/1.1\r\n\r\n",
    b"\x05\x00\x00\x00\x01",
    b"\x00\x00\x00\x00",
    b"\xff\xff\xff\xff\x00",
    b"\x05\x00\x00\x00\x00\x05",
    bson.encode({"type": "x"})[:-1],
    bson.encode({"type": "x"}) + b"\x00",
    bson.encode({"type": "x"}).replace(b"x\x00\x00", b"\xff\x00\x00"),
    bson.encode({"type": 1.0}).replace(b"\x01type", b"\x66type"),
]


@pytest.mark.parametrize("broken", BROKEN)
def test_bytes_that_are_not_bson_are_refused_and_the_events_around_them_taken(broken: bytes) -> None:
    good = encoded(event(), event())
    taken = an_intake().take_bson([good[0], broken, good[1]])
    assert codes_of(taken) == {1: "bson_invalid"}
    assert taken.refused[0].data == broken
    assert taken.data == b"".join(good)


def test_halves_of_an_event_in_two_messages_are_not_joined() -> None:
    (whole,) = encoded(event())
    taken = an_intake().take_bson([whole[:20], whole[20:]])
    assert codes_of(taken) == {0: "bson_invalid", 1: "bson_invalid"}


def test_halves_that_add_up_to_events_across_messages_are_not_joined_either() -> None:
    one, two = encoded(event(), event())
    taken = an_intake().take_bson([one + two[:10], two[10:]])
    assert codes_of(taken) == {0: "bson_invalid", 1: "bson_invalid"}


def test_one_undecodable_event_of_a_message_spoils_no_other() -> None:
    good = encoded(event(), event())
    bad = bson.encode({"type": "x"}).replace(b"x\x00\x00", b"\xff\x00\x00")
    taken = an_intake().take_bson([good[0] + bad + good[1]])
    assert codes_of(taken) == {1: "bson_invalid"}
    assert taken.data == b"".join(good)


def nested(levels: int) -> dict[str, Any]:
    document: dict[str, Any] = {}
    for _ in range(levels - 1):
        document = {"a": document}
    return document


def test_an_event_may_have_100_levels_and_no_more() -> None:
    taken = an_intake().take_bson(encoded(event(extra=nested(99)), event(extra=nested(100))))
    assert codes_of(taken) == {1: "too_deep"}


def test_nesting_beyond_what_the_decoder_bears_is_refused() -> None:
    level = b"\x05\x00\x00\x00\x00"
    for _ in range(5_000):
        level = (len(level) + 7).to_bytes(4, "little") + b"\x03\x00" + level + b"\x00"
    assert codes_of(an_intake().take_bson([level])) == {0: "too_deep"}


def test_an_event_may_have_event_bytes_max_bytes_as_stored() -> None:
    fits = bson.encode(event(extra=""))
    room = 500 - len(fits)
    intake = an_intake(event_bytes_max=500)
    taken = intake.take_bson(encoded(event(extra="x" * room), event(extra="x" * (room + 1))))
    assert codes_of(taken) == {1: "too_large"}
    without_id = {key: value for key, value in event(extra="x" * (room + 1)).items() if key != "_id"}
    assert codes_of(intake.take_bson(encoded(without_id))) == {0: "too_large"}


def test_command_event_is_validated_and_the_command_is_not_stored() -> None:
    taken = an_intake().take_bson(encoded({"$command": "event", "type": "a"}, {"$command": "event"}))
    assert codes_of(taken) == {1: "type_missing"}
    assert "$command" not in documents_of(taken)[0]


def test_event_noval_skips_the_checks_but_gets_an_id_and_a_timestamp() -> None:
    taken = an_intake().take_bson(encoded({"$command": "event_noval", "type": 5, "context": "anything"}))
    (document,) = documents_of(taken)
    assert (document["type"], document["context"], document["timestamp"]) == (5, "anything", NOW)
    assert taken.data[4:9] == b"\x07_id\x00"
    assert taken.summary is not None
    assert taken.summary.types is None


def test_event_noval_lets_nothing_in_that_would_break_a_reader() -> None:
    deep = {"$command": "event_noval", "extra": nested(100)}
    taken = an_intake().take_bson(encoded(deep, {"$command": "event_noval", "_id": 7}))
    assert codes_of(taken) == {0: "too_deep", 1: "id_invalid"}
    huge = an_intake(event_bytes_max=100).take_bson(encoded({"$command": "event_noval", "extra": "x" * 200}))
    assert codes_of(huge) == {0: "too_large"}


def test_the_summary_of_unchecked_events_hides_none_of_them() -> None:
    odd = {"$command": "event_noval", "timestamp": "not a date", "type": ["list"]}
    taken = an_intake().take_bson(encoded(event(), odd))
    assert taken.summary == Summary.of(documents_of(taken))


def test_the_same_event_sent_again_is_a_retry_and_not_stored_again() -> None:
    intake = an_intake()
    messages = encoded(event(), event())
    first = intake.take_bson(messages)
    intake.recent.settle(first.oids)
    again = intake.take_bson([*encoded(event()), *messages])
    assert (again.received, again.count, again.duplicates) == (3, 1, [1, 2])
    assert not again.unsettled
    assert not again.refused


def test_a_retry_of_an_event_that_was_mended_is_still_a_retry() -> None:
    intake = an_intake()
    messages = encoded({"_id": ID, "type": "nop"})
    intake.recent.settle(intake.take_bson(messages).oids)
    assert intake.take_bson(messages).duplicates == [0]


def test_another_event_under_a_stored_id_is_refused() -> None:
    intake = an_intake()
    intake.take_bson(encoded(event(_id=ID)))
    taken = intake.take_bson(encoded(event(), event(_id=ID, extra="other")))
    assert codes_of(taken) == {1: "duplicate_id"}
    assert taken.count == 1
    assert len(documents_of(taken)) == 1


def test_duplicates_within_one_message_are_told_apart_too() -> None:
    one, other = encoded(event(_id=ID), event(_id=ID, extra=1))
    taken = an_intake().take_bson([one + one + other])
    assert (taken.count, taken.duplicates, codes_of(taken)) == (1, [1], {2: "duplicate_id"})
    assert taken.data == one


def test_a_retry_of_what_is_not_synced_yet_says_so() -> None:
    intake = an_intake()
    messages = encoded(event())
    first = intake.take_bson(messages)
    assert intake.take_bson(messages).unsettled
    intake.recent.settle(first.oids)
    assert not intake.take_bson(messages).unsettled


def test_events_that_were_not_stored_after_all_are_new_when_they_come_again() -> None:
    intake = an_intake()
    messages = encoded(event())
    intake.recent.forget(intake.take_bson(messages).oids)
    assert intake.take_bson(messages).count == 1


def test_refused_events_do_not_claim_their_id() -> None:
    intake = an_intake()
    assert intake.take_bson(encoded(event(_id=ID, type=1))).count == 0
    assert intake.take_bson(encoded(event(_id=ID))).count == 1


def test_events_that_came_without_an_id_push_no_other_out_of_the_window() -> None:
    intake = an_intake(ids_window_max=2)
    first = encoded(event(_id=ID))
    intake.take_bson(first)
    for _ in range(10):
        assert (
            intake.take_bson(encoded({"type": "nop"}, {"type": "nop", "timestamp": THEN, "context": {}})).count == 2
        )
    assert intake.take_bson(first).duplicates == [0]


def test_an_id_that_stands_twice_among_complete_events_is_stored_once() -> None:
    one, other = bson.encode(event()), bson.encode({"_id": ID})
    body = one[4:-1] + other[4:-1] + b"\x00"
    before, after = encoded(event(), event())
    taken = an_intake().take_bson([before, (len(body) + 4).to_bytes(4, "little") + body, after])
    assert [document["_id"] == ID for document in documents_of(taken)] == [False, True, False]
    assert taken.data.count(b"_id\x00") == 3


def test_nothing_taken_has_no_summary() -> None:
    taken = an_intake().take_bson(encoded({}))
    assert (taken.count, taken.data, taken.summary) == (0, b"", None)


def test_a_lower_depth_limit_is_kept() -> None:
    taken = an_intake(depth_max=2).take_bson(encoded(event(context={"a": 1}), event(context={"a": {}})))
    assert codes_of(taken) == {1: "too_deep"}


def test_no_messages_make_no_events() -> None:
    assert an_intake().take_bson([]).received == 0
    assert an_intake().take_json([]).received == 0
