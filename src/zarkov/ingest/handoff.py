"""Handing events to the journal, and its answers back to the greenlet's thread.

Theory of operation. Everything handed over is *pending* until the journal has answered; the sockets are not read
while more than `bytes_max` bytes (or `entries_max` entries) are pending, and libzmq then pushes back on the
clients.

Entries come in two kinds. One that somebody waits for (`submit`) fails with its error, and whoever sent it may send
it again. One that nobody can send again (`store`: events of the PULL sockets, and what was rejected) is *parked*
when the journal is full and offered again every `retry_s`, in its order, until it is stored. While anything is
parked the PULL sockets are not read, so at most what was pending can be parked. After a fatal error of the journal
nothing is handed over any more, and `on_failed` is called once.

A crash loses what is pending or parked; nobody was told that it is stored.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import gevent
from gevent.event import Event

from zarkov.batch import Entry, Rejection
from zarkov.errors import ZarkovError
from zarkov.ingest.ports import CommitPort, Done
from zarkov.ingest.readiness import Mailbox
from zarkov.position import OffsetRange

logger = logging.getLogger(__name__)

#: Entries pending at most, whatever their size: each costs memory even when all its events were refused.
ENTRIES_MAX = 10_000
RETRY_S = 0.5
_REJECTION_BYTES = 100  # what a rejection weighs besides its data, about


@dataclass(slots=True)
class _Item:
    entry: Entry | None
    rejections: Sequence[Rejection]
    done: Done
    is_kept: bool
    size: int
    is_offered: bool = False  # again, after it was parked


class Handoff:
    """The way to the journal. Of the greenlets' thread, but for the journal's answers.

    Args:   on_failed: told the error after which the journal takes nothing any more.
    """

    def __init__(
        self,
        log: CommitPort,
        *,
        bytes_max: int,
        on_failed: Callable[[ZarkovError], None],
        entries_max: int = ENTRIES_MAX,
        retry_s: float = RETRY_S,
    ) -> None:
        self._log = log
        self._bytes_max = bytes_max
        self._entries_max = entries_max
        self._retry_s = retry_s
        self._on_failed = on_failed
        self._mailbox: Mailbox[tuple[_Item, OffsetRange | None, ZarkovError | None]] = Mailbox(self._answered)
        self._parked: deque[_Item] = deque()
        self._offered_count = 0
        self._changed = Event()
        self._retrier: gevent.Greenlet | None = None
        self._failed = False
        self.pending_bytes = 0
        self.pending_entries = 0

    @property
    def parked_entries(self) -> int:
        """Entries that wait for space in the journal."""
        return len(self._parked)

    @property
    def has_room(self) -> bool:
        return self.pending_bytes <= self._bytes_max and self.pending_entries < self._entries_max

    @property
    def is_full(self) -> bool:
        """The journal had no space, and not everything that waited for it is stored yet."""
        return self._retrier is not None

    @property
    def is_empty(self) -> bool:
        """Everything that was handed over is answered for."""
        return not self.pending_entries and not self._parked

    def wait_for_change(self, timeout_s: float) -> None:
        """Wait for the journal's next answer, at most so long."""
        self._changed.clear()
        self._changed.wait(timeout_s)

    def wait_until_empty(self, timeout_s: float) -> bool:
        """Wait until everything is answered for; False when it is not within the time, or never will be."""
        with gevent.Timeout(timeout_s, False):
            while not self.is_empty and not self._failed:
                self.wait_for_change(timeout_s)
        return self.is_empty

    def submit(self, entry: Entry, done: Done) -> None:
        """Hand over one entry; `done` is called in this thread with its offsets, or with the error it failed with."""
        self._hand_over(_Item(entry, (), done, False, len(entry.data)))

    def store(self, entry: Entry, done: Done) -> None:
        """Hand over one entry that cannot be sent again; it fails only with a fatal error."""
        self._hand_over(_Item(entry, (), done, True, len(entry.data)))

    def reject(self, rejections: Sequence[Rejection]) -> None:
        """Have rejected events kept; they are durable before any entry handed over after them is."""
        if rejections:
            size = sum(len(rejection.data) + _REJECTION_BYTES for rejection in rejections)
            self._hand_over(_Item(None, rejections, _nothing, True, size))

    def try_now(self, entry: Entry) -> OffsetRange | None:
        """Commit at once, in this thread, if that is quick; None if it was not done.

        Raises: JournalFull: nothing was stored.
        """
        if self.pending_entries or self._failed:
            return None
        try:
            return self._log.try_now(entry, ())
        except ZarkovError as error:
            if not error.retryable:
                self._fail(error)
            raise

    def close(self) -> None:
        """Stop offering what is parked, after the journal has stopped."""
        if self._retrier is not None:
            self._retrier.kill()
        if self._parked:
            events = sum(item.entry.count for item in self._parked if item.entry is not None)
            logger.error("events lost count=%d reason=journal_full_at_stop", events)
        self._mailbox.close()

    def _hand_over(self, item: _Item) -> None:
        self.pending_bytes += item.size
        self.pending_entries += 1

        def answer(offsets: OffsetRange | None, error: ZarkovError | None) -> None:
            self._mailbox.put((item, offsets, error))

        self._log.submit(item.entry, item.rejections, answer)

    def _answered(self, answer: tuple[_Item, OffsetRange | None, ZarkovError | None]) -> None:
        item, offsets, error = answer
        self.pending_bytes -= item.size
        self.pending_entries -= 1
        if item.is_offered:
            item.is_offered = False
            self._offered_count -= 1
        if error is not None and error.retryable and item.is_kept:
            self._park(item, error)
        else:
            if error is not None and not error.retryable:
                self._fail(error)
            item.done(offsets, error)
        self._changed.set()

    def _park(self, item: _Item, error: ZarkovError) -> None:
        self._parked.append(item)
        if self._retrier is None:
            logger.warning("ingest paused code=%s message=%s", error.code, error)
            self._retrier = gevent.spawn(self._offer_again)

    def _offer_again(self) -> None:
        while self._parked:
            gevent.sleep(self._retry_s)
            items, self._parked = self._parked, deque()
            self._offered_count = len(items)
            for item in items:
                item.is_offered = True
                self._hand_over(item)
            while self._offered_count:
                self.wait_for_change(self._retry_s)
        self._retrier = None
        self._changed.set()
        logger.warning("ingest resumed")

    def _fail(self, error: ZarkovError) -> None:
        if not self._failed:
            self._failed = True
            logger.critical("journal failed code=%s message=%s", error.code, error)
            self._on_failed(error)


def _nothing(offsets: OffsetRange | None, error: ZarkovError | None) -> None:
    """The answer nobody waits for."""
