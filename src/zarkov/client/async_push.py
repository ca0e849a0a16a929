"""Fire and forget over PUSH, for asyncio: ZeroMQ queues, and whoever finds its queue full waits in line."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import deque
from collections.abc import Iterable

import zmq

from zarkov.client.async_waiting import Line, Waiter, dismiss, loop_here, tell, wait
from zarkov.client.connection import POLLOUT, Connection
from zarkov.client.keys import HINT_REFUSED, Keys
from zarkov.client.limits import Limits, OnFull
from zarkov.client.stats import ClientStats
from zarkov.errors import ClientClosed, QueueFull

logger = logging.getLogger(__name__)

#: ZeroMQ counts the linger time in milliseconds, and ends it up to a few of them early.
_LINGER_PRECISION_S = 0.01
#: How soon who waits for room looks whether the server's keys keep a connection from being made, and tries again.
_FAULT_S = 0.5


class AsyncPushLink:
    """For one event loop at a time; what PushLink is for threads."""

    def __init__(
        self, address: str, *, limits: Limits, on_full: OnFull, timeout_s: float, keys: Keys | None = None
    ) -> None:
        self._address, self._limits, self._on_full, self._timeout_s = address, limits, on_full, timeout_s
        self._keys = keys
        self._closed = False
        self._connection: Connection | None = None
        self._taken = self._dropped = 0
        self._in_turn = 0  # events taken since the loop had its last turn
        self._loop: asyncio.AbstractEventLoop | None = None
        self._room: Line = deque()
        self._connect()

    def _connect(self) -> Connection:
        self._connection = Connection(
            zmq.PUSH, self._address, send_queue_max=self._limits.queue_events_max, keys=self._keys
        )
        return self._connection

    @property
    def stats(self) -> ClientStats:
        return ClientStats(taken=self._taken, dropped=self._dropped)

    @property
    def is_closed(self) -> bool:
        return self._closed

    @property
    def position(self) -> dict[str, int]:
        """Nothing is known of what the server stored."""
        return {}

    async def send(self, event: bytes) -> None:
        """Hand one event to ZeroMQ. Raises: QueueFull, ClientClosed."""
        connection = self._open_connection()
        if self._in_turn >= self._limits.batch_events_max:
            self._in_turn = 0
            await asyncio.sleep(0)
            connection = self._open_connection()
        self._in_turn += 1
        deadline = time.monotonic() + (self._timeout_s if self._on_full == "block" else 0.0)
        while not self._handed(connection, event):
            connection.changes()  # It tries again where the server's keys have ended the attempts.
            left_s = deadline - time.monotonic()
            if left_s > 0:
                await self._wait_for_room(connection, min(left_s, _FAULT_S))
            elif self._on_full == "drop":
                self._dropped += 1
                return
            else:
                raise self._full(connection.fault)
            connection = self._open_connection()

    async def send_many(self, events: Iterable[bytes]) -> None:
        """As `send`, for each; where it raises, the events before were sent."""
        for event in events:
            await self.send(event)

    async def flush(self, timeout_s: float | None) -> None:
        """Nothing is acknowledged here, so there is nothing to wait for."""

    async def shut(self, timeout_s: float | None) -> None:
        """Wait for the queue to leave, at most `timeout_s`; what has not left then is dropped, and logged."""
        if self._closed:
            return
        loop = loop_here(self._loop)
        if self._room and self._connection is not None:
            loop.remove_reader(self._connection.socket_fd)
        connection, self._connection, self._closed = self._connection, None, True
        dismiss(self._room)
        # Closing waits for the network in ZeroMQ, which would hold up the loop.
        await loop.run_in_executor(None, self._end, connection, timeout_s)

    def close(self, timeout_s: float | None) -> None:
        """As `shut`, in this thread."""
        if not self._closed:
            connection, self._connection, self._closed = self._connection, None, True
            self._end(connection, timeout_s)

    def _end(self, connection: Connection | None, timeout_s: float | None) -> None:
        if connection is None:
            return
        linger_s = self._timeout_s if timeout_s is None else timeout_s
        connection.changes()
        started_at = time.monotonic()
        connection.close(linger_s if self._taken else 0)
        in_time = time.monotonic() - started_at < linger_s - _LINGER_PRECISION_S
        if self._taken and (connection.gave_up or not in_time):
            why = connection.fault or "not all left in time"
            logger.error("events may be lost address=%s waited_s=%g why=%s", self._address, linger_s, why)

    def forked(self) -> None:
        """In a forked child: leave the parent's socket alone; the first event opens another."""
        if self._connection is not None:
            self._connection.disown()
        self._connection = None
        self._taken = self._dropped = 0
        self._loop = None

    def _open_connection(self) -> Connection:
        """For a use in this loop. Raises: ClientClosed, ClientError."""
        if self._closed:
            raise ClientClosed("the client is closed")
        loop = loop_here(self._loop)
        if loop is not self._loop:
            self._loop, self._room = loop, deque()
        return self._connection or self._connect()

    def _handed(self, connection: Connection, event: bytes) -> bool:
        try:
            connection.send((event,))
        except zmq.Again:
            return False
        self._taken += 1
        return True

    async def _wait_for_room(self, connection: Connection, timeout_s: float) -> None:
        loop = asyncio.get_running_loop()
        waiter: Waiter = loop.create_future()
        self._room.append((1, waiter))
        loop.add_reader(connection.socket_fd, self._on_ready, connection)
        try:
            self._on_ready(connection)  # The edge may have passed before there was a reader.
            await wait(loop, waiter, timeout_s)
        finally:
            with contextlib.suppress(ValueError):
                self._room.remove((1, waiter))
            if not self._room and not self._closed:
                loop.remove_reader(connection.socket_fd)

    def _on_ready(self, connection: Connection) -> None:
        if connection.events & POLLOUT:
            while self._room:
                tell(self._room.popleft()[1], True)

    def _full(self, fault: str) -> QueueFull:
        waiting = f"{self._limits.queue_events_max:,} events wait for {self._address}, which takes none"
        if fault:
            return QueueFull(f"{waiting}: {fault}", hint=HINT_REFUSED)
        return QueueFull(waiting, hint="Start the server, or send slower.")
