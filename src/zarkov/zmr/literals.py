"""Plain values as Python text: what a shipped function may find in the variables around it."""

from __future__ import annotations

import datetime
import math
import re
from collections.abc import Callable, Iterable
from typing import Any

from bson import Decimal128, Int64, ObjectId

#: Modules whose names the text of a literal may use.
LITERAL_MODULES = {"datetime": "import datetime", "re": "import re", "bson": "import bson"}

#: Nesting of a value, at most.
DEPTH_MAX = 50


class NotPlain(Exception):
    """A value that is no literal; the message says which part of it is not."""


def literal(value: object, depth: int = DEPTH_MAX) -> str:
    """An expression that makes an equal value of the same type; it may use LITERAL_MODULES.

    Numbers, text, bytes, None, dates and times, ObjectIds, compiled patterns, and lists, tuples, dicts and sets of
    them. Raises: NotPlain.
    """
    write = _WRITERS.get(type(value))
    if write is None:
        raise NotPlain(f"a {type(value).__name__} is no plain value")
    if depth <= 0:
        raise NotPlain(f"it is nested deeper than {DEPTH_MAX} levels")
    return write(value, depth - 1)


def _float(value: float, depth: int) -> str:
    return repr(value) if math.isfinite(value) else f"float({str(value)!r})"


def _items(values: Iterable[object], depth: int) -> str:
    return ", ".join(literal(value, depth) for value in values)


def _tuple(value: tuple[Any, ...], depth: int) -> str:
    return f"({_items(value, depth)}{',' if len(value) == 1 else ''})"


def _dict(value: dict[Any, Any], depth: int) -> str:
    return "{" + ", ".join(f"{literal(key, depth)}: {literal(item, depth)}" for key, item in value.items()) + "}"


def _set(value: set[Any], depth: int) -> str:
    return f"set([{_items(sorted(value, key=repr), depth)}])"


def _zone(value: datetime.timezone, depth: int) -> str:
    return repr(value)


def _moment(value: datetime.datetime, depth: int) -> str:
    if value.tzinfo is not None and type(value.tzinfo) is not datetime.timezone:
        raise NotPlain(f"the time zone {value.tzinfo!r} is no plain value")
    return repr(value)


def _pattern(value: re.Pattern[Any], depth: int) -> str:
    return f"re.compile({value.pattern!r}, {value.flags & ~(re.UNICODE if isinstance(value.pattern, str) else 0)})"


def _plain(value: object, depth: int) -> str:
    return repr(value)


_WRITERS: dict[type, Callable[[Any, int], str]] = {
    type(None): _plain,
    bool: _plain,
    int: _plain,
    float: _float,
    complex: _plain,
    str: _plain,
    bytes: _plain,
    type(...): lambda value, depth: "...",
    list: lambda value, depth: f"[{_items(value, depth)}]",
    tuple: _tuple,
    dict: _dict,
    set: _set,
    frozenset: lambda value, depth: f"frozenset([{_items(sorted(value, key=repr), depth)}])",
    range: _plain,
    datetime.datetime: _moment,
    datetime.date: _plain,
    datetime.timedelta: _plain,
    datetime.timezone: _zone,
    re.Pattern: _pattern,
    ObjectId: lambda value, depth: f"bson.ObjectId({str(value)!r})",
    Int64: lambda value, depth: f"bson.Int64({int(value)})",
    Decimal128: lambda value, depth: f"bson.Decimal128({str(value)!r})",
}
