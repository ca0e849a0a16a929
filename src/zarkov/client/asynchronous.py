"""AsyncZarkovClient: what an asyncio program uses to send events."""

from __future__ import annotations

import inspect
import logging
import warnings
from collections.abc import Iterable
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Self

from zarkov.client import lifecycle
from zarkov.client.async_channel import AsyncAckLink
from zarkov.client.async_push import AsyncPushLink
from zarkov.client.counted import Counted, check_arguments
from zarkov.client.keys import Keys
from zarkov.client.limits import Limits, OnFull
from zarkov.client.reporter import OnError, Reporter
from zarkov.codec import encode
from zarkov.errors import ConfigError, EventRefused, ZarkovError
from zarkov.event import EVENT_BYTES_MAX

logger = logging.getLogger(__name__)


class AsyncZarkovClient(Counted):
    """Sends events to an event server, from one event loop: asyncio's own, or uvloop's.

        async with AsyncZarkovClient("tcp://localhost:6546") as client:
            await client.event("signup", {"user": "ada"}, {"plan": "free"})
            await client.flush()

    Any number of the loop's tasks may share a client. `event` waits only when the queue is full; a task that sends
    without end gives the loop a turn with each batch. A call that was cancelled has not taken its event. There is no
    thread and no polling.

    Args: as for ZarkovClient, but for `ack`, which is True here (addr: `ack_bind_address`, 6546); False is fire and
        forget over PUSH (`bson_bind_address`, 6543). on_error is a plain function, called in the loop.
    Raises: ConfigError. Every method: ClientError, when it is used outside of the client's event loop.
    """

    def __init__(
        self,
        addr: str,
        *,
        ack: bool = True,
        producer: bytes | None = None,
        batch_events_max: int = 1000,
        batch_bytes_max: int = 1024 * 1024,
        linger_s: float = 0.005,
        queue_events_max: int = 100_000,
        queue_bytes_max: int = 64 * 1024 * 1024,
        on_full: OnFull = "block",
        on_error: OnError | None = None,
        timeout_s: float = 30.0,
        keys: Keys | None = None,
    ) -> None:
        limits = Limits(batch_events_max, batch_bytes_max, linger_s, queue_events_max, queue_bytes_max)
        check_arguments(on_full, producer)
        if inspect.iscoroutinefunction(on_error):
            raise ConfigError("on_error is a coroutine function", hint="Pass a function that starts a task.")
        self._link: AsyncAckLink | AsyncPushLink
        if ack:
            self._link = AsyncAckLink(
                addr,
                producer=producer,
                limits=limits,
                on_full=on_full,
                timeout_s=timeout_s,
                reporter=Reporter(on_error),
                keys=keys,
            )
        else:
            self._link = AsyncPushLink(addr, limits=limits, on_full=on_full, timeout_s=timeout_s, keys=keys)
        self._closed = False
        lifecycle.keep(self._link)

    async def event(self, type: str, context: dict[str, Any] | None = None, extra: Any = None) -> None:
        """Send one event, stamped with the time of this call.

        Args:   type: what happened; context: who and where; extra: anything BSON holds.
        Raises: EventRefused: BSON cannot hold it, or it is too large; QueueFull; ClientClosed.
        Durability: with `ack`, once `flush` or `close` returned; else unknown.
        """
        await self._send({"timestamp": datetime.now(UTC), "type": type, "context": context or {}, "extra": extra})

    async def event_noval(self, type: str, context: dict[str, Any] | None = None, extra: Any = None) -> None:
        """As `event`, but the server stores it without validation."""
        document = {"timestamp": datetime.now(UTC), "type": type, "context": context or {}, "extra": extra}
        await self._send({"$command": "event_noval", **document})

    async def send_encoded(self, events: Iterable[bytes]) -> None:
        """Send events that are BSON already, each element one whole document; nothing is added.

        Raises: QueueFull, ClientClosed, or cancelled: the events before that were taken; with `ack`, EventRefused:
        an element is not as long as its length prefix says, or too large, and none was taken.
        """
        await self._link.send_many(events)

    async def flush(self, timeout: float | None = None) -> None:
        """Wait until every event sent so far is acknowledged, at most `timeout` seconds (None: `timeout_s`).

        Tasks that flush at the same time share a batch. Over PUSH it returns at once: nothing is acknowledged there.
        Raises: NotAcknowledged: some are not acknowledged in time (they stay queued), or were refused since the last
        flush of any task (`retryable` is False then).
        """
        await self._link.flush(timeout)

    async def close(self, timeout: float | None = None) -> None:
        """Flush and end; what is still not acknowledged is reported to `on_error` and given up.

        Over PUSH it waits, as long, for the queue to be on the network. Closing twice does nothing. When the wait is
        cancelled, the client is closed all the same.
        Raises: NotAcknowledged, as `flush`.
        """
        try:
            await self._link.shut(timeout)
        finally:
            # Not where it was called outside of the client's loop.
            self._closed = self._link.is_closed
            if self._closed:
                lifecycle.closed(self._link)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            await self.close()
        except ZarkovError as failure:
            if error is None:
                raise
            logger.error("closing a client failed code=%s reason=%s", failure.code, failure)

    def __del__(self, _warn: Any = warnings.warn) -> None:
        # As asyncio's own transports. What was taken is sent on while the loop runs, and at the program's end.
        if not getattr(self, "_closed", True):
            _warn(f"unclosed {self!r}", ResourceWarning, source=self)

    async def _send(self, document: dict[str, Any]) -> None:
        data = encode(document)
        if len(data) > EVENT_BYTES_MAX:
            raise EventRefused("too_large", f"the event has {len(data):,} bytes; {EVENT_BYTES_MAX:,} is the limit")
        await self._link.send(data)
