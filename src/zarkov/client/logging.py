"""ZarkovHandler: the records of Python's `logging` as events.

    logging.getLogger().addHandler(ZarkovHandler("tcp://localhost:6546"))

`emit` makes the event in the calling thread (log_event) and puts it into a queue (log_sender); everything that could
wait is another thread's. What docs/clients.md shows as configuration is made of plain values.
"""

from __future__ import annotations

import logging
import sys
import threading
import time

from zarkov.client import lifecycle
from zarkov.client.limits import OnFull
from zarkov.client.log_event import Shape
from zarkov.client.log_sender import open_sender
from zarkov.errors import QueueFull

#: A close this soon after a flush that failed does not wait again: `logging.shutdown` calls one after the other.
_JUST_NOW_S = 1.0


class ZarkovHandler(logging.Handler):
    """Sends each record as one event; never waits for the network, unless `on_full` says so.

    Records of Zarkov's own loggers, and those made while another is taken in the same thread, are not sent: they
    would come back without end; the former go to standard error where no other handler gets them. The handler keeps
    working in forked children, each with an empty queue of its own. It is flushed and closed at the program's end
    (`logging.shutdown`), which waits for at most `timeout_s`.

    Args:
        address: the server's `ack_bind_address` (6546), or without `ack` its `bson_bind_address` (6543); with `ack`
            also several, with commas between them.
        type: of every event; host: `context.host`, None is this machine's name, "" leaves it out.
        ack: keep every event until the server has synced it; False: fire and forget.
        on_full: when the queue is full: "drop" and count, "block" for up to `timeout_s` and then drop, or "raise"
            QueueFull from the logging call.
        queue_events_max, queue_bytes_max: what may wait in the queue.
        timeout_s: the longest wait of `flush` and `close`.
        client_key_file, server_public_key: for a server with keys; the second is a key, or the file that holds it.
        spool: with `ack`, a file of this handler alone, which keeps what is not acknowledged over the program's end
            (ZarkovClient's `spool`); a forked child has none.
    Raises: ConfigError; SpoolFailed.
    """

    def __init__(
        self,
        address: str = "tcp://localhost:6546",
        level: int | str = logging.NOTSET,
        *,
        type: str = "log",
        host: str | None = None,
        ack: bool = True,
        on_full: OnFull = "drop",
        queue_events_max: int = 100_000,
        queue_bytes_max: int = 64 * 1024 * 1024,
        timeout_s: float = 5.0,
        client_key_file: str | None = None,
        server_public_key: str | None = None,
        spool: str | None = None,
    ) -> None:
        self._shape = Shape(type, host)
        self._sender = open_sender(
            address,
            ack=ack,
            queue_events_max=queue_events_max,
            queue_bytes_max=queue_bytes_max,
            on_full=on_full,
            timeout_s=timeout_s,
            client_key_file=client_key_file,
            server_public_key=server_public_key,
            spool=spool,
            drop_note=self._shape.of_drops,
        )
        super().__init__(level)
        self._here = threading.local()
        self._flush_failed_at = -_JUST_NOW_S
        # Not closed with the clients at exit, but by logging.shutdown: it comes last, after what other exits log.
        lifecycle.watch(self, self._sender, at_exit=False)

    @property
    def dropped(self) -> int:
        """Records that are not stored: the queue was full, or they were not acknowledged before the end."""
        return self._sender.dropped

    @property
    def pending(self) -> int:
        """Records taken, and neither acknowledged nor refused yet."""
        return self._sender.pending

    def setFormatter(self, fmt: logging.Formatter | None) -> None:  # noqa: N802  logging's name
        """With a formatter, `extra.message` is what it makes of the record.

        basicConfig's own, which only repeats logger and level before the message, counts as none.
        """
        super().setFormatter(None if fmt is not None and fmt._fmt == logging.BASIC_FORMAT else fmt)

    def handle(self, record: logging.LogRecord) -> bool:
        """As every handler's, but without its lock: one thread's record does not wait for another's."""
        found = self.filter(record)
        if sys.version_info >= (3, 12) and isinstance(found, logging.LogRecord):
            record = found
        if found:
            self.emit(record)
        return bool(found)

    def emit(self, record: logging.LogRecord) -> None:
        """Take one record, as it is now. Raises: QueueFull: on_full is "raise"."""
        if record.name.partition(".")[0] == "zarkov":
            last = logging.lastResort
            if last is not None and record.levelno >= last.level and self._is_alone(record.name):
                # As logging does where a program has no handler: that records are lost must be told somewhere.
                last.handle(record)
            return
        here = self._here.__dict__
        if "busy" in here or self._sender.is_own_thread():
            return
        here["busy"] = True
        try:
            self._sender.put(self._shape.of_record(record, self.formatter))
        except (QueueFull, RecursionError):
            raise
        except Exception:  # noqa: BLE001  A handler's faults are told by logging's own rules (raiseExceptions).
            self.handleError(record)
        finally:
            del here["busy"]

    def _is_alone(self, name: str) -> bool:
        """Whether this logger's records come to handlers of this kind only, and to this one first."""
        found: list[logging.Handler] = []
        logger: logging.Logger | None = logging.getLogger(name)
        while logger is not None:
            found += logger.handlers
            logger = logger.parent if logger.propagate else None
        return found[:1] == [self] and all(isinstance(each, ZarkovHandler) for each in found)

    def flush(self) -> None:
        """Wait until every record taken so far is acknowledged, at most `timeout_s`; the log tells of what is not."""
        if not self._sender.flush():
            self._flush_failed_at = time.monotonic()

    def close(self) -> None:
        """Flush and end; what is not acknowledged in time is given up."""
        waited = time.monotonic() < self._flush_failed_at + _JUST_NOW_S
        self._sender.close(0.0 if waited else None)
        super().close()
