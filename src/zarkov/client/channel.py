"""The acknowledging way in: an outbox, a line to a server, and a thread that keeps both moving.

Theory of operation. One lock guards the outbox and the line; whoever holds it may move messages (`Line.exchange`,
which never waits for a server). Three parties do:

    senders    after they completed a batch, so that data leaves without a switch of threads
    a driver   a thread in `flush`, or in `send` while the queue is full: it waits for the socket itself, outside the
               lock, and takes the answers. At most one at a time; the others wait for it to make a change
    the thread lingering batches, retries, and answers while no driver is there

The thread sleeps until something is due. A sender wakes it only when it would sleep past the linger time; while
there is traffic it naps for that time instead, so that a loop of `event(); flush()` switches no threads at all.

What a crash leaves behind: events not acknowledged are gone with the process; those in flight may be stored. With a
spool, only what was taken within the last `linger_s` is gone; the rest is sent by the next process. A forked child
starts with an empty outbox, a producer id of its own and no spool: what the parent took stays the parent's.
"""

from __future__ import annotations

import logging
import os
import random
import threading
import time
from collections.abc import Callable, Iterable, Sequence

from zarkov.client.failover import addresses_of
from zarkov.client.frames import producer_id, require_whole
from zarkov.client.ids import identified
from zarkov.client.keys import Keys
from zarkov.client.limits import Limits, OnFull
from zarkov.client.line import Line
from zarkov.client.outbox import Outbox
from zarkov.client.outcome import full, stats_of, unacknowledged
from zarkov.client.reporter import Reporter
from zarkov.client.spool import Spool
from zarkov.client.spooled import SpooledBacklog
from zarkov.client.stats import ClientStats
from zarkov.errors import ClientClosed, NotAcknowledged

logger = logging.getLogger(__name__)

_NAP_S_MIN = 0.001
_TRAFFIC_S = 0.1  # after the last event, the thread naps for this long before it sleeps
_DRIVE_S_MAX = 0.1  # what a wake-up that got lost would cost a driver; nothing relies on it


class AckLink:
    """Thread safe.

    Args:   address: one server, or several of which one has its turn (see `failover`), as a list or with commas.
            producer: names this sender to the server, 1 to 64 bytes, for one client at a time; None: random. With
            several addresses or a spool, random bytes follow the name.
            timeout_s: the longest wait of `send` for room, of `flush` and of `close` when they are given none;
            keys: for a server that asks for them; spool: where the events are kept, closed with the link.
    Raises: ConfigError, SpoolFailed.
    """

    def __init__(
        self,
        address: str | Sequence[str],
        *,
        producer: bytes | None,
        limits: Limits,
        on_full: OnFull,
        timeout_s: float,
        reporter: Reporter,
        keys: Keys | None = None,
        spool: str | os.PathLike[str] | None = None,
    ) -> None:
        self._addresses = addresses_of(address)
        self._address = ", ".join(self._addresses)
        self._limits, self._on_full, self._timeout_s = limits, on_full, timeout_s
        self._keys = keys
        self._nap_s = max(limits.linger_s, _NAP_S_MIN)
        if len(self._addresses) > 1:
            # What another server knows of this name may be of an earlier process.
            producer = producer_id(producer or b"", os.urandom(8))
        self._spool = None if spool is None else Spool.open(spool, name=producer or b"")
        self._reset(producer or os.urandom(16), reporter)
        try:
            self._start()
        except BaseException:
            if self._spool is not None:
                self._spool.close()
            raise

    def _reset(self, producer: bytes, reporter: Reporter) -> None:
        self._reporter = reporter
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._waiters = 0
        spool, limits = self._spool, self._limits
        kept = None
        if spool is not None:
            kept = SpooledBacklog(spool, limits, lambda failure: reporter.queue([failure]))
            producer = spool.producer
        self._outbox = Outbox(producer, limits, random.random, kept)
        self._gives_ids = spool is not None or len(self._addresses) > 1
        self._dropped = 0
        self._refused_before = 0  # refusals that a flush has told of
        self._driving = False
        self._closing = self._stopped = False
        self._wakes_at = 0.0
        self._traffic_until = 0.0
        self._thread: threading.Thread | None = None

    def _start(self) -> None:
        self._line = Line(self._addresses, self._outbox, self._keys)
        self._thread = threading.Thread(target=self._run, name="zarkov-client", daemon=True)
        self._thread.start()

    # What the program calls.

    @property
    def producer(self) -> bytes:
        return self._outbox.producer

    @property
    def stats(self) -> ClientStats:
        with self._lock:
            return stats_of(self._outbox, self._dropped)

    @property
    def position(self) -> dict[str, int]:
        with self._lock:
            return dict(self._outbox.position)

    def send(self, event: bytes) -> None:
        """Take one event. Raises: QueueFull, ClientClosed."""
        if self._gives_ids:
            event = identified(event)
        with self._lock:
            self._check_open()
            if self._outbox.has_room(len(event)) or self._make_room(len(event)):
                now = time.monotonic()
                if self._outbox.add(event, now):
                    self._exchange(now)
                self._keep_moving(now)
        self._reporter.deliver()

    def send_many(self, events: Iterable[bytes]) -> None:
        """As `send`, for each; where it raises, the events before were taken. Raises: EventRefused: none was."""
        found: Sequence[bytes] = events if isinstance(events, (list, tuple)) else list(events)
        require_whole(found)
        if self._gives_ids:
            found = [identified(event) for event in found]
        start, end = 0, len(found)
        while start < end:
            with self._lock:
                self._check_open()
                now = time.monotonic()
                taken = self._outbox.add_many(found, start, now)
                if not taken and not self._make_room(len(found[start])):
                    taken = 1
                self._exchange(now)
                self._keep_moving(now)
            start += taken
        self._reporter.deliver()

    def flush(self, timeout_s: float | None) -> None:
        """Return when every event taken before this call is acknowledged.

        Raises: NotAcknowledged: some are not in time (they stay queued and are sent on), or some were refused since
        the last flush.
        Durability: the events survive a power loss of the server once this returns.
        """
        limit_s = self._timeout_s if timeout_s is None else timeout_s
        try:
            with self._lock:
                if self._stopped:
                    raise ClientClosed("the client is closed")
                self._ensure_started()
                mark = self._outbox.mark()
                done = self._wait_for_answers(mark, limit_s)
                self._keep_moving(time.monotonic())
                failure = self._failure(done, limit_s)
        finally:
            self._reporter.deliver()
        if failure is not None:
            raise failure

    def sync(self, timeout_s: float | None) -> None:
        """Return when every event taken before this call is in the spool, or settled; without a spool: `flush`.

        Raises: SpoolFailed: the spool cannot be written; the events stay in memory. NotAcknowledged, as `flush`.
        Durability: the events survive a power loss of this machine, or of the server, once this returns.
        """
        if self._spool is None:
            self.flush(timeout_s)
            return
        limit_s = self._timeout_s if timeout_s is None else timeout_s
        with self._lock:
            self._check_open()
            outbox, mark = self._outbox, self._outbox.mark()
            outbox.keep(time.monotonic(), all_of_it=True)
            self._wait_until(lambda: outbox.is_kept(mark) or self._spool_failed_for_good(), limit_s)
            self._keep_moving(time.monotonic())
            failure = None if outbox.is_kept(mark) else outbox.backlog.fault
        self._reporter.deliver()
        if failure is not None:
            raise failure

    def close(self, timeout_s: float | None) -> None:
        """Flush, and end; what is not acknowledged in time stays in the spool, or is reported and given up.

        With a spool, a server that is not there is waited for no longer than `failover_s`.
        Raises: NotAcknowledged, as `flush` (with a spool: not for what stays there); the client is closed then, too.
        """
        with self._lock:
            if self._closing:
                return
            self._closing = True
            if self._thread is None:
                self._stopped = True
                return
        try:
            self.flush(timeout_s)
        finally:
            self._stop()

    def forked(self) -> None:
        """In a forked child: start afresh, leaving the parent's socket, thread and events alone."""
        if self._thread is not None and not self._stopped:
            self._line.disown()
        if self._spool is not None:
            self._spool.disown()
            self._spool = None
        if self._closing:
            self._lock = threading.Lock()
            self._stopped = True
            return
        self._reset(producer_id(self._outbox.producer, os.urandom(8)), Reporter(self._reporter.on_error))

    # With the lock held.

    def _check_open(self) -> None:
        if self._closing:
            raise ClientClosed("the client is closed")
        self._ensure_started()

    def _ensure_started(self) -> None:
        if self._thread is None:
            self._start()

    def _exchange(self, now: float) -> None:
        outbox = self._outbox
        pending = outbox.pending_events
        faults = self._line.exchange(now)
        if self._driving:
            # This took the edge of the socket's descriptor, and with it what would have ended the driver's wait.
            self._line.nudge()
        if outbox.reports:
            self._reporter.queue(outbox.reports)
            outbox.reports = []
        if faults:
            self._reporter.queue(faults)
        if self._waiters and outbox.pending_events < pending:
            self._changed.notify_all()

    def _make_room(self, size: int) -> bool:
        """Wait for room for an event of this size; False: it is dropped."""
        if self._on_full == "drop":
            self._dropped += 1
            return False
        found = self._on_full == "block" and self._wait_until(lambda: self._outbox.has_room(size), self._timeout_s)
        if self._closing:
            raise ClientClosed("the client was closed while an event waited for room")
        if found:
            return True
        self._keep_moving(time.monotonic())
        waited_s = self._timeout_s if self._on_full == "block" else 0
        raise full(self._outbox, self._address, waited_s, self._line.fault)

    def _wait_for_answers(self, mark: int, limit_s: float) -> bool:
        outbox = self._outbox

        def is_settled() -> bool:
            return outbox.settled(mark) and not outbox.counters.abandoned

        if self._closing and self._spool is not None:
            grace_s = min(limit_s, self._limits.failover_s)
            if self._wait_until(lambda: is_settled() or outbox.greeted, grace_s) and not is_settled():
                self._wait_until(is_settled, limit_s)
            outbox.keep(time.monotonic(), all_of_it=True)
            return outbox.is_kept(mark)
        return self._wait_until(is_settled, limit_s)

    def _spool_failed_for_good(self) -> bool:
        fault = self._outbox.backlog.fault
        return fault is not None and not fault.retryable

    def _wait_until(self, done: Callable[[], bool], timeout_s: float) -> bool:
        """Drive the socket until this holds, or wait for the thread that drives it; False: not in time, or closed."""
        deadline = time.monotonic() + timeout_s
        while True:
            now = time.monotonic()
            if not self._driving and not self._stopped:
                self._exchange(now)
            if done():
                return True
            if now >= deadline or self._stopped:
                return False
            if self._driving:
                self._waiters += 1
                self._changed.wait(deadline - now)
                self._waiters -= 1
            else:
                self._drive(now, deadline)

    def _drive(self, now: float, deadline: float) -> None:
        """Wait for the socket, outside the lock."""
        wait_s = min(max(self._line.due_at(now) - now, 0.0), deadline - now, _DRIVE_S_MAX)
        self._driving = True
        self._lock.release()
        try:
            self._line.drive(wait_s)
        finally:
            self._lock.acquire()
            self._driving = False
            self._line.forget_nudges()
            if self._waiters:
                self._changed.notify_all()

    def _keep_moving(self, now: float) -> None:
        """See to it that the thread looks again within the linger time, if there is anything to see to."""
        self._traffic_until = now + _TRAFFIC_S
        if self._outbox.pending_events and self._wakes_at > now + self._nap_s:
            self._wakes_at = now
            self._line.wake()

    def _failure(self, done: bool, waited_s: float) -> NotAcknowledged | None:
        refused = self._outbox.counters.refused - self._refused_before
        self._refused_before = self._outbox.counters.refused
        fault = self._line.fault
        return unacknowledged(self._outbox, self._address, fault, done=done, refused=refused, waited_s=waited_s)

    # The thread.

    def _run(self) -> None:
        while True:
            with self._lock:
                # Under gevent a fork copies this thread, as a greenlet, into the child: it is not the child's link's.
                if self._stopped or self._thread is not threading.current_thread():
                    return
                now = time.monotonic()
                if not self._driving:
                    self._line.tidy()
                if not self._driving or self._line.due_at(now) <= now:  # A driver takes the answers itself.
                    self._exchange(now)
                wait_s = self._sleep_s(now)
                for_answers = not self._driving and bool(self._outbox.in_flight or not self._outbox.greeted)
            self._reporter.deliver_if_free()  # A callback elsewhere may be waiting for this thread to end.
            if not self._stopped:  # A callback in this thread may have closed the client, descriptors and all.
                self._line.rest(wait_s, for_answers=for_answers)

    def _sleep_s(self, now: float) -> float:
        due_at = self._line.due_at(now)
        if now < self._traffic_until:
            due_at = min(due_at, now + self._nap_s)
        self._wakes_at = max(due_at, now)
        return self._wakes_at - now

    def _stop(self) -> None:
        with self._lock:
            reason = f"the client was closed before {self._address} acknowledged it"
            outbox = self._outbox
            outbox.abandon(reason)
            abandoned, kept = outbox.counters.abandoned, outbox.pending_events
            self._reporter.queue(outbox.reports)
            outbox.reports = []
            self._stopped = True
            self._changed.notify_all()
            self._line.wake()
            self._line.nudge()
        if abandoned:
            logger.error("events given up count=%d address=%s", abandoned, self._address)
        if kept and self._spool is not None:
            logger.warning("events stay in the spool count=%d path=%s", kept, self._spool.path)
        self._reporter.deliver()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join()
        with self._lock:
            self._waiters += 1
            self._changed.wait_for(lambda: not self._driving)
            self._waiters -= 1
            self._line.close()
            if self._spool is not None:
                self._spool.close()
