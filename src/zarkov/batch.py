"""What travels from ingest to the journal, as values.

An `Entry` is one request to append: events as bytes, a `Summary` taken while they were validated (so that nobody
decodes them again), and, on the acknowledging channel, the producer's number of the batch. A `Rejection` is an
event that could not be taken.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from bson import ObjectId
from bson.datetime_ms import DatetimeMS

#: A summary that would name more types than this names none: its chunk is never skipped by type.
TYPES_MAX = 64

_EPOCH = datetime(1970, 1, 1)


def epoch_ms(moment: datetime | DatetimeMS) -> int:
    """Milliseconds since 1970 of a naive UTC datetime, rounded down."""
    if isinstance(moment, DatetimeMS):
        return int(moment)
    since = moment.replace(tzinfo=None) - _EPOCH
    return since.days * 86_400_000 + since.seconds * 1_000 + since.microseconds // 1_000


def bounded_types(types: Iterable[str]) -> frozenset[str] | None:
    """The set of types, or None when it has more than TYPES_MAX members."""
    found = frozenset(types)
    return found if len(found) <= TYPES_MAX else None


@dataclass(frozen=True, slots=True)
class Summary:
    """The bounds of a run of events, all inclusive: what lets a reader skip a chunk.

    `ts_min_ms`, `ts_max_ms` are epoch milliseconds; `id_min`, `id_max` are 12 bytes; `types` is None when it is
    unknown or has more than TYPES_MAX members.
    """

    ts_min_ms: int
    ts_max_ms: int
    id_min: bytes
    id_max: bytes
    types: frozenset[str] | None

    def merge(self, other: Summary) -> Summary:
        """The summary of both runs together."""
        both = None if self.types is None or other.types is None else bounded_types(self.types | other.types)
        return Summary(
            min(self.ts_min_ms, other.ts_min_ms),
            max(self.ts_max_ms, other.ts_max_ms),
            min(self.id_min, other.id_min),
            max(self.id_max, other.id_max),
            both,
        )

    @classmethod
    def of(cls, documents: Sequence[Mapping[str, Any]]) -> Summary:
        """The summary of decoded events; at least one.

        An event taken without validation may lack a date, a type or an ObjectId: the summary then has bounds
        that skip nothing.
        """
        stamps: list[int] = []
        ids: list[bytes] = []
        types: set[str] | None = set()
        for document in documents:
            stamp, kind, ident = document.get("timestamp"), document.get("type"), document.get("_id")
            if isinstance(stamp, datetime | DatetimeMS):
                stamps.append(epoch_ms(stamp))
            else:
                stamps += (-(2**63), 2**63 - 1)
            if isinstance(ident, ObjectId):
                ids.append(ident.binary)
            else:
                ids += (b"\x00" * 12, b"\xff" * 12)
            if types is not None:
                if isinstance(kind, str):
                    types.add(kind)
                else:
                    types = None
        known = None if types is None else bounded_types(types)
        return cls(min(stamps), max(stamps), min(ids), max(ids), known)


@dataclass(frozen=True, slots=True)
class ProducerBatch:
    """A producer's number of a batch; `note` is opaque to the journal and kept with the answer."""

    producer: bytes
    sequence: int
    note: bytes


@dataclass(frozen=True, slots=True)
class Entry:
    """One request to append `count` events; `data` is their BSON, concatenated, each complete.

    `summary` is None exactly when `count` is 0 (a batch of which every event was refused still records its
    producer's number).
    """

    data: bytes
    count: int
    summary: Summary | None
    producer: ProducerBatch | None = None


@dataclass(frozen=True, slots=True)
class ProducerRecord:
    """The answer a producer's batch was given; `first_offset` is -1 when `count` is 0."""

    producer: bytes
    sequence: int
    first_offset: int
    count: int
    note: bytes


@dataclass(frozen=True, slots=True)
class Rejection:
    """An event that could not be taken: its bytes as they came, why, from where, when (epoch milliseconds)."""

    at_ms: int
    source: str
    code: str
    reason: str
    data: bytes
