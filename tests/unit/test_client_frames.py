"""The client's side of the protocol: what it says the server understands, and the other way round."""

from __future__ import annotations

from typing import Any

import bson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from zarkov.batch import ProducerRecord
from zarkov.client import frames
from zarkov.client.frames import Acknowledged, NotTaken, Refused, Welcome
from zarkov.errors import BadFrame, BatchTooLarge, EventRefused, JournalFull, ServerBusy
from zarkov.event import EVENT_BYTES_MAX
from zarkov.ingest import protocol
from zarkov.ingest.intake import Refused as RefusedByServer
from zarkov.ingest.intake import Taken

SEVEN = (7).to_bytes(8, "big")
LIMITS = {"window_max": 64, "batch_bytes_max": 1 << 20, "batch_events_max": 1000, "event_bytes_max": 1 << 19}
WELCOME = {"version": 1, "journal": "j", "sequence": 3, **LIMITS}
ACK = {"journal": "j", "first": 5, "count": 2, "refused": [{"index": 1, "code": "too_deep", "reason": "so deep"}]}
NACK = {"code": "server_busy", "message": "not now", "retryable": True, "hint": "wait"}

values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats()
    | st.text(max_size=5)
    | st.binary(max_size=5)
    | st.datetimes()
    | st.just(bson.ObjectId(bytes(12)))
    | st.just(bson.Decimal128("NaN")),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["index", "code", "reason", "x"]), inner, max_size=3)
    ),
    max_leaves=5,
)
names = st.sampled_from(["sequence", *LIMITS, "journal", "first", "count", "refused", "code", "message", "retryable"])


@given(st.binary(min_size=1, max_size=64))
def test_the_server_reads_the_clients_hello(producer: bytes) -> None:
    assert protocol.parse(frames.hello(producer)) == protocol.Hello(producer)


@given(st.binary(min_size=1, max_size=64), st.integers(1, 2**63 - 1), st.binary(min_size=1))
def test_the_server_reads_the_clients_batches(producer: bytes, sequence: int, events: bytes) -> None:
    request = protocol.parse(frames.batch(producer, sequence, events))
    assert request == protocol.Batch(producer, sequence, [events], is_json=False)


def test_the_client_reads_the_servers_welcome() -> None:
    assert frames.parse(protocol.welcome("j", 9, **LIMITS)) == Welcome(9, 64, 1000, 1 << 20)


@given(first=st.integers(-1, 2**63 - 1), count=st.integers(0, 2**31), sequence=st.integers(1, 2**63 - 1))
def test_the_client_reads_the_servers_acknowledgement(first: int, count: int, sequence: int) -> None:
    said = protocol.ack("j", ProducerRecord(b"p", sequence, first, count, b""))
    assert frames.parse(said) == Acknowledged(sequence, "j", first, count, ())


def test_the_client_reads_refusals_with_and_without_a_reason() -> None:
    count = protocol.REASONS_MAX + 1
    note = protocol.note_of(
        Taken(count, b"", 0, None, [RefusedByServer(n, "too_deep", "so", b"") for n in range(count)])
    )
    answer = frames.parse(protocol.ack("j", ProducerRecord(b"p", 7, -1, 0, note)))
    assert isinstance(answer, Acknowledged)
    assert answer.refused[0] == Refused(0, "too_deep", "so")
    assert answer.refused[-1] == Refused(count - 1, "too_deep", "")


@pytest.mark.parametrize("error", [ServerBusy("later"), JournalFull("no space"), BatchTooLarge("too many")])
def test_the_client_reads_the_servers_refusal_of_a_batch(error: Any) -> None:
    assert frames.parse(protocol.nack(SEVEN, error)) == NotTaken(7, error.code, str(error), error.retryable)


def test_frames_and_fields_of_a_later_version_are_ignored() -> None:
    more = {"colour": "blue"}
    assert frames.parse([b"ZK1", b"WELCOME", bson.encode(WELCOME | more), b"more"]) == Welcome(3, 64, 1000, 1 << 20)
    refused = (Refused(1, "too_deep", "so deep"),)
    assert frames.parse([b"ZK1", b"ACK", SEVEN, bson.encode(ACK | more)]) == Acknowledged(7, "j", 5, 2, refused)
    assert frames.parse([b"ZK1", b"NACK", SEVEN, bson.encode(NACK | more)]) == NotTaken(
        7, "server_busy", "not now", True
    )


def test_limits_below_one_are_taken_as_one() -> None:
    none = dict.fromkeys(LIMITS, 0)
    assert frames.parse([b"ZK1", b"WELCOME", bson.encode(WELCOME | none)]) == Welcome(3, 1, 1, 1)


@pytest.mark.parametrize("name", ["sequence", "window_max", "batch_events_max", "batch_bytes_max"])
def test_a_welcome_without_a_field_is_a_bad_frame(name: str) -> None:
    body = {key: value for key, value in WELCOME.items() if key != name}
    with pytest.raises(BadFrame, match="WELCOME"):
        frames.parse([b"ZK1", b"WELCOME", bson.encode(body)])


@pytest.mark.parametrize(
    ("command", "body"),
    [
        (b"ACK", ACK | {"first": "five"}),
        (b"ACK", ACK | {"count": float("inf")}),
        (b"ACK", ACK | {"refused": [1]}),
        (b"ACK", ACK | {"refused": [{"code": "too_deep"}]}),
        (b"ACK", {"first": 1, "count": 1}),
        (b"NACK", {"code": "server_busy"}),
        (b"NACK", {"retryable": True}),
    ],
)
def test_an_answer_that_cannot_be_read_is_a_bad_frame(command: bytes, body: dict[str, Any]) -> None:
    with pytest.raises(BadFrame, match="cannot be read"):
        frames.parse([b"ZK1", command, SEVEN, bson.encode(body)])


@pytest.mark.parametrize(
    "said",
    [
        [],
        [b"ZK1"],
        [b"ZK1", b"PONG", b"x"],
        [b"ZK2", b"ACK", SEVEN, bson.encode(ACK)],
        [b"", b"ZK1", b"ACK", SEVEN, bson.encode(ACK)],
        [b"ZK1", b"ACK", SEVEN],
        [b"ZK1", b"ACK", b"7", bson.encode(ACK)],
        [b"ZK1", b"NACK", SEVEN, b"no bson"],
        [b"HTTP/1.1 400 Bad Request"],
    ],
)
def test_what_is_no_answer_of_the_protocol_is_a_bad_frame(said: list[bytes]) -> None:
    with pytest.raises(BadFrame):
        frames.parse(said)


@given(
    command=st.sampled_from([b"WELCOME", b"ACK", b"NACK"]),
    base=st.sampled_from([{}, WELCOME, ACK, NACK]),
    changes=st.dictionaries(names, values, max_size=3),
)
def test_no_answer_makes_the_client_fail(command: bytes, base: dict[str, Any], changes: dict[str, Any]) -> None:
    body = bson.encode(base | changes)
    said = [b"ZK1", command, body] if command == b"WELCOME" else [b"ZK1", command, SEVEN, body]
    try:
        answer = frames.parse(said)
    except BadFrame:
        return
    assert isinstance(answer, (Welcome, Acknowledged, NotTaken))


@given(st.lists(st.binary(max_size=20), max_size=6))
def test_no_frames_make_the_client_fail(said: list[bytes]) -> None:
    with pytest.raises(BadFrame):
        frames.parse(said)


@pytest.mark.parametrize(
    "element", [b"", b"\x04\x00\x00\x00", b"garbage", bson.encode({}) * 2, bson.encode({"a": 1})[:-1]]
)
def test_an_element_that_is_not_one_whole_document_is_named(element: bytes) -> None:
    with pytest.raises(EventRefused, match="element 1 of 3") as failure:
        frames.require_whole([bson.encode({}), element, bson.encode({})])
    assert failure.value.code == "bson_invalid"


def test_an_element_beyond_the_limit_of_an_event_is_named() -> None:
    frames.require_whole([bson.encode({"x": bytes(EVENT_BYTES_MAX - 13)})])
    with pytest.raises(EventRefused, match="element 0 of 1") as failure:
        frames.require_whole([bson.encode({"x": bytes(EVENT_BYTES_MAX)})])
    assert failure.value.code == "too_large"
