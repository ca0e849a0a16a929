"""A processor for structlog that sends its event dicts as events, shaped as ZarkovHandler's.

    structlog.configure(processors=[structlog.contextvars.merge_contextvars, ZarkovProcessor("tcp://localhost:6546")])

Without `tee` it is the last processor: the event ends there, and no logger prints it.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
import traceback
from collections.abc import MutableMapping
from datetime import UTC, datetime
from typing import Any

from zarkov.client import lifecycle
from zarkov.client.limits import OnFull
from zarkov.client.log_event import Shape
from zarkov.client.log_sender import open_sender
from zarkov.errors import EventRefused, QueueFull
from zarkov.event import parse_rfc3339

_formatter = logging.Formatter()
#: What structlog's ProcessorFormatter carries with it: of no use outside of the process.
_INTERNAL = ("_record", "_from_structlog")


class ZarkovProcessor:
    """Sends each event dict: `event` becomes `extra.message`, an exception `extra.traceback`, all else `context`.

    `timestamp` (a date, RFC 3339, or seconds since 1970), `logger` and `level` are taken from the event dict, where
    earlier processors put them. It is closed at the program's end, which waits for at most `timeout_s`.

    Args: tee: hand the event dict on, unchanged, to the processors behind; the others are ZarkovHandler's.
    Raises: ConfigError; SpoolFailed.
    """

    def __init__(
        self,
        address: str = "tcp://localhost:6546",
        *,
        tee: bool = False,
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
        self._tee = tee
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
        self._here = threading.local()
        lifecycle.watch(self, self._sender)

    def __call__(self, logger: Any, method_name: str, event_dict: MutableMapping[str, Any]) -> Any:
        """Take one event dict, as it is now.

        Raises: structlog.DropEvent, which ends the event, without `tee`; QueueFull: on_full is "raise".
        """
        here = self._here.__dict__
        # A value that logs while it is made into text would come back without end.
        if "busy" not in here and not self._sender.is_own_thread():
            here["busy"] = True
            try:
                self._sender.put(self._event(logger, method_name, event_dict))
            except (QueueFull, RecursionError):
                raise
            except Exception:  # noqa: BLE001  As logging does: told, but never raised into the program.
                if logging.raiseExceptions:
                    traceback.print_exc()
            finally:
                del here["busy"]
        if self._tee:
            return event_dict
        from structlog import DropEvent

        raise DropEvent

    @property
    def dropped(self) -> int:
        """Events that are not stored: the queue was full, or they were not acknowledged before the end."""
        return self._sender.dropped

    def flush(self) -> bool:
        """Wait until every event taken so far is acknowledged, at most `timeout_s`; False: not all are."""
        return self._sender.flush()

    def close(self) -> None:
        """Flush and end; what is not acknowledged in time is given up."""
        self._sender.close()

    def _event(self, logger: Any, method_name: str, event_dict: MutableMapping[str, Any]) -> bytes:
        fields = {str(key): value for key, value in event_dict.items() if key not in _INTERNAL}
        extra: dict[str, Any] = {"message": fields.pop("event", None)}
        if found := _traceback(fields.pop("exc_info", None), fields.pop("exception", None)):
            extra["traceback"] = found
        if stack := fields.pop("stack", None):
            extra["stack"] = stack
        name = fields.pop("logger", None) or getattr(logger, "name", None)
        level = str(fields.pop("level", method_name)).upper()
        at = _moment(fields)
        thread = os.getpid(), threading.current_thread().name
        return self._shape.of_fields(at, name if isinstance(name, str) else None, level, thread, fields, extra)


def _moment(fields: dict[str, Any]) -> datetime:
    """The event's own timestamp, taken out of its fields where it is one; else now."""
    stamp = fields.get("timestamp")
    try:
        if isinstance(stamp, str):
            found = parse_rfc3339(stamp)
        elif isinstance(stamp, int | float):
            found = datetime.fromtimestamp(stamp, UTC)
        elif isinstance(stamp, datetime):
            found = stamp
        else:
            return datetime.now(UTC)
    except (EventRefused, ValueError, OverflowError, OSError):
        return datetime.now(UTC)
    del fields["timestamp"]
    return found


def _traceback(exc_info: Any, rendered: Any) -> Any:
    if rendered:
        return rendered
    if isinstance(exc_info, BaseException):
        exc_info = (type(exc_info), exc_info, exc_info.__traceback__)
    elif exc_info and not isinstance(exc_info, tuple):
        exc_info = sys.exc_info()
    return _formatter.formatException(exc_info) if exc_info and exc_info[0] is not None else None
