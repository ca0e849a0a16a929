"""The original way in: one event a message over PUSH. Fast, and without any acknowledgement.

What ZeroMQ has queued survives a reconnection and is waited for by `close`; what is on its way when the server dies
is lost without a trace. The acknowledging link exists for events that matter.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterable

import zmq

from zarkov.client.connection import Connection
from zarkov.client.keys import HINT_REFUSED, Keys
from zarkov.client.limits import Limits, OnFull
from zarkov.client.stats import ClientStats
from zarkov.errors import ClientClosed, QueueFull

logger = logging.getLogger(__name__)

#: ZeroMQ counts the linger time in milliseconds, and ends it up to a few of them early.
_LINGER_PRECISION_S = 0.01


class PushLink:
    """Thread safe.

    Args:   key: sent as a frame before each event, for `zcmd proxy`; keys: for a server that asks for them;
            timeout_s: the longest that `send` waits when ZeroMQ's queue of `limits.queue_events_max` messages is
            full, and `close` for that queue to leave.
    """

    def __init__(
        self,
        address: str,
        *,
        limits: Limits,
        on_full: OnFull,
        timeout_s: float,
        key: bytes | None = None,
        keys: Keys | None = None,
    ) -> None:
        self._address, self._limits, self._on_full, self._timeout_s = address, limits, on_full, timeout_s
        self._key, self._keys = key, keys
        self._lock = threading.Lock()
        self._closed = False
        #: After `close`: whether everything was on the network in time.
        self.all_left = True
        self._connection: Connection | None = None
        self._taken = self._dropped = 0
        self._socket = self._connect()

    @property
    def stats(self) -> ClientStats:
        return ClientStats(taken=self._taken, dropped=self._dropped)

    @property
    def position(self) -> dict[str, int]:
        """Nothing is known of what the server stored."""
        return {}

    def send(self, event: bytes) -> None:
        """Hand one event to ZeroMQ. Raises: QueueFull, ClientClosed."""
        with self._lock:
            self._transmit(event)

    def send_many(self, events: Iterable[bytes]) -> None:
        """As `send`, for each; where it raises, the events before were sent."""
        with self._lock:
            for event in events:
                self._transmit(event)

    def flush(self, timeout_s: float | None) -> None:
        """Nothing is acknowledged here, so there is nothing to wait for."""

    def sync(self, timeout_s: float | None) -> None:
        """As `flush`."""

    @property
    def fault(self) -> str:
        """Why there is no connection, as far as the server's answer says it; "" otherwise."""
        with self._lock:
            return self._fault()

    def wait_until_up(self, timeout_s: float) -> bool:
        """Wait for a connection to the server; False when there is none in time."""
        with self._lock:
            return self._connection is not None and self._connection.wait_until_up(timeout_s)

    def close(self, timeout_s: float | None) -> None:
        """Wait for the queue to leave, at most `timeout_s`; what has not left then is dropped, and logged."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            if self._connection is None:
                return
            linger_s = self._timeout_s if timeout_s is None else timeout_s
            self._connection.changes()
            started_at = time.monotonic()
            self._connection.close(linger_s if self._taken else 0)
            waited_s = time.monotonic() - started_at
            in_time = waited_s < linger_s - _LINGER_PRECISION_S
            self.all_left = not self._taken or (in_time and not self._connection.gave_up)
            if not self.all_left:
                why = self._connection.fault or "not all left in time"
                logger.error("events may be lost address=%s waited_s=%g why=%s", self._address, linger_s, why)

    def forked(self) -> None:
        """In a forked child: leave the parent's socket alone; the first event opens another."""
        if self._connection is not None:
            self._connection.disown()
        self._connection = None
        self._lock = threading.Lock()
        self._taken = self._dropped = 0

    def _connect(self) -> zmq.Socket[bytes]:
        self._connection = Connection(
            zmq.PUSH, self._address, send_queue_max=self._limits.queue_events_max, keys=self._keys
        )
        self._connection.socket.setsockopt(zmq.SNDTIMEO, int(self._timeout_s * 1000))
        return self._connection.socket

    def _fault(self) -> str:
        """With the lock held: what the server answered, if it refused the connection; where that was given up, it is
        tried again.
        """
        if self._connection is None or self._closed:
            return ""
        self._connection.changes()
        return self._connection.fault

    def _transmit(self, event: bytes) -> None:
        if self._closed:
            raise ClientClosed("the client is closed")
        if self._connection is None:
            self._socket = self._connect()
        flags = 0 if self._on_full == "block" else zmq.NOBLOCK
        try:
            if self._key is not None:
                self._socket.send_multipart((self._key, event), flags)
            else:
                self._socket.send(event, flags)
        except zmq.Again:
            fault = self._fault()
            if self._on_full != "drop":
                waiting = f"{self._limits.queue_events_max:,} events wait for {self._address}, which takes none"
                raise QueueFull(
                    f"{waiting}: {fault}" if fault else waiting,
                    hint=HINT_REFUSED if fault else "Start the server, or send slower.",
                ) from None
            self._dropped += 1
            return
        self._taken += 1
