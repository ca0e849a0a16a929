"""The backlog of a client with a spool: batches are on disk before they are sent, and until they are answered.

Theory of operation. A batch gets its sequence when it is sealed, and goes through

    fresh     sealed, in memory alone; written by `keep` when it is due, or by `first` when it is next to be sent
    held      on disk, and in memory as well: the next to be sent, KEPT_BYTES_MAX at most
    behind    on disk alone, all behind those that are held; read back when none is held any more
    taken     on disk, in the hands of the outbox, which sends it until it is answered
    answered  on disk until the next write removes it

The order of the sequences is the order of sending: taken, held, behind, fresh. A write adds everything fresh and
removes everything answered in one transaction. An answered batch that a kill leaves behind is sent again and
answered again, as long as the server knows its sequence. So the outbox counts its window from the oldest sequence on
disk (`oldest_kept`), not from the oldest one in flight, and answered ones are removed when half the window is theirs.

A write that fails leaves everything as it was. A full disk is tried again, after a pause that doubles; after any
other failure the file is not written any more. Meanwhile no event is taken, and what is fresh is not sent: a kill
would leave its sequence to be given to another batch, which the server would then take for a retry.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Sequence
from typing import Protocol

from zarkov.client.backlog import NEVER, Batch, Part
from zarkov.client.limits import Limits
from zarkov.client.spool import Row
from zarkov.errors import SpoolFailed

logger = logging.getLogger(__name__)

#: Batches in memory that wait for their turn, and of them what is read at once.
KEPT_BYTES_MAX = 8 * 1024 * 1024
_READ_BYTES_MAX = KEPT_BYTES_MAX // 2
#: So much that is fresh is written before it is due.
_FRESH_BYTES_MAX = 4 * 1024 * 1024
#: How long an answered batch may stay on disk with nothing else to write.
_REMOVE_S = 1.0


class SpoolFile(Protocol):
    """What is needed of `spool.Spool`."""

    producer: bytes
    next_sequence: int
    batch_count: int
    event_count: int
    byte_count: int
    oldest: int

    def write(self, added: Sequence[Row], removed: Sequence[int]) -> None: ...
    def read(self, sequence: int, bytes_max: int) -> tuple[list[Row], int | None]: ...
    def rename(self) -> bytes: ...


class SpooledBacklog:
    """See `backlog.Backlog`.

    Args:   limits: `spool_bytes_max`, and the pauses after a write that failed;
            report: told of a failure of the file, once until it is mended.
    """

    is_kept = True

    def __init__(self, spool: SpoolFile, limits: Limits, report: Callable[[SpoolFailed], None]) -> None:
        self._spool, self._limits, self._report = spool, limits, report
        self.events_max = NEVER
        self.bytes_max = limits.spool_bytes_max
        self.pending_events, self.pending_bytes = spool.event_count, spool.byte_count
        self.fault: SpoolFailed | None = None
        self._next_sequence = spool.next_sequence
        self._first_of_this_life = spool.next_sequence
        self._taken_to = 0
        self._fresh: list[Batch] = []
        self._fresh_bytes = 0
        self._fresh_due_at = NEVER
        self._held: deque[Batch] = deque()
        self._held_bytes = 0
        self._behind: int | None = spool.oldest if spool.batch_count else None  # the first sequence of those
        self._answered: list[int] = []
        self._remove_at = NEVER
        self._may_write_at = 0.0
        self._failures = 0  # in a row
        self._is_readable = True
        #: A batch up to the first number was cut into parts up to the second one; both 0: no part waits.
        self._cut = (0, 0)

    # What waits.

    @property
    def is_waiting(self) -> bool:
        if self._held or self._behind is not None:
            return bool(self._held) or self._is_readable
        return bool(self._fresh) and self.fault is None

    @property
    def first_sequence(self) -> int:
        if self._held:
            return self._held[0].number
        if self._behind is not None:
            return self._behind
        return self._fresh[0].number if self._fresh else self._next_sequence

    @property
    def last_number(self) -> int:
        return self._next_sequence - 1

    @property
    def kept_number(self) -> int:
        return self._fresh[0].number - 1 if self._fresh else self.last_number

    @property
    def oldest_kept(self) -> float:
        return min(self._answered, default=NEVER)

    def lowest(self) -> float:
        return self.first_sequence if self._held or self._behind is not None or self._fresh else NEVER

    def reach(self, mark: int) -> int:
        lowest, highest = self._cut
        return max(mark, highest) if lowest <= mark else mark

    # Batches in and out.

    def append(self, data: bytes, count: int, keep_at: float) -> None:
        self._fresh.append(Batch(data, count, self._next_sequence))
        self._next_sequence += 1
        self._fresh_bytes += len(data)
        self._fresh_due_at = min(self._fresh_due_at, keep_at)
        if self._fresh_bytes >= _FRESH_BYTES_MAX:
            self._fresh_due_at = 0.0
        self.pending_events += count
        self.pending_bytes += len(data)

    def first(self, now: float) -> Batch | None:
        if not self._held:
            if self._behind is not None:
                self._read()
            elif self._fresh:
                self._write(now)
        return self._held[0] if self._held else None

    def take(self) -> int:
        self._taken_to = self._drop_held().number
        return self._taken_to

    def cut(self, batch: Batch, sequence: int | None, parts: Sequence[Part]) -> None:
        if sequence is None:
            self._drop_held()
        lowest, highest = self._cut
        lowest = min(lowest, batch.number) if highest else batch.number
        for data, count in parts:
            self.append(data, count, 0.0)
        self._cut = (lowest, self.last_number)
        self._answered.append(batch.number)  # The write that adds the parts removes it.

    def drop_first(self, now: float) -> None:
        self._forget(self._drop_held().number, now)

    def settled(self, sequence: int, now: float, *, in_flight: int, window_max: int) -> None:
        self._forget(sequence, now)
        is_closed = not in_flight and self.first_sequence - min(self._answered) >= window_max
        if is_closed or 2 * len(self._answered) >= window_max:
            self._remove_at = 0.0

    def greeted(self, sequence: int) -> bytes | None:
        """A server that knows more of the producer than this file tells of a file that is not the latest one."""
        if sequence < max(self._first_of_this_life, self._taken_to + 1):
            return None
        logger.warning(
            "spool is older than what the server knows producer=%s sequence=%d: its batches are sent as another "
            "producer's; some may be stored twice, with the same _id",
            self._spool.producer.hex(),
            sequence,
        )
        try:
            return self._spool.rename()
        except SpoolFailed as error:
            self._fail(error)
            return b""

    def unkept(self) -> Sequence[Batch]:
        found, self._fresh = self._fresh, []
        self._fresh_bytes, self._fresh_due_at = 0, NEVER
        self.pending_events -= sum(batch.count for batch in found)
        self.pending_bytes -= sum(len(batch.data) for batch in found)
        return found

    # The disk.

    @property
    def keep_at(self) -> float:
        return max(min(self._fresh_due_at, self._remove_at), self._may_write_at)

    def keep(self, now: float, *, all_of_it: bool = False) -> None:
        if now >= self.keep_at or (all_of_it and (self._fresh or self._answered)):
            self._write(now)

    def _write(self, now: float) -> None:
        """Bring what is fresh to the disk, and remove what is answered; on failure nothing changes."""
        if now < self._may_write_at:
            return
        rows = [Row(batch.number, batch.count, batch.data) for batch in self._fresh]
        try:
            self._spool.write(rows, self._answered)
        except SpoolFailed as error:
            self._fail(error)
            pause_s = self._limits.retry_s_min * 2 ** min(self._failures, 16)
            self._may_write_at = now + min(pause_s, self._limits.retry_s_max) if error.retryable else NEVER
            self._failures += 1
            return
        self._may_write_at, self._failures = 0.0, 0
        if self._is_readable:
            self.fault, self.events_max = None, NEVER
        self._answered, self._remove_at = [], NEVER
        for batch in self._fresh:
            if self._behind is None and (not self._held or self._held_bytes + len(batch.data) <= KEPT_BYTES_MAX):
                self._held.append(batch)
                self._held_bytes += len(batch.data)
            elif self._behind is None:
                self._behind = batch.number
        self._fresh, self._fresh_bytes, self._fresh_due_at = [], 0, NEVER

    def _read(self) -> None:
        assert self._behind is not None
        try:
            rows, self._behind = self._spool.read(self._behind, _READ_BYTES_MAX)
        except SpoolFailed as error:
            self._fail(error)
            self._is_readable = False
            return
        for row in rows:
            self._held.append(Batch(row.events, row.count, row.sequence))
            self._held_bytes += len(row.events)

    def _fail(self, error: SpoolFailed) -> None:
        if self.fault is None:
            self._report(error)
        self.fault, self.events_max = error, 0.0

    def _drop_held(self) -> Batch:
        batch = self._held.popleft()
        self._held_bytes -= len(batch.data)
        self.pending_events -= batch.count
        self.pending_bytes -= len(batch.data)
        return batch

    def _forget(self, sequence: int, now: float) -> None:
        self._answered.append(sequence)
        self._remove_at = min(self._remove_at, now + _REMOVE_S)
