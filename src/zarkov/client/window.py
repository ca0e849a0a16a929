"""The batches in flight: sent at least once and not answered for good. Pure.

They are in the order of their sequences, and sent again when they are due: after `answer_s` of silence, doubled each
time up to `answer_s_max`; after a pause, when the server said "not now"; at once, when it has greeted anew.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from zarkov.client.backlog import NEVER, Batch
from zarkov.client.limits import Limits


@dataclass(slots=True)
class Window:
    """Not thread safe. `width_max` is the server's: from its first to its last sequence, the first included."""

    limits: Limits
    width_max: int = 1
    #: The highest sequence that the server had heard of when it greeted.
    known: int = 0
    batches: dict[int, Batch] = field(default_factory=dict)
    size: int = 0
    _due_at: float = NEVER  # none is due before
    _is_cut_off: bool = False  # some lie beyond this server's width; there were more in flight to another server

    def __len__(self) -> int:
        return len(self.batches)

    @property
    def first(self) -> float:
        """The lowest sequence; NEVER: there is none."""
        return next(iter(self.batches), NEVER)

    @property
    def lowest_number(self) -> float:
        return min([batch.number for batch in self.batches.values()], default=NEVER)

    @property
    def due_at(self) -> float:
        return self._due_at if self.batches else NEVER

    def add(self, sequence: int, batch: Batch) -> None:
        self.batches[sequence] = batch
        self.size += len(batch.data)

    def remove(self, sequence: int) -> None:
        self.size -= len(self.batches.pop(sequence).data)
        if self._is_cut_off:
            self._due_at, self._is_cut_off = 0.0, False

    def sent(self, batch: Batch, now: float) -> None:
        batch.sent_count += 1
        wait_s = self.limits.answer_s * 2 ** min(batch.sent_count - 1, 6)
        self.put_off(batch, now + min(wait_s, self.limits.answer_s_max))

    def put_off(self, batch: Batch, due_at: float) -> None:
        batch.due_at = due_at
        self._due_at = min(self._due_at, due_at)

    def due(self, now: float) -> tuple[int, Batch] | None:
        """The first batch to send again, with its sequence."""
        if now < self._due_at:
            return None
        self._due_at = NEVER
        end = self.first + self.width_max
        for sequence, batch in self.batches.items():
            if sequence >= end:
                self._is_cut_off = True
                break
            if batch.due_at <= now:
                self._due_at = now
                return sequence, batch
            self._due_at = min(self._due_at, batch.due_at)
        return None

    def greeted(self, known: int, width_max: int, now: float, *, is_first: bool) -> None:
        """Everything is due. `is_first`: of this connection; none was sent to the server since it knew `known`."""
        self.width_max = width_max
        if is_first:
            self.known = known
        for batch in self.batches.values():
            batch.due_at = self._due_at = now
            if is_first:
                batch.sent_count = 0

    def is_new(self, sequence: int) -> bool:
        """Whether the server cannot have stored this batch, if it says now that it did not."""
        return sequence > self.known and self.batches[sequence].sent_count == 1

    def validate(self) -> None:
        assert list(self.batches) == sorted(self.batches)
        assert self.size == sum(len(batch.data) for batch in self.batches.values())
        assert self._is_cut_off or self._due_at <= min(
            (batch.due_at for batch in self.batches.values()), default=NEVER
        )
