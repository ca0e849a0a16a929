"""The way of log events to the server: a bounded queue, and a thread that empties it through a client.

Theory of operation. `put` appends to the queue and returns; it takes the lock for a few instructions, never while
anything waits. The lock may be taken again by the thread that holds it: a signal handler or a finaliser that logs may
interrupt any instruction. The thread sleeps until it is told of the first event, then gathers for `GATHER_S`, takes a
piece and gives it to the client, which keeps it until it is acknowledged. While the client's queue is full the thread
waits there, and the sender's queue fills: then `on_full` says what becomes of an event.

So an event that was taken is in the queue, in the thread's hands, or in the client: `taken` counts all of them,
`handed` those that reached the client. `flush` waits for the second to reach what the first was, then for the client.

A forked child has an empty queue, no thread until its first event, and its client starts afresh: what the parent took
stays the parent's. Under gevent's patches the thread is a greenlet, which a fork copies: it ends when it finds itself
replaced. What a crash leaves behind: events not acknowledged are gone with the process.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import get_args

from zarkov.client import lifecycle
from zarkov.client.keys import Keys
from zarkov.client.limits import OnFull
from zarkov.client.zarkov_client import ZarkovClient
from zarkov.errors import ConfigError, QueueFull, ZarkovError

logger = logging.getLogger(__name__)

#: How long the thread gathers before it takes what is there: what a flush does not wait for, and a crash costs.
GATHER_S = 0.01
#: Events that the thread takes at one go, and that its client holds besides the queue.
PIECE_EVENTS_MAX, CLIENT_EVENTS_MAX = 1_000, 10_000
#: How often the thread looks up while the client has no room.
LOOK_UP_S = 0.5
#: Drops are told of at most this often, and at the end.
DROPS_TOLD_S = 60.0

#: Makes the event that tells the server of a number of drops.
DropNote = Callable[[int], bytes]


class LogSender:
    """Thread safe.

    Args:   client: takes the events, and is closed with the sender; full, it blocks for a short `timeout_s`.
            timeout_s: the longest wait of `put` with "block", of `flush` and of `close`.
            drop_note: None: drops are told of in the log only.
    """

    def __init__(
        self,
        client: ZarkovClient,
        *,
        queue_events_max: int,
        queue_bytes_max: int,
        on_full: OnFull,
        timeout_s: float,
        drop_note: DropNote | None = None,
    ) -> None:
        self._client = client
        lifecycle.closed(client._link)  # Its end and its forks are the sender's from here on.
        self._events_max, self._bytes_max = queue_events_max, queue_bytes_max
        self._on_full, self._timeout_s, self._drop_note = on_full, timeout_s, drop_note
        self._closed = False
        self._gives_up_at = math.inf
        self._reset()

    def _reset(self) -> None:
        self._changed = threading.Condition(threading.RLock())
        self._queue: deque[bytes] = deque()
        self._queue_bytes = 0
        self._taken = self._handed = self._dropped = 0
        never = time.monotonic() - DROPS_TOLD_S
        self._logged, self._noted = Told(0, never), Told(0, never)  # of `dropped`: in the log, by an event
        self._asleep = False
        self._hurried = False  # somebody waits: gather no longer
        self._thread: threading.Thread | None = None
        self._thread_id = 0

    @property
    def dropped(self) -> int:
        """Events that were not taken because the queue was full or the sender closed, or that were given up."""
        return self._dropped

    @property
    def pending(self) -> int:
        """Events taken and neither acknowledged nor refused yet."""
        with self._changed:
            return self._taken - self._handed + self._client.pending

    def is_own_thread(self) -> bool:
        """Whether the caller is the sending thread, whose records must not come back in."""
        return threading.get_ident() == self._thread_id

    def put(self, event: bytes) -> None:
        """Take one event, or do what `on_full` says. Raises: QueueFull: on_full is "raise"."""
        size = len(event)
        with self._changed:
            if (self._closed or not self._has_room(size)) and not self._wait_for_room(size):
                self._dropped += 1
                if self._on_full == "raise" and not self._closed:
                    raise QueueFull(f"{len(self._queue):,} log records wait to be sent")
                return
            self._queue.append(event)
            self._queue_bytes += size
            self._taken += 1
            if self._asleep:
                self._asleep = False
                self._changed.notify_all()
            elif self._thread is None:
                self._start()

    def flush(self, timeout_s: float | None = None) -> bool:
        """Wait until every event taken before this call is acknowledged; False: not in time, or some were refused.

        Durability: the events survive a power loss of the server once this returned True.
        """
        deadline = time.monotonic() + (self._timeout_s if timeout_s is None else timeout_s)
        with self._changed:
            if self._closed:
                return True  # What was to be said of it, its close has said.
            wanted = self._taken
            self._hurry()
        self._empty_without_thread()
        with self._changed:
            self._changed.wait_for(lambda: self._handed >= wanted, max(0.0, deadline - time.monotonic()))
            if self._handed < wanted:
                return False
        try:
            self._client.flush(max(0.0, deadline - time.monotonic()))
        except ZarkovError as error:
            logger.warning("log records not acknowledged code=%s reason=%s", error.code, error)
            return False
        return True

    def close(self, timeout_s: float | None = None) -> None:
        """Flush and end; what is not acknowledged in time is given up, counted as dropped, and told of in the log."""
        deadline = time.monotonic() + (self._timeout_s if timeout_s is None else timeout_s)
        with self._changed:
            if self._closed:
                return
            self._closed, self._gives_up_at = True, deadline
            self._hurry()
        self._empty_without_thread()
        with self._changed:
            thread = self._thread
            self._changed.wait_for(lambda: not self._queue, max(0.0, deadline - time.monotonic()))
            left = len(self._queue)
            self._dropped += left
            self._handed += left
            self._queue.clear()
            self._hurry()
        if thread is not None and thread is not threading.current_thread():
            thread.join(LOOK_UP_S * 2)
        self._tell_of_drops(at_once=True)
        lifecycle.closed(self)
        try:
            self._client.close(max(0.0, deadline - time.monotonic()))
        except ZarkovError as error:
            logger.error("log records given up code=%s reason=%s", error.code, error)
        self._dropped += self._client.stats.abandoned

    def forked(self) -> None:
        """In a forked child: start afresh."""
        self._client._link.forked()
        self._reset()

    # With the lock held.

    def _has_room(self, size: int) -> bool:
        queue = self._queue
        return not queue or (len(queue) < self._events_max and self._queue_bytes + size <= self._bytes_max)

    def _wait_for_room(self, size: int) -> bool:
        if self._closed or self._on_full != "block" or self.is_own_thread():
            return False
        if self._thread is None:
            self._start()
        self._changed.wait_for(lambda: self._closed or self._has_room(size), self._timeout_s)
        return not self._closed and self._has_room(size)

    def _hurry(self) -> None:
        self._hurried, self._asleep = True, False
        self._changed.notify_all()

    def _start(self) -> None:
        thread = self._thread = threading.Thread(target=self._run, name="zarkov-log", daemon=True)
        try:
            thread.start()
        except RuntimeError:  # From Python 3.12 on none can be started at the program's end: see below.
            self._thread = None

    def _empty_without_thread(self) -> None:
        """Hand over here what was taken when no thread could be started any more."""
        while self._thread is None and (piece := self._take()):
            self._dropped += self._hand_over(piece)
            self._handed += len(piece)

    def _take(self) -> list[bytes]:
        with self._changed:
            piece = [self._queue.popleft() for _ in range(min(len(self._queue), PIECE_EVENTS_MAX))]
            self._queue_bytes -= sum(map(len, piece))
        return piece

    # The thread.

    def _run(self) -> None:
        me = threading.current_thread()
        self._thread_id = threading.get_ident()
        while self._gather(me):
            piece = self._take()
            lost = self._hand_over(piece)
            if self._thread is not me:
                return
            with self._changed:
                self._dropped += lost
                self._handed += len(piece)
                self._changed.notify_all()
            self._tell_of_drops(at_once=False)

    def _gather(self, me: threading.Thread) -> bool:
        """Wait until there is something to hand over; False: the sender is closed and nothing is left, or forked."""
        changed = self._changed
        with changed:
            while not self._queue and self._thread is me:
                if self._closed:
                    return False
                self._hurried, self._asleep = False, True
                changed.wait()
            if len(self._queue) < PIECE_EVENTS_MAX and not self._hurried:
                changed.wait_for(lambda: self._hurried, GATHER_S)
            return self._thread is me

    def _hand_over(self, piece: list[bytes]) -> int:
        """Give the piece to the client, however long it has no room: until the time that a close has named.

        Returns: how many it did not take.
        """
        client = self._client
        before = client.stats.taken
        while (done := client.stats.taken - before) < len(piece):
            try:
                client.send_encoded(piece[done:])
            except QueueFull:
                self._log_drops(at_once=False)
                if time.monotonic() < self._gives_up_at:
                    continue
            except ZarkovError as error:
                logger.error("log records given up count=%d reason=%s", len(piece) - done, error)
            except Exception:
                # Of the system, as too many open files: the thread has to live on for the records that follow.
                logger.exception("log records given up count=%d", len(piece) - done)
            break
        return len(piece) - (client.stats.taken - before)

    def _tell_of_drops(self, *, at_once: bool) -> None:
        self._log_drops(at_once=at_once)
        if self._drop_note is not None and (count := self._noted.more(self._dropped, at_once=at_once)):
            self._noted.count -= count * self._hand_over([self._drop_note(count)])  # told of the next time, if lost

    def _log_drops(self, *, at_once: bool) -> None:
        if count := self._logged.more(self._dropped, at_once=at_once):
            logger.warning("log records dropped count=%d", count)


@dataclass(slots=True)
class Told:
    """How many drops somebody was told of, and when."""

    count: int
    at: float

    def more(self, dropped: int, *, at_once: bool) -> int:
        """How many to tell of now: those since the last time, if that is long ago, or `at_once`."""
        now, count = time.monotonic(), dropped - self.count
        if not count or not (at_once or now >= self.at + DROPS_TOLD_S):
            return 0
        self.count, self.at = dropped, now
        return count


def open_sender(
    address: str,
    *,
    ack: bool,
    queue_events_max: int,
    queue_bytes_max: int,
    on_full: OnFull,
    timeout_s: float,
    client_key_file: str | None,
    server_public_key: str | None,
    spool: str | None,
    drop_note: DropNote,
) -> LogSender:
    """A sender with a client of its own, from plain values, as a settings file has them.

    Raises: ConfigError; SpoolFailed.
    """
    if on_full not in get_args(OnFull):
        raise ConfigError(f"on_full={on_full!r} is unknown", hint="Use 'drop', 'block' or 'raise'.")
    keys = None
    if client_key_file is not None and server_public_key is not None:
        keys = Keys.load(client_key_file, server_public_key)
    elif client_key_file is not None or server_public_key is not None:
        raise ConfigError("client_key_file and server_public_key go together", hint="Give both, or neither.")
    client = ZarkovClient(
        address,
        ack=ack,
        queue_events_max=CLIENT_EVENTS_MAX,
        on_full="block",
        timeout_s=LOOK_UP_S,
        keys=keys,
        spool=spool,
    )
    return LogSender(
        client,
        queue_events_max=queue_events_max,
        queue_bytes_max=queue_bytes_max,
        on_full=on_full,
        timeout_s=timeout_s,
        drop_note=drop_note,
    )
