"""Sealed batches that wait for their first sending. Pure.

The outbox puts batches in at one end and takes them out, each with its sequence, at the other. `MemoryBacklog` holds
them in memory and numbers them when they are taken; `spooled.SpooledBacklog` holds them on disk as well, numbered
when they are sealed.
"""

from __future__ import annotations

from bisect import insort
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from zarkov.client.limits import Limits
from zarkov.codec import split
from zarkov.errors import EventRefused, SpoolFailed

NEVER = float("inf")


@dataclass(slots=True)
class Batch:
    """Events that are sent as one. `number` tells the order of sealing; both parts of a batch cut in two keep it."""

    data: bytes
    count: int
    number: int
    sent_count: int = 0  # since the server's greeting
    due_at: float = NEVER


#: The events of a part of a batch, and how many they are.
Part = tuple[bytes, int]


def halves(batch: Batch) -> list[Part]:
    """The two parts of a batch that is cut."""
    events = events_of(batch)
    middle = len(events) // 2
    return [(b"".join(half), len(half)) for half in (events[:middle], events[middle:])]


def events_of(batch: Batch) -> list[bytes]:
    """The batch's events as they were added; what was no BSON document comes back as one piece and padding."""
    try:
        events = split(batch.data)
    except EventRefused:
        events = []
    if len(events) != batch.count:
        return [batch.data] + [b""] * (batch.count - 1)
    return events


class Backlog(Protocol):
    """Not thread safe.

    `is_kept`: what is in here survives the process. `events_max`, `bytes_max`: what may be unsettled in all; no
    events: none is taken now, for the `fault`. `pending_events`, `pending_bytes`: what waits in here.
    `keep_at`: when `keep` has something to do; NEVER without a disk.
    """

    is_kept: bool
    events_max: float
    bytes_max: int
    pending_events: int
    pending_bytes: int

    @property
    def keep_at(self) -> float: ...
    @property
    def fault(self) -> SpoolFailed | None: ...
    @property
    def is_waiting(self) -> bool:
        """Whether there is a batch that `first` could give."""
        ...

    @property
    def first_sequence(self) -> int:
        """What `take` gives its batch."""
        ...

    @property
    def last_number(self) -> int:
        """The number of the batch that was sealed last; 0: none was."""
        ...

    @property
    def kept_number(self) -> int:
        """Up to this number all survive the process; 0: none does."""
        ...

    @property
    def oldest_kept(self) -> float:
        """The lowest sequence that is settled, but would be sent again by the next process; NEVER: none is."""
        ...

    def append(self, data: bytes, count: int, keep_at: float) -> None:
        """Seal a batch, to be on disk at this time."""
        ...

    def first(self, now: float) -> Batch | None:
        """The batch to send next; None: there is none, or the disk does not give it."""
        ...

    def take(self) -> int:
        """Take out what `first` gave, and say its sequence."""
        ...

    def cut(self, batch: Batch, sequence: int | None, parts: Sequence[Part]) -> None:
        """Replace by its parts what `first` gave, or what was taken with this sequence and never stored."""
        ...

    def drop_first(self, now: float) -> None:
        """Take out what `first` gave for good, never to be sent."""
        ...

    def settled(self, sequence: int, now: float, *, in_flight: int, window_max: int) -> None:
        """A batch that was taken is answered for good; so many others are still in flight."""
        ...

    def lowest(self) -> float:
        """The lowest number of all in here; NEVER: there is none."""
        ...

    def reach(self, mark: int) -> int:
        """The number up to which all must be settled for everything sealed before this mark to be."""
        ...

    def keep(self, now: float, *, all_of_it: bool = False) -> None:
        """Write what is due, or all there is to write."""
        ...

    def greeted(self, sequence: int) -> bytes | None:
        """The server knows the producer up to this sequence. Returns: None: go on; else the producer's new id, to
        begin with another greeting (b"": it could not be made).
        """
        ...

    def unkept(self) -> Sequence[Batch]:
        """Take out everything that does not survive the process."""
        ...


class MemoryBacklog:
    """All in memory, bounded by the limits' queue."""

    is_kept = False
    fault: SpoolFailed | None = None
    keep_at = NEVER
    kept_number = 0
    oldest_kept = NEVER

    def __init__(self, limits: Limits) -> None:
        self.events_max: float = limits.queue_events_max
        self.bytes_max = limits.queue_bytes_max
        self.pending_events = self.pending_bytes = self.last_number = 0
        self.first_sequence = 1
        self._waiting: deque[Batch] = deque()
        self._cut: list[Batch] = []  # by number: they go before the others

    @property
    def is_waiting(self) -> bool:
        return bool(self._waiting or self._cut)

    def append(self, data: bytes, count: int, keep_at: float) -> None:
        self.last_number += 1
        self._waiting.append(Batch(data, count, self.last_number))
        self._count(data, count)

    def first(self, now: float) -> Batch | None:
        if self._cut:
            return self._cut[0]
        return self._waiting[0] if self._waiting else None

    def take(self) -> int:
        self._pop()
        self.first_sequence += 1
        return self.first_sequence - 1

    def cut(self, batch: Batch, sequence: int | None, parts: Sequence[Part]) -> None:
        if sequence is None:
            self._pop()
        for data, count in parts:
            insort(self._cut, Batch(data, count, batch.number), key=lambda part: part.number)
            self._count(data, count)

    def drop_first(self, now: float) -> None:
        self._pop()

    def _pop(self) -> None:
        batch = self._cut.pop(0) if self._cut else self._waiting.popleft()
        self.pending_events -= batch.count
        self.pending_bytes -= len(batch.data)

    def settled(self, sequence: int, now: float, *, in_flight: int, window_max: int) -> None:
        """Nothing is kept of it."""

    def lowest(self) -> float:
        numbers = [batches[0].number for batches in (self._cut, self._waiting) if batches]
        return min(numbers, default=NEVER)

    def reach(self, mark: int) -> int:
        return mark

    def keep(self, now: float, *, all_of_it: bool = False) -> None:
        """There is no disk."""

    def greeted(self, sequence: int) -> bytes | None:
        self.first_sequence = max(self.first_sequence, sequence + 1)
        return None

    def unkept(self) -> Sequence[Batch]:
        found = [*self._cut, *self._waiting]
        self._cut, self._waiting = [], deque()
        self.pending_events = self.pending_bytes = 0
        return found

    def _count(self, data: bytes, count: int) -> None:
        self.pending_events += count
        self.pending_bytes += len(data)
