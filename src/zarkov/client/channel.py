"""The acknowledging way in: a DEALER, its outbox, and a thread that keeps both moving.

Theory of operation. One lock guards the outbox and the socket; whoever holds it may move messages (`Pump.exchange`,
which never waits). Three parties do:

    senders    after they completed a batch, so that data leaves without a switch of threads
    a driver   a thread in `flush`, or in `send` while the queue is full: it waits for the socket itself, outside the
               lock, and takes the answers. At most one at a time; the others wait for it to make a change
    the thread lingering batches, retries, and answers while no driver is there

The thread sleeps until something is due. A sender wakes it only when it would sleep past the linger time; while
there is traffic it naps for that time instead, so that a loop of `event(); flush()` switches no threads at all.

What a crash leaves behind: events not acknowledged are gone with the process; those in flight may be stored. A
forked child starts with an empty outbox and a producer id of its own: what the parent took stays the parent's.
"""

from __future__ import annotations

import contextlib
import logging
import math
import os
import random
import socket
import threading
import time
from collections.abc import Callable, Iterable, Sequence

import zmq

from zarkov.client.connection import Connection
from zarkov.client.frames import PRODUCER_BYTES_MAX, require_whole
from zarkov.client.limits import Limits, OnFull
from zarkov.client.outbox import NEVER, Outbox
from zarkov.client.pump import Pump
from zarkov.client.reporter import Reporter
from zarkov.client.stats import ClientStats
from zarkov.errors import ClientClosed, NotAcknowledged, QueueFull

logger = logging.getLogger(__name__)

_SEND_QUEUE_MAX = 1000  # messages; the server's window is far below
_NAP_S_MIN = 0.001
_TRAFFIC_S = 0.1  # after the last event, the thread naps for this long before it sleeps
_DRIVE_S_MAX = 0.1  # what a wake-up that got lost would cost a driver; nothing relies on it
_BLOCKED_S = 0.05


class AckLink:
    """Thread safe.

    Args:   producer: names this sender to the server, 1 to 64 bytes, for one client at a time; None: random.
            timeout_s: the longest wait of `send` for room, of `flush` and of `close` when they are given none.
    """

    def __init__(
        self,
        address: str,
        *,
        producer: bytes | None,
        limits: Limits,
        on_full: OnFull,
        timeout_s: float,
        reporter: Reporter,
    ) -> None:
        self._address, self._limits, self._on_full, self._timeout_s = address, limits, on_full, timeout_s
        self._nap_s = max(limits.linger_s, _NAP_S_MIN)
        self._reset(producer or os.urandom(16), reporter)
        self._start()

    def _reset(self, producer: bytes, reporter: Reporter) -> None:
        self._reporter = reporter
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._waiters = 0
        self._outbox = Outbox(producer, self._limits, random.random)
        self._dropped = 0
        self._refused_before = 0  # refusals that a flush has told of
        self._driving = False
        self._closing = self._stopped = False
        self._wakes_at = 0.0
        self._traffic_until = 0.0
        self._thread: threading.Thread | None = None

    def _start(self) -> None:
        self._connection = Connection(zmq.DEALER, self._address, send_queue_max=_SEND_QUEUE_MAX, immediate=True)
        self._pump = Pump(self._connection, self._outbox)
        self._nudge = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._driver = _poller(self._connection.socket_fd, self._connection.monitor_fd, self._nudge)
        self._woken, self._waking = socket.socketpair()
        self._woken.setblocking(False)
        self._waking.setblocking(False)
        self._thread = threading.Thread(target=self._run, name="zarkov-client", daemon=True)
        self._thread.start()

    # What the program calls.

    @property
    def producer(self) -> bytes:
        return self._outbox.producer

    @property
    def stats(self) -> ClientStats:
        outbox = self._outbox
        with self._lock:
            counters = outbox.counters
            return ClientStats(
                taken=counters.taken,
                dropped=self._dropped,
                pending=outbox.pending_events,
                pending_bytes=outbox.pending_bytes,
                acknowledged=counters.acknowledged,
                refused=counters.refused,
                abandoned=counters.abandoned,
                in_flight_batches=outbox.in_flight,
                batches_sent=counters.batches_sent,
                retries=counters.retries,
            )

    @property
    def position(self) -> dict[str, int]:
        with self._lock:
            return dict(self._outbox.position)

    def send(self, event: bytes) -> None:
        """Take one event. Raises: QueueFull, ClientClosed."""
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
                outbox, mark = self._outbox, self._outbox.mark()
                done = self._wait_until(lambda: outbox.settled(mark) and not outbox.counters.abandoned, limit_s)
                self._keep_moving(time.monotonic())
                failure = self._failure(done, limit_s)
        finally:
            self._reporter.deliver()
        if failure is not None:
            raise failure

    def close(self, timeout_s: float | None) -> None:
        """Flush, and end; what is not acknowledged in time is reported as such and given up.

        Raises: NotAcknowledged, as `flush`; the client is closed then, too.
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
            self._connection.disown()
            self._close_wakers()
        if self._closing:
            self._lock = threading.Lock()
            self._stopped = True
            return
        suffix = b"." + os.urandom(8).hex().encode()
        producer = self._outbox.producer[: PRODUCER_BYTES_MAX - len(suffix)] + suffix
        self._reset(producer, Reporter(self._reporter.on_error))

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
        self._pump.exchange(now)
        if self._driving:
            # This took the edge of the socket's descriptor, and with it what would have ended the driver's wait.
            os.eventfd_write(self._nudge, 1)
        if outbox.reports:
            self._reporter.queue(outbox.reports)
            outbox.reports = []
        if self._pump.faults:
            self._reporter.queue(self._pump.faults)
            self._pump.faults = []
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
        pending, waited_s = self._outbox.pending_events, self._timeout_s if self._on_full == "block" else 0
        raise QueueFull(f"{pending:,} events wait for acknowledgement by {self._address} (waited {waited_s:g} s)")

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
        due_at = now + _BLOCKED_S if self._pump.is_blocked else self._outbox.wake_at()
        wait_s = min(max(due_at - now, 0.0), deadline - now, _DRIVE_S_MAX)
        self._driving = True
        self._lock.release()
        try:
            self._driver.poll(math.ceil(wait_s * 1000))
        finally:
            self._lock.acquire()
            self._driving = False
            with contextlib.suppress(BlockingIOError):
                os.eventfd_read(self._nudge)
            if self._waiters:
                self._changed.notify_all()

    def _keep_moving(self, now: float) -> None:
        """See to it that the thread looks again within the linger time, if there is anything to see to."""
        self._traffic_until = now + _TRAFFIC_S
        if self._outbox.pending_events and self._wakes_at > now + self._nap_s:
            self._wakes_at = now
            self._wake()

    def _wake(self) -> None:
        try:
            self._waking.send(b"\0")
        except BlockingIOError:  # It has been woken many times over.
            return

    def _failure(self, done: bool, waited_s: float) -> NotAcknowledged | None:
        outbox, address = self._outbox, self._address
        refused = outbox.counters.refused - self._refused_before
        self._refused_before = outbox.counters.refused
        if not done:
            count = outbox.pending_events + outbox.counters.abandoned
            when = "before the client was closed" if outbox.counters.abandoned else f"within {waited_s:g} s"
            met = "" if outbox.greeted else "; no acknowledging server answers there"
            text = f"{count:,} events not acknowledged by {address} {when}{met}"
            return NotAcknowledged(text + (f"; {refused:,} refused" if refused else ""))
        if refused:
            failure = NotAcknowledged(
                f"{refused:,} events were refused by {address}; the others are stored",
                hint="on_error, or the log, tells of each; `zcmd rejected list` shows them.",
            )
            failure.retryable = False
            return failure
        return None

    # The thread.

    def _run(self) -> None:
        idle = _poller(self._woken.fileno(), self._connection.monitor_fd)
        busy = _poller(self._woken.fileno(), self._connection.monitor_fd, self._connection.socket_fd)
        while True:
            with self._lock:
                if self._stopped:
                    return
                now = time.monotonic()
                if not self._driving or self._outbox.wake_at() <= now:  # A driver takes the answers itself.
                    self._exchange(now)
                wait_s = self._sleep_s(now)
                awaits_answer = self._outbox.in_flight or not self._outbox.greeted
                poller = busy if awaits_answer and not self._driving else idle
            self._reporter.deliver_if_free()  # A callback elsewhere may be waiting for this thread to end.
            self._sleep(poller, wait_s)

    def _sleep_s(self, now: float) -> float:
        due_at = now + _BLOCKED_S if self._pump.is_blocked else self._outbox.wake_at()
        if now < self._traffic_until:
            due_at = min(due_at, now + self._nap_s)
        self._wakes_at = max(due_at, now)
        return self._wakes_at - now

    def _sleep(self, poller: zmq.Poller, wait_s: float) -> None:
        if self._stopped:  # A callback in this thread may have closed the client, descriptors and all.
            return
        poller.poll(None if wait_s == NEVER else math.ceil(wait_s * 1000))
        try:
            while len(self._woken.recv(4096)) == 4096:
                pass
        except BlockingIOError:
            return

    def _stop(self) -> None:
        with self._lock:
            reason = f"the client was closed before {self._address} acknowledged it"
            abandoned = self._outbox.pending_events
            self._outbox.abandon(reason)
            self._reporter.queue(self._outbox.reports)
            self._outbox.reports = []
            self._stopped = True
            self._changed.notify_all()
            self._wake()
            os.eventfd_write(self._nudge, 1)
        if abandoned:
            logger.error("events given up count=%d address=%s", abandoned, self._address)
        self._reporter.deliver()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join()
        with self._lock:
            self._waiters += 1
            self._changed.wait_for(lambda: not self._driving)
            self._waiters -= 1
            self._connection.close(0)
            self._close_wakers()

    def _close_wakers(self) -> None:
        self._woken.close()
        self._waking.close()
        os.close(self._nudge)


def _poller(*descriptors: int) -> zmq.Poller:
    poller = zmq.Poller()
    for descriptor in descriptors:
        poller.register(descriptor, zmq.POLLIN)
    return poller
