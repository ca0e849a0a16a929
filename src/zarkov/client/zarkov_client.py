"""ZarkovClient: what a program uses to send events."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Protocol, Self

from zarkov.client import lifecycle
from zarkov.client.channel import AckLink
from zarkov.client.counted import Counted, check_arguments
from zarkov.client.failover import addresses_of
from zarkov.client.keys import Keys
from zarkov.client.limits import Limits, OnFull
from zarkov.client.push import PushLink
from zarkov.client.reporter import OnError, Reporter
from zarkov.client.stats import ClientStats
from zarkov.codec import encode
from zarkov.errors import ConfigError, EventRefused
from zarkov.event import EVENT_BYTES_MAX


class Link(Protocol):
    """A way to the server: PUSH, or the acknowledging channel."""

    @property
    def stats(self) -> ClientStats: ...
    @property
    def position(self) -> dict[str, int]: ...
    def send(self, event: bytes) -> None: ...
    def send_many(self, events: Iterable[bytes]) -> None: ...
    def flush(self, timeout_s: float | None) -> None: ...
    def sync(self, timeout_s: float | None) -> None: ...
    def close(self, timeout_s: float | None) -> None: ...
    def forked(self) -> None: ...


class ZarkovClient(Counted):
    """Sends events to an event server. Thread safe; a context manager; survives a fork.

        ZarkovClient("tcp://localhost:6543").event("nop", {"user": "ada"})               # fire and forget
        with ZarkovClient("tcp://localhost:6546", ack=True) as client:                   # acknowledged
            client.event("signup", {"user": "ada"}, {"plan": "free"})

        ZarkovClient("tcp://a:6546,tcp://b:6546", ack=True, spool="/var/spool/signup")   # whatever is away

    Args:
        addr: the server's `bson_bind_address` (6543), or with `ack` its `ack_bind_address` (6546). With `ack` also
            several servers, as a list or with commas between them: the first is used, and the next one, round the
            list, when the one in use does not answer for `failover_s`. Events then get their `_id` here: a batch
            that was in flight is sent again to the next server, and a store keyed by `_id` has each event once.
        ack: keep every event until the server has synced it, and send it again as needed; stored once.
        producer: with `ack`, 1 to 64 bytes that name this sender over restarts, for one client at a time;
            None: random. A forked child appends a suffix of its own, as does a client of several servers, or with
            a spool, which keeps it.
        batch_events_max, batch_bytes_max, linger_s: with `ack`, a batch is sent when one is reached, and at once
            when no other is in flight.
        queue_events_max, queue_bytes_max: what may wait in this process (bytes: only with `ack`).
        on_full: what `event` does then: "block" for up to `timeout_s` (then QueueFull), "drop" and count, or "raise".
        on_error: called with a Refusal for each event that is not stored, and with a ZarkovError for an answer that
            cannot be read, from whichever thread read the answer. None: one warning in the log for each answer.
        timeout_s: the longest wait of a blocked `event`, of `flush`, of `sync` and of `close`.
        spool: with `ack`, a file of this client alone, made if it is not there. Every event is in it, synced, at
            most `linger_s` after it was taken and before it is sent, and leaves it once it is acknowledged or
            refused; what is there when a client opens it is sent first. A forked child has none. Then
            `queue_bytes_max` bounds what is in flight, and `queue_events_max` nothing.
        spool_bytes_max: bytes of events the spool may hold; `on_full` says what `event` does then.
        failover_s: how long a server may owe an answer before it is the next one's turn; with a spool also how long
            `close` waits for a server that is not there.
        keys: for a server with keys (`Keys.load`): proves who this client is and encrypts what it sends.
    Raises: ConfigError; SpoolFailed: the spool is another client's, damaged, or cannot be written.
    """

    def __init__(
        self,
        addr: str | Sequence[str],
        *,
        ack: bool = False,
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
        spool: str | os.PathLike[str] | None = None,
        spool_bytes_max: int = 1024 * 1024 * 1024,
        failover_s: float = 5.0,
    ) -> None:
        limits = Limits(
            batch_events_max,
            batch_bytes_max,
            linger_s,
            queue_events_max,
            queue_bytes_max,
            spool_bytes_max=spool_bytes_max,
            failover_s=failover_s,
        )
        check_arguments(on_full, producer)
        self._link: Link
        if ack:
            reporter = Reporter(on_error)
            self._link = AckLink(
                addr,
                producer=producer,
                limits=limits,
                on_full=on_full,
                timeout_s=timeout_s,
                reporter=reporter,
                keys=keys,
                spool=spool,
            )
        else:
            if spool is not None or len(addresses := addresses_of(addr)) > 1:
                raise ConfigError(
                    "a spool and several addresses need the acknowledging channel",
                    hint="Pass ack=True, and each server's `ack_bind_address` (6546).",
                )
            self._link = PushLink(addresses[0], limits=limits, on_full=on_full, timeout_s=timeout_s, keys=keys)
        lifecycle.watch(self, self._link)

    def event(self, type: str, context: dict[str, Any] | None = None, extra: Any = None) -> None:
        """Send one event, stamped with the time of this call.

        Args:   type: what happened; context: who and where; extra: anything BSON holds.
        Raises: EventRefused: BSON cannot hold it, or it is too large; QueueFull; ClientClosed.
        Durability: with `ack`, once `flush` or `close` returned, with a spool once `sync` did; else unknown.
        """
        self._send({"timestamp": datetime.now(UTC), "type": type, "context": context or {}, "extra": extra})

    def event_noval(self, type: str, context: dict[str, Any] | None = None, extra: Any = None) -> None:
        """As `event`, but the server stores it without validation."""
        self._command("event_noval", timestamp=datetime.now(UTC), type=type, context=context or {}, extra=extra)

    def _command(self, cmd: str, **kw: Any) -> None:
        """Send `{"$command": cmd, ...}`, the fields exactly as given."""
        self._send({"$command": cmd, **kw})

    def send_encoded(self, events: Iterable[bytes]) -> None:
        """Send events that are BSON already, each element one whole document; nothing is added.

        Raises: QueueFull, ClientClosed: the events before that were taken; with `ack`, EventRefused: an element is
        not as long as its length prefix says, or too large, and none was taken.
        """
        self._link.send_many(events)

    def flush(self, timeout: float | None = None) -> None:
        """Wait until every event sent so far is acknowledged, at most `timeout` seconds (None: `timeout_s`).

        Over PUSH it returns at once: nothing is ever acknowledged there.
        Raises: NotAcknowledged: some are not acknowledged in time (they stay queued), or were refused since the last
        flush (`retryable` is False then).
        """
        self._link.flush(timeout)

    def sync(self, timeout: float | None = None) -> None:
        """Wait until every event sent so far survives a crash of this program: in the spool, or acknowledged.

        Without a spool it is `flush`.
        Raises: SpoolFailed: the spool cannot be written; the events wait in memory. Without one, as `flush`.
        """
        self._link.sync(timeout)

    def close(self, timeout: float | None = None) -> None:
        """Flush and end; what is still not acknowledged is reported to `on_error` and given up.

        With a spool nothing is given up: it stays there for the next client that opens it, and the log says so.

        Over PUSH it waits, as long, for the queue to be on the network. Closing twice does nothing.
        Raises: NotAcknowledged, as `flush`.
        """
        try:
            self._link.close(timeout)
        finally:
            lifecycle.closed(self._link)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self.close()
        else:
            lifecycle.close_logging_failure(self._link)

    def _send(self, document: dict[str, Any]) -> None:
        data = encode(document)
        if len(data) > EVENT_BYTES_MAX:
            raise EventRefused("too_large", f"the event has {len(data):,} bytes; {EVENT_BYTES_MAX:,} is the limit")
        self._link.send(data)
