"""The acknowledging channel's frames."""

import bson
import pytest

from zarkov.batch import ProducerRecord
from zarkov.errors import BadFrame, ServerBusy
from zarkov.ingest import protocol
from zarkov.ingest.intake import Refused, Taken

SEVEN = (7).to_bytes(8, "big")


def test_a_batch_is_parsed_with_all_its_payloads() -> None:
    batch = protocol.parse([b"ZK1", b"BATCH", b"me", SEVEN, b"one", b"two"])
    assert batch == protocol.Batch(b"me", 7, [b"one", b"two"], is_json=False)
    assert protocol.parse([b"ZK1", b"BATCHJ", b"me", SEVEN, b"{}"]) == protocol.Batch(b"me", 7, [b"{}"], is_json=True)


def test_hello_and_ping_are_parsed() -> None:
    assert protocol.parse([b"ZK1", b"HELLO", b"me"]) == protocol.Hello(b"me")
    assert protocol.parse([b"ZK1", b"PING", b""]) == protocol.Ping(b"")


@pytest.mark.parametrize(
    "frames",
    [
        [],
        [b"ZK1"],
        [b"ZK1", b"PING"],
        [b"ZK2", b"PING", b""],
        [b"", b"ZK1", b"PING", b""],
        [b"ZK1", b"ping", b""],
        [b"ZK1", b"PING", b"", b""],
        [b"ZK1", b"HELLO", b""],
        [b"ZK1", b"HELLO", b"x" * 65],
        [b"ZK1", b"BATCH", b"me", SEVEN],
        [b"ZK1", b"BATCH", b"", SEVEN, b""],
        [b"ZK1", b"BATCH", b"me", b"7", b""],
        [b"ZK1", b"BATCH", b"me", bytes(8), b""],
        [b"ZK1", b"BATCH", b"me", b"\xff" * 8, b""],
        [b"ZK1", b"BATCH", b"me", SEVEN, *[b"x"] * 1_024],
    ],
)
def test_frames_that_make_no_request_are_refused(frames: list[bytes]) -> None:
    with pytest.raises(BadFrame):
        protocol.parse(frames)


def test_a_request_that_cannot_be_parsed_is_answered_under_its_sequence_if_it_has_one() -> None:
    assert protocol.sequence_frame([b"ZK2", b"BATCH", b"me", SEVEN]) == SEVEN
    assert protocol.sequence_frame([b"ZK2"]) == bytes(8)


def test_an_ack_lists_offsets_refusals_and_duplicates() -> None:
    refused = [Refused(1, "type_missing", "the event has no `type`", b"..")]
    note = protocol.note_of(Taken(4, b"", 2, None, refused, [3]))
    magic, kind, sequence, body = protocol.ack("j1", ProducerRecord(b"me", 7, 40, 2, note))
    assert (magic, kind, sequence) == (b"ZK1", b"ACK", SEVEN)
    assert bson.decode(body) == {
        "journal": "j1",
        "first": 40,
        "count": 2,
        "refused": [{"index": 1, "code": "type_missing", "reason": "the event has no `type`"}],
        "duplicates": [3],
    }


def test_a_batch_that_was_stored_whole_has_an_empty_note_and_empty_lists() -> None:
    note = protocol.note_of(Taken(2, b"", 2, None))
    assert note == b""
    assert bson.decode(protocol.ack("j", ProducerRecord(b"me", 1, 0, 2, note))[3]) == {
        "journal": "j",
        "first": 0,
        "count": 2,
        "refused": [],
        "duplicates": [],
    }


def test_every_refused_event_is_listed_and_reasons_are_bounded() -> None:
    refused = [Refused(index, "json_invalid", "x" * 5_000, b"") for index in range(1_000)]
    listed = bson.decode(protocol.note_of(Taken(1_000, b"", 0, None, refused)))["refused"]
    assert [one["index"] for one in listed] == list(range(1_000))
    assert all(one["code"] == "json_invalid" for one in listed)
    assert sum("reason" in one for one in listed) == protocol.REASONS_MAX
    assert len(listed[0]["reason"]) == protocol.REASON_CHARS_MAX


def test_a_nack_carries_the_error_as_it_stands_everywhere() -> None:
    frames = protocol.nack(SEVEN, ServerBusy("too much"))
    assert frames[:3] == [b"ZK1", b"NACK", SEVEN]
    assert bson.decode(frames[3]) == ServerBusy("too much").to_dict()


def test_a_welcome_names_the_limits() -> None:
    frames = protocol.welcome("j", 12, window_max=64, batch_bytes_max=1, batch_events_max=2, event_bytes_max=3)
    assert frames[:2] == [b"ZK1", b"WELCOME"]
    assert bson.decode(frames[2]) == {
        "version": 1,
        "journal": "j",
        "sequence": 12,
        "window_max": 64,
        "batch_bytes_max": 1,
        "batch_events_max": 2,
        "event_bytes_max": 3,
    }


def test_a_pong_sends_back_what_came() -> None:
    assert protocol.pong(b"abc") == [b"ZK1", b"PONG", b"abc"]
