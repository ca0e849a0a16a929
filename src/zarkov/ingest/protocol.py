"""The acknowledging channel: frames of a ROUTER socket <-> requests and answers. Pure.

A client's frames, after the identity that ROUTER puts in front (docs/protocol.md is this table at length):

    ZK1 HELLO  producer                       ->  ZK1 WELCOME bson{version, journal, sequence, window_max,
                                                      batch_bytes_max, batch_events_max, event_bytes_max}
    ZK1 BATCH  producer sequence payload...   ->  ZK1 ACK sequence bson{journal, first, count, refused, duplicates}
    ZK1 BATCHJ producer sequence payload...       ZK1 NACK sequence bson{code, message, retryable, hint}
    ZK1 PING   anything                       ->  ZK1 PONG anything

`producer` is 1 to 64 bytes; `sequence` an unsigned 64-bit integer, big-endian, from 1. A payload of BATCH is one or
more concatenated BSON events; of BATCHJ a JSON object, an array of objects, or NDJSON.

ACK comes after the sync. Events are counted from 0 through the whole batch, in the order sent. Those neither refused
nor duplicates have the offsets `first` to `first + count - 1`, in that order (`first` is -1 when `count` is 0).
`refused` lists `{index, code, reason}` of each refused event (no `reason` after the first REASONS_MAX);
`duplicates` lists the indexes of retries of events that are stored already. NACK: nothing of the batch was stored.
A sequence that was answered before gets the very same ACK again.

A client keeps fewer than `window_max` sequences between its oldest unanswered one and its newest: a sequence
`window_max` or more behind the highest one stored is refused as too old.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from bson.int64 import Int64

from zarkov.batch import ProducerRecord
from zarkov.codec import decode, encode
from zarkov.errors import BadFrame, ZarkovError
from zarkov.ingest.intake import Taken

MAGIC = b"ZK1"
VERSION = 1
PRODUCER_BYTES_MAX = 64
SEQUENCE_BYTES = 8
#: Frames of one request; a batch has at most this many payloads less four.
FRAMES_MAX = 1_024
#: Frames before those of a request, at most: the identity, and what a balancer adds.
ROUTE_FRAMES_MAX = 3
#: Refused events of a batch whose reason stands in the answer beside the code.
REASONS_MAX = 100
REASON_CHARS_MAX = 200
UNKNOWN_SEQUENCE = bytes(SEQUENCE_BYTES)


@dataclass(frozen=True, slots=True)
class Hello:
    """A producer asks for the limits and for the highest sequence known of it."""

    producer: bytes


@dataclass(frozen=True, slots=True)
class Batch:
    """A producer's numbered batch of events, as BSON or as JSON."""

    producer: bytes
    sequence: int
    payloads: Sequence[bytes]
    is_json: bool


@dataclass(frozen=True, slots=True)
class Ping:
    """Anything, to be sent back."""

    data: bytes


Request = Hello | Batch | Ping


def routed(message: list[bytes]) -> tuple[tuple[bytes, ...], list[bytes]]:
    """What a ROUTER socket received, as the route back to the client and the request's frames.

    The route is the client's identity; behind a balancer also what that put in front of the request (see `balancer`).
    """
    if len(message) > 1 and message[1] != MAGIC and MAGIC in message[2 : ROUTE_FRAMES_MAX + 1]:
        end = message.index(MAGIC, 2)
        return tuple(message[:end]), message[end:]
    return (message[0],), message[1:]


def parse(frames: Sequence[bytes]) -> Request:
    """The request that a message's frames (without the route) make.

    Raises: BadFrame: they make none.
    """
    if len(frames) < 3 or frames[0] != MAGIC:
        raise BadFrame(f"a request begins with the frames {MAGIC.decode()} and a command, and has a third")
    if len(frames) > FRAMES_MAX:
        raise BadFrame(f"a request has at most {FRAMES_MAX:,} frames; this one has {len(frames):,}")
    command = frames[1]
    if command in (b"BATCH", b"BATCHJ"):
        return _batch(frames, command == b"BATCHJ")
    if len(frames) > 3:
        raise BadFrame(f"{command[:20]!r} has 3 frames, not {len(frames):,}")
    if command == b"HELLO":
        return Hello(_producer(frames[2]))
    if command == b"PING":
        return Ping(frames[2])
    raise BadFrame(f"{command[:20]!r} is no command of this protocol")


def _batch(frames: Sequence[bytes], is_json: bool) -> Batch:
    if len(frames) < 5:
        raise BadFrame("a batch has at least 5 frames: ZK1, BATCH or BATCHJ, producer, sequence, events")
    sequence = int.from_bytes(frames[3], "big") if len(frames[3]) == SEQUENCE_BYTES else 0
    # The journal keeps sequences as signed 64-bit integers.
    if not 0 < sequence < 2**63:
        raise BadFrame("a sequence is 8 bytes, big-endian, and counts from 1 to 2**63 - 1")
    return Batch(_producer(frames[2]), sequence, frames[4:], is_json)


def _producer(frame: bytes) -> bytes:
    if not 0 < len(frame) <= PRODUCER_BYTES_MAX:
        raise BadFrame(f"a producer's id has 1 to {PRODUCER_BYTES_MAX} bytes, not {len(frame):,}")
    return frame


def sequence_frame(frames: Sequence[bytes]) -> bytes:
    """The sequence of a request that could not be parsed, to answer it; zeros if there is none."""
    if len(frames) > 3 and len(frames[3]) == SEQUENCE_BYTES:
        return frames[3]
    return UNKNOWN_SEQUENCE


def note_of(taken: Taken) -> bytes:
    """What an answer says of a batch besides its offsets, to be kept with it; empty when all was stored."""
    if not taken.refused and not taken.duplicates:
        return b""
    refused: list[dict[str, Any]] = []
    for place, one in enumerate(taken.refused):
        reason = {"reason": one.reason[:REASON_CHARS_MAX]} if place < REASONS_MAX else {}
        refused.append({"index": one.index, "code": one.code, **reason})
    return encode({"refused": refused, "duplicates": list(taken.duplicates)})


def ack(journal_id: str, record: ProducerRecord) -> list[bytes]:
    """The answer to a stored batch; the same bytes for the same record."""
    said = decode(record.note) if record.note else {"refused": [], "duplicates": []}
    body = {"journal": journal_id, "first": Int64(record.first_offset), "count": record.count, **said}
    return [MAGIC, b"ACK", record.sequence.to_bytes(SEQUENCE_BYTES, "big"), encode(body)]


def nack(sequence: bytes, error: ZarkovError) -> list[bytes]:
    """The answer to a request of which nothing was stored; `sequence` is the frame as it came."""
    return [MAGIC, b"NACK", sequence, encode(error.to_dict())]


def welcome(
    journal_id: str,
    sequence: int,
    *,
    window_max: int,
    batch_bytes_max: int,
    batch_events_max: int,
    event_bytes_max: int,
) -> list[bytes]:
    """The answer to HELLO; `sequence` is the highest that is known of the producer, 0 if none is."""
    body = {
        "version": VERSION,
        "journal": journal_id,
        "sequence": Int64(sequence),
        "window_max": window_max,
        "batch_bytes_max": batch_bytes_max,
        "batch_events_max": batch_events_max,
        "event_bytes_max": event_bytes_max,
    }
    return [MAGIC, b"WELCOME", encode(body)]


def pong(data: bytes) -> list[bytes]:
    return [MAGIC, b"PONG", data]
