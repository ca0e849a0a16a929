"""The acknowledging way in for asyncio: a DEALER and its outbox, moved by the event loop alone.

Theory of operation. There is no thread and no lock: everything happens in the loop's thread, between two of its
callbacks. Messages move (`Pump.exchange`, which never waits) when

    a turn     of the loop ends in which a batch was completed, or an event came while nothing was in flight
    the loop   finds one of the socket's descriptors readable. They are edge-triggered; each exchange goes on until
               there is nothing to read, so no answer stays behind an edge that was taken
    the timer  is due: the time until a batch has to leave or to be sent again. It may be early, never late

Who waits stands in one of two lines, each in the order of coming: `_room` for space in the outbox, `_flushes` for
everything up to a mark, which a flush sets at the end of its turn. So all tasks that send and flush in one turn share
a batch. A wait that is cancelled leaves its line; the event it was for was not taken.

What a crash leaves behind: as with the channel for threads, what was not acknowledged is gone with the process. A
forked child starts with an empty outbox and a producer id of its own, in whichever loop uses it first.
"""

from __future__ import annotations

import asyncio
import logging
import math
import os
import random
import time
from collections import deque
from collections.abc import Iterable, Sequence

import zmq

from zarkov.client.async_waiting import Line, Waiter, dismiss, loop_here, tell, wait
from zarkov.client.connection import Connection
from zarkov.client.frames import PRODUCER_BYTES_MAX, require_whole
from zarkov.client.keys import Keys
from zarkov.client.limits import Limits, OnFull
from zarkov.client.outbox import NEVER, Outbox
from zarkov.client.outcome import full, stats_of, unacknowledged
from zarkov.client.pump import Pump
from zarkov.client.reporter import Reporter
from zarkov.client.stats import ClientStats
from zarkov.errors import ClientClosed, NotAcknowledged

logger = logging.getLogger(__name__)

_SEND_QUEUE_MAX = 1000  # messages; the server's window is far below
_BLOCKED_S = 0.05  # how soon a message is offered again that the socket did not take
_FAULT_S = 0.5  # how soon to look after a connection that the server's keys keep from being made
_TIMER_S_MIN = 0.001  # loops round to milliseconds: an earlier timer could fire before its time, again and again


class AsyncAckLink:
    """For one event loop at a time, the first that uses it.

    Args:   producer: names this sender to the server, 1 to 64 bytes, for one client at a time; None: random.
            timeout_s: the longest wait of `send` for room, of `flush` and of `shut` when they are given none;
            keys: for a server that asks for them.
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
        keys: Keys | None = None,
    ) -> None:
        self._keys = keys
        self._address, self._limits, self._on_full, self._timeout_s = address, limits, on_full, timeout_s
        self._reset(producer or os.urandom(16), reporter)
        self._connect()  # An address that is none is told of here.

    def _reset(self, producer: bytes, reporter: Reporter) -> None:
        self._reporter = reporter
        self._outbox = Outbox(producer, self._limits, random.random)
        self._dropped = 0
        self._refused_before = 0  # refusals that a flush has told of
        self._closing = self._stopped = False
        self._in_turn = 0  # events taken since the loop had its last turn
        self._connection: Connection | None = None
        self._unbind()

    def _unbind(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = NEVER
        self._room: Line = deque()
        self._flushes: Line = deque()
        self._asking: list[Waiter] = []  # flushes of this turn, without a mark yet
        self._ends_turn = False  # something is to be done at the end of this turn

    def _connect(self) -> Connection:
        connection = Connection(zmq.DEALER, self._address, send_queue_max=_SEND_QUEUE_MAX, keys=self._keys)
        self._connection, self._pump = connection, Pump(connection, self._outbox)
        return connection

    # What the program calls.

    @property
    def stats(self) -> ClientStats:
        return stats_of(self._outbox, self._dropped)

    @property
    def is_closed(self) -> bool:
        return self._stopped

    @property
    def position(self) -> dict[str, int]:
        return dict(self._outbox.position)

    async def send(self, event: bytes) -> None:
        """Take one event. Raises: QueueFull, ClientClosed, ClientError."""
        loop = await self._turn()
        size = len(event)
        if (self._room or not self._outbox.has_room(size)) and not await self._make_room(loop, size):
            return
        now = time.monotonic()
        self._in_turn += 1
        is_due = self._outbox.add(event, now)
        if self._room:
            self._let_go()
        if is_due:
            self._at_end_of_turn(loop)
        elif self._timer_at > now + self._limits.linger_s:
            self._set_timer(now)

    async def send_many(self, events: Iterable[bytes]) -> None:
        """As `send`, for each; where it raises, the events before were taken. Raises: EventRefused: none was."""
        found: Sequence[bytes] = events if isinstance(events, (list, tuple)) else list(events)
        require_whole(found)
        start, end = 0, len(found)
        while start < end:
            loop = await self._turn()
            size = len(found[start])
            if (self._room or not self._outbox.has_room(size)) and not await self._make_room(loop, size):
                start += 1
                continue
            taken = self._outbox.add_many(found, start, time.monotonic())
            start += taken
            self._in_turn += taken
            self._let_go()
            self._at_end_of_turn(loop)

    async def flush(self, timeout_s: float | None) -> None:
        """Return when every event taken before this call is acknowledged.

        Raises: NotAcknowledged: some are not in time (they stay queued and are sent on), or some were refused since
        the last flush.
        Durability: the events survive a power loss of the server once this returns.
        """
        if self._stopped:
            raise ClientClosed("the client is closed")
        loop = self._here()
        limit_s = self._timeout_s if timeout_s is None else timeout_s
        self._at_end_of_turn(loop)
        waiter = loop.create_future()
        self._asking.append(waiter)
        failure = self._failure(await wait(loop, waiter, limit_s), limit_s)
        if failure is not None:
            raise failure

    async def shut(self, timeout_s: float | None) -> None:
        """Flush, and end; what is not acknowledged in time is reported as such and given up.

        Raises: NotAcknowledged, as `flush`; the client is closed then, too, and when the wait is cancelled.
        """
        if self._closing:
            return
        self._here()
        self._closing = True
        dismiss(self._room)
        try:
            await self.flush(timeout_s)
        finally:
            self._stop()

    def close(self, timeout_s: float | None) -> None:
        """As `shut`, without a loop: for the program's end, when no loop runs any more."""
        if self._stopped:
            return
        self._closing = True
        self._unbind()
        limit_s = self._timeout_s if timeout_s is None else timeout_s
        failure = self._failure(self._drain(limit_s), limit_s)
        self._stop()
        if failure is not None:
            raise failure

    def forked(self) -> None:
        """In a forked child: start afresh, leaving the parent's socket, loop and events alone."""
        if self._connection is not None:
            self._connection.disown()
        if self._closing:
            self._stopped, self._connection = True, None
            return
        suffix = b"." + os.urandom(8).hex().encode()
        producer = self._outbox.producer[: PRODUCER_BYTES_MAX - len(suffix)] + suffix
        self._reset(producer, Reporter(self._reporter.on_error))

    # The loop.

    def _here(self) -> asyncio.AbstractEventLoop:
        """The running loop, which is this client's. Raises: ClientError: it is another's, or none runs."""
        loop = loop_here(self._loop)
        if loop is not self._loop:
            self._bind(loop)
        return loop

    def _bind(self, loop: asyncio.AbstractEventLoop) -> None:
        self._unbind()
        self._loop = loop
        connection = self._connection or self._connect()
        for descriptor in (connection.socket_fd, connection.monitor_fd):
            loop.add_reader(descriptor, self._on_ready)
        self._exchange(time.monotonic())  # Edges that came before were nobody's.

    async def _turn(self) -> asyncio.AbstractEventLoop:
        """Give the loop its turn when it is time, before an event is taken: a cancelled call has taken none."""
        if self._closing:
            raise ClientClosed("the client is closed")
        loop = self._here()
        if self._in_turn >= self._limits.batch_events_max:
            self._in_turn = 0
            await asyncio.sleep(0)
            if self._closing:
                raise ClientClosed("the client is closed")
        return loop

    def _on_ready(self) -> None:
        self._exchange(time.monotonic())

    def _on_timer(self) -> None:
        self._timer, self._timer_at = None, NEVER
        self._exchange(time.monotonic())

    def _set_timer(self, now: float) -> None:
        due_at = self._due_at(now)
        if self._loop is None or due_at >= self._timer_at:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer_at = due_at
        self._timer = self._loop.call_later(max(due_at - now, _TIMER_S_MIN), self._on_timer)

    def _due_at(self, now: float) -> float:
        """When to exchange messages again, if nothing happens before."""
        if self._pump.is_blocked:
            return now + _BLOCKED_S
        if self._connection is not None and self._connection.fault:
            return now + _FAULT_S
        return self._outbox.wake_at()

    # Messages, and who waits for them.

    def _exchange(self, now: float) -> None:
        outbox = self._outbox
        pending = outbox.pending_events
        self._pump.exchange(now)
        self._set_timer(now)
        if outbox.pending_events < pending:
            self._let_go()
        if outbox.reports or self._pump.faults:
            self._reporter.queue([*outbox.reports, *self._pump.faults])
            outbox.reports, self._pump.faults = [], []
            self._reporter.deliver()

    def _at_end_of_turn(self, loop: asyncio.AbstractEventLoop) -> None:
        if not self._ends_turn:
            self._ends_turn = True
            loop.call_soon(self._end_turn)

    def _end_turn(self) -> None:
        """Everything that was added in this turn may leave together."""
        self._ends_turn, self._in_turn = False, 0
        if self._asking:
            mark = self._outbox.mark()
            self._flushes.extend((mark, waiter) for waiter in self._asking)
            self._asking = []
        if not self._stopped:
            self._exchange(time.monotonic())
        self._let_go()

    def _let_go(self) -> None:
        """Wake those whose wait is over: flushes up to their marks, and the first who waits for room."""
        outbox = self._outbox
        while self._flushes and (self._flushes[0][1].done() or outbox.settled(self._flushes[0][0])):
            tell(self._flushes.popleft()[1], True)
        if self._room and outbox.has_room(self._room[0][0]):
            tell(self._room[0][1], True)  # It leaves the line when it has run, and lets the next one go.

    async def _make_room(self, loop: asyncio.AbstractEventLoop, size: int) -> bool:
        """Wait for room for an event of this size; False: it is dropped."""
        if self._on_full == "drop":
            self._dropped += 1
            return False
        timeout_s = self._timeout_s if self._on_full == "block" else 0.0
        place = (size, loop.create_future())
        self._room.append(place)
        found = False
        try:
            found = timeout_s > 0 and await wait(loop, place[1], timeout_s)
        finally:
            if not self._closing:
                self._room.remove(place)
            if not found:
                self._let_go()  # It was the first, perhaps, and there was room: the next one's now.
        if self._closing:
            raise ClientClosed("the client was closed while an event waited for room")
        if not found:
            raise full(self._outbox, self._address, timeout_s, self._fault)
        return True

    def _failure(self, done: bool, waited_s: float) -> NotAcknowledged | None:
        refused = self._outbox.counters.refused - self._refused_before
        self._refused_before = self._outbox.counters.refused
        return unacknowledged(self._outbox, self._address, self._fault, done=done, refused=refused, waited_s=waited_s)

    @property
    def _fault(self) -> str:
        """Why there is no connection, where the server's answer says so; "" otherwise."""
        return self._connection.fault if self._connection is not None else ""

    # The end.

    def _drain(self, limit_s: float) -> bool:
        if self._connection is None or not self._outbox.pending_events:
            return True
        outbox, mark, deadline = self._outbox, self._outbox.mark(), time.monotonic() + limit_s
        poller = zmq.Poller()
        for descriptor in (self._connection.socket_fd, self._connection.monitor_fd):
            poller.register(descriptor, zmq.POLLIN)
        while True:
            now = time.monotonic()
            self._exchange(now)
            if outbox.settled(mark):
                return True
            if now >= deadline:
                return False
            poller.poll(math.ceil((min(self._due_at(now), deadline) - now) * 1000))

    def _stop(self) -> None:
        self._stopped = True
        abandoned = self._outbox.pending_events
        dismiss(self._flushes)
        for waiter in self._asking:
            tell(waiter, False)
        self._outbox.abandon(f"the client was closed before {self._address} acknowledged it")
        self._reporter.queue(self._outbox.reports)
        self._outbox.reports = []
        if abandoned:
            logger.error("events given up count=%d address=%s", abandoned, self._address)
        if self._timer is not None:
            self._timer.cancel()
        if self._connection is not None:
            if self._loop is not None and not self._loop.is_closed():
                self._loop.remove_reader(self._connection.socket_fd)
                self._loop.remove_reader(self._connection.monitor_fd)
            self._connection.close(0)
            self._connection = None
        self._reporter.deliver()
