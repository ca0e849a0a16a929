"""A log record as an event. Pure: what is in the record at the call is what is stored, however it changes later.

    type        as the handler was told: "log"
    timestamp   when the record was made
    context     logger, level, host, process, thread, and the record's extra fields
    extra       message, template (where there were arguments), path, line, function, traceback, stack

Encoding at the call is what captures mutable values; a copy of them to be encoded elsewhere would cost as much as
BSON's encoder, which is in C. A value that BSON has no room for becomes its `repr`.
"""

from __future__ import annotations

import logging
import os
import socket
import threading
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import bson

from zarkov.errors import ConfigError
from zarkov.event import EVENT_BYTES_MAX, TYPE_BYTES_MAX, Document

#: Of a `repr`, and of each text in an event that would be too large.
REPR_CHARS_MAX, TEXT_CHARS_MAX = 1_000, 100_000
#: Levels of an extra field that BSON does not take as it is; below, values become their `repr`.
DEPTH_MAX = 8
#: What every record has; the other attributes are the program's extra fields.
STANDARD = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "taskName"}

_INT_MIN, _INT_MAX = -(2**63), 2**63 - 1
_formatter = logging.Formatter()


class Shape:
    """How the events of one handler look.

    Args:   type: of every event; host: `context.host`, "" leaves it out, None is this machine's name.
    Raises: ConfigError: no event can have this type.
    """

    def __init__(self, type: str, host: str | None) -> None:
        if not 0 < len(type.encode("utf-8", "surrogatepass")) <= TYPE_BYTES_MAX:
            raise ConfigError(f"type={type[:40]!r} is none", hint=f"A type has 1 to {TYPE_BYTES_MAX:,} bytes.")
        self._type = type
        name = socket.gethostname() if host is None else host
        self._host = {"host": name} if name else {}
        self._own = frozenset(("logger", "level", "process", "thread", *self._host))

    def of_record(self, record: logging.LogRecord, formatter: logging.Formatter | None = None) -> bytes:
        """The record as BSON; `formatter`, where there is one, makes the message."""
        fields = {key: value for key, value in record.__dict__.items() if key not in STANDARD}
        extra: Document = {"message": record.getMessage() if formatter is None else formatter.format(record)}
        if record.args:
            extra["template"] = record.msg
        extra |= {"path": record.pathname, "line": record.lineno, "function": record.funcName}
        if record.exc_info and formatter is None and not record.exc_text:
            record.exc_text = _formatter.formatException(record.exc_info)  # kept for other handlers, as theirs do
        if record.exc_text:
            extra["traceback"] = record.exc_text
        if record.stack_info:
            extra["stack"] = record.stack_info
        context = self._context(record.name, record.levelname, record.process, record.threadName, fields)
        return self.encoded(datetime.fromtimestamp(record.created, UTC), context, extra)

    def of_fields(
        self, at: datetime, logger: str | None, level: str, thread: tuple[int, str], fields: Document, extra: Document
    ) -> bytes:
        """An event that did not come from a record; thread: process id and thread's name."""
        return self.encoded(at, self._context(logger, level, *thread, fields), extra)

    def of_drops(self, count: int) -> bytes:
        """What stands in the log in the place of this many records that were dropped."""
        fields, extra = {"dropped": count}, {"message": f"{count:,} log records dropped"}
        thread = os.getpid(), threading.current_thread().name
        return self.of_fields(datetime.now(UTC), "zarkov.client.logging", "WARNING", thread, fields, extra)

    def encoded(self, at: datetime, context: Document, extra: Document) -> bytes:
        """The event as BSON, whatever its values are."""
        event = {"timestamp": at, "type": self._type, "context": context, "extra": extra}
        try:
            data = bson.encode(event)
        except Exception:  # noqa: BLE001  A value may raise anything while it is asked for its content.
            data = bson.encode(event | {"context": plain(context), "extra": plain(extra)})
        if len(data) <= EVENT_BYTES_MAX:
            return data
        own = {key: value for key, value in context.items() if key in self._own}
        cut = {key: value[:TEXT_CHARS_MAX] for key, value in plain(extra).items() if isinstance(value, str)}
        return bson.encode(event | {"context": plain(own), "extra": cut | {"cut": True}})

    def _context(
        self, logger: str | None, level: str, process: int | None, thread: str | None, fields: Document
    ) -> Document:
        context = {"logger": logger, "level": level, **self._host, "process": process, "thread": thread}
        if fields:
            if not self._own.isdisjoint(fields):
                fields = {f"{key}_" if key in self._own else key: value for key, value in fields.items()}
            context |= fields
        return context


def plain(value: Any, depth: int = DEPTH_MAX) -> Any:
    """The value with everything in it that BSON does not take replaced: by text, or by its `repr`."""
    kind = type(value)
    if kind is str:
        return value if value.isascii() else value.encode("utf-8", "backslashreplace").decode()
    if kind is int:
        return value if _INT_MIN <= value <= _INT_MAX else _repr(value)
    try:
        if depth and isinstance(value, Mapping):
            return {_key(key): plain(inner, depth - 1) for key, inner in value.items()}
        if depth and isinstance(value, list | tuple | set | frozenset):
            return [plain(inner, depth - 1) for inner in value]
        bson.encode({"": value})
    except Exception:  # noqa: BLE001  The program's own classes may raise anything here.
        return _repr(value)
    return value if not isinstance(value, Mapping | list | tuple) else _repr(value)


def _key(key: Any) -> str:
    text = key if type(key) is str else _repr(key)
    return str(plain(text)).replace("\0", "\\0")


def _repr(value: Any) -> str:
    try:
        text = repr(value)
    except Exception as error:  # noqa: BLE001  As above.
        text = f"<{type(value).__name__}, whose repr failed: {type(error).__name__}>"
    return str(plain(text[:REPR_CHARS_MAX]))
