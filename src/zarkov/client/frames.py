"""The client's side of the acknowledging channel's protocol: requests as frames, frames as answers. Pure.

docs/protocol.md describes the protocol; this module and the server's read and write it independently.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from zarkov.codec import decode
from zarkov.errors import BadFrame, EventRefused
from zarkov.event import EVENT_BYTES_MAX

MAGIC = b"ZK1"
PRODUCER_BYTES_MAX = 64
_SEQUENCE_BYTES = 8
_EVENT_BYTES_MIN = 5


@dataclass(frozen=True, slots=True)
class Welcome:
    """The answer to HELLO: the server's limits, and the highest sequence it knows of this producer (0: none)."""

    sequence: int
    window_max: int
    batch_events_max: int
    batch_bytes_max: int


@dataclass(frozen=True, slots=True)
class Refused:
    """One event of a batch that the server did not store; `index` counts from 0 in the batch as sent."""

    index: int
    code: str
    reason: str


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """The batch is synced: its accepted events have the offsets `first` to `first + count - 1` of `journal`.

    duplicates: the indexes of events that were stored before, under the same `_id`.
    """

    sequence: int
    journal: str
    first: int
    count: int
    refused: tuple[Refused, ...]
    duplicates: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class NotTaken:
    """Nothing of the batch was stored."""

    sequence: int
    code: str
    message: str
    retryable: bool


Answer = Welcome | Acknowledged | NotTaken


def producer_id(name: bytes, unique: bytes) -> bytes:
    """A producer's id that begins with this name and is no other's; `unique` are its random bytes."""
    suffix = (b"." if name else b"") + unique.hex().encode()
    return name[: PRODUCER_BYTES_MAX - len(suffix)] + suffix


def hello(producer: bytes) -> list[bytes]:
    return [MAGIC, b"HELLO", producer]


def batch(producer: bytes, sequence: int, events: bytes) -> list[bytes]:
    """A batch of concatenated BSON events; sequences count from 1."""
    return [MAGIC, b"BATCH", producer, sequence.to_bytes(_SEQUENCE_BYTES, "big"), events]


def require_whole(events: Sequence[bytes]) -> None:
    """Check that each is as long as its length prefix says: events are counted, in a batch, by their lengths.

    Raises: EventRefused: bson_invalid or too_large, naming the first that is at fault.
    """
    for place, event in enumerate(events):
        size = len(event)
        if size < _EVENT_BYTES_MIN or size != int.from_bytes(event[:4], "little"):
            raise EventRefused("bson_invalid", f"element {place:,} of {len(events):,} is not one whole BSON document")
        if size > EVENT_BYTES_MAX:
            most = f"{EVENT_BYTES_MAX:,} is the limit"
            raise EventRefused("too_large", f"element {place:,} of {len(events):,} has {size:,} bytes; {most}")


def parse(frames: Sequence[bytes]) -> Answer:
    """What the server said.

    Raises: BadFrame: it is no answer of this protocol.
    """
    if len(frames) < 3 or frames[0] != MAGIC:
        raise BadFrame(f"the server sent {len(frames)} frames that are no answer of the acknowledging channel")
    try:
        if frames[1] == b"WELCOME":
            return _welcome(decode(frames[2]))
        if frames[1] in (b"ACK", b"NACK") and len(frames[2]) == _SEQUENCE_BYTES:
            sequence, body = int.from_bytes(frames[2], "big"), decode(frames[3])
            return _acknowledged(sequence, body) if frames[1] == b"ACK" else _not_taken(sequence, body)
    except (KeyError, TypeError, ValueError, OverflowError, IndexError, EventRefused) as error:
        raise BadFrame(f"the server's {frames[1][:20]!r} answer cannot be read: {error!r}") from error
    raise BadFrame(f"the server sent an unknown answer {frames[1][:20]!r}")


def _welcome(body: dict[str, Any]) -> Welcome:
    limits = (int(body[name]) for name in ("window_max", "batch_events_max", "batch_bytes_max"))
    window_max, events_max, bytes_max = (max(1, limit) for limit in limits)
    return Welcome(int(body["sequence"]), window_max, events_max, bytes_max)


def _acknowledged(sequence: int, body: dict[str, Any]) -> Acknowledged:
    refused = tuple(
        Refused(int(one["index"]), str(one["code"]), str(one.get("reason", ""))) for one in body.get("refused", ())
    )
    duplicates = tuple(int(index) for index in body.get("duplicates", ()))
    return Acknowledged(sequence, str(body["journal"]), int(body["first"]), int(body["count"]), refused, duplicates)


def _not_taken(sequence: int, body: dict[str, Any]) -> NotTaken:
    return NotTaken(sequence, str(body["code"]), str(body.get("message", "")), bool(body["retryable"]))
