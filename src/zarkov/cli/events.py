"""How events look when a command prints them: JSON lines, or one aligned line each."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from zarkov.codec import to_json

_FIELDS_SHOWN = ("_id", "timestamp", "type", "context", "extra", "aggregates", "jobs")
_TYPE_WIDTH = 14


def print_lines(documents: Iterable[Mapping[str, Any]]) -> int:
    """Every event as one line of JSON; returns how many."""
    count = 0
    for document in documents:
        sys.stdout.write(to_json(dict(document)) + "\n")
        count += 1
    return count


def print_events(documents: Iterable[Mapping[str, Any]]) -> int:
    """Every event as one line for people: time, type, context, extra; returns how many."""
    colour = sys.stdout.isatty()
    count = 0
    for document in documents:
        sys.stdout.write(line(document, colour=colour) + "\n")
        count += 1
    return count


def line(document: Mapping[str, Any], *, colour: bool) -> str:
    """One event as one line; control characters in it are escaped, so it cannot steer the terminal."""
    stamp = document.get("timestamp")
    when = stamp.isoformat(" ", "milliseconds") if isinstance(stamp, datetime) else str(stamp)
    context = document.get("context")
    rest = {key: value for key, value in document.items() if key not in _FIELDS_SHOWN}
    parts = [
        _paint(when, "2", colour),
        _paint(clean(str(document.get("type"))).ljust(_TYPE_WIDTH), "1;36", colour),
        _pairs(context, colour) if isinstance(context, Mapping) else _value(context),
    ]
    if document.get("extra") is not None:
        extra = document["extra"]
        parts.append(_paint("extra", "2", colour) + "=" + _value(extra))
    if rest:
        parts.append(_pairs(rest, colour))
    return "  ".join(part for part in parts if part)


def _pairs(values: Mapping[str, Any], colour: bool) -> str:
    return " ".join(f"{_paint(clean(key), '2', colour)}={_value(value)}" for key, value in values.items())


def _value(value: object) -> str:
    if isinstance(value, str) and value and not any(c in value for c in ' "=\n\t'):
        return clean(value)
    text = to_json({"": value})
    return clean(text[len('{"": ') : -1])


def clean(text: str) -> str:
    """Text that cannot steer the terminal: what is not printable is escaped."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def _paint(text: str, code: str, colour: bool) -> str:
    return f"\033[{code}m{text}\033[0m" if colour else text
