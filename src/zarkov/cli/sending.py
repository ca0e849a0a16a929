"""What `zcmd send` was given as events, and what became of them. Pure, but for the reading of lines.

An event of the command line is its TYPE and KEY=VALUE pairs, which are its context. Of a file or standard input each
line is one JSON object, as for zsend.py. Lines are sent as they come: what can be read at one go is one batch.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol

from zarkov.cli.conditions import moment, value_of
from zarkov.client.stepwise import Answered
from zarkov.client.zsend import LINE_BYTES_MAX, to_bson
from zarkov.codec import encode, from_json
from zarkov.errors import ConfigError, EventRefused

READ_BYTES_MAX = 1024 * 1024
_QUOTING = """Quote it for the shell: --extra '{"by": "ada"}', or --extra '"text"'."""


def event_of(kind: str, pairs: Sequence[str], extra: str | None, time: str | None, now: datetime) -> bytes:
    """The event of the command line as BSON.

    Args:   pairs: KEY=VALUE, a value read as JSON where it is JSON; extra: JSON; now: naive UTC.
    Raises: ConfigError: a pair is none, or `extra` no JSON; EventRefused: BSON cannot hold it; FilterInvalid: the
    time is none.
    """
    document: dict[str, Any] = {
        "timestamp": now if time is None else moment(time, now),
        "type": kind,
        "context": dict(map(_pair, pairs)),
    }
    if extra is not None:
        document["extra"] = _extra(extra)
    return encode(document)


def _extra(text: str) -> Any:
    try:
        found = from_json(f'{{"extra": {text}}}')
    except EventRefused:
        raise ConfigError(f"--extra {text[:40]!r} is not JSON", hint=_QUOTING) from None
    if len(found) > 1:
        raise ConfigError(f"--extra {text[:40]!r} is more than one JSON value", hint=_QUOTING)
    return found["extra"]


def _pair(text: str) -> tuple[str, Any]:
    key, equals, value = text.partition("=")
    if not key or not equals:
        hint = "Example: zcmd send login user=ada attempts=3; the first word is the event's type."
        raise ConfigError(f"{text!r} is not KEY=VALUE", hint=hint)
    return key, value_of(value)


class Source(Protocol):
    """Bytes as they come: `read1` gives what is there, and waits only when nothing is; b"" at the end."""

    def read1(self, size: int, /) -> bytes: ...


def opened(path: str) -> AbstractContextManager[Source]:
    """A file of events, gzip when its name ends with .gz. Raises: OSError."""
    return gzip.open(path) if path.endswith(".gz") else open(path, "rb")


@dataclass(frozen=True, slots=True)
class Refusal:
    """An event that is not stored, and why; `index` counts from 0 what was sent, `line` from 1 what was read."""

    index: int | None
    line: int | None
    code: str
    reason: str


@dataclass(slots=True)
class Outcome:
    """What became of the events so far. `offsets`: journal -> the runs (first, last) in which they are stored."""

    stored: int = 0
    refused: list[Refusal] = field(default_factory=list)
    duplicates: list[int] = field(default_factory=list)
    offsets: dict[str, list[tuple[int, int]]] = field(default_factory=dict)

    def note(self, answered: Answered, index: int, lines: Sequence[int | None]) -> list[Refusal]:
        """Take an answer in, of a batch that began at this index of all events; the refusals that are new."""
        answer, start = answered.answer, index + answered.start
        self.stored += answer.count
        if answer.count:
            runs, last = self.offsets.setdefault(answer.journal, []), answer.first + answer.count - 1
            if runs and runs[-1][1] + 1 == answer.first:
                runs[-1] = (runs[-1][0], last)
            else:
                runs.append((answer.first, last))
        self.duplicates += [start + each for each in answer.duplicates]
        new = [
            Refusal(start + one.index, lines[answered.start + one.index], one.code, one.reason)
            for one in answer.refused
            if 0 <= one.index < answered.count
        ]
        self.refused += new
        return new


@dataclass(slots=True)
class Lines:
    """The lines of one read: the events in them, the numbers of their lines, and the lines that hold none."""

    events: list[bytes] = field(default_factory=list)
    numbers: list[int | None] = field(default_factory=list)
    refused: list[Refusal] = field(default_factory=list)

    def take(self, number: int, line: bytes) -> None:
        """One line; an empty one is passed over."""
        if not line.strip():
            return
        try:
            self.events.append(to_bson(line))
            self.numbers.append(number)
        except EventRefused as refused:
            self.refused.append(Refusal(None, number, refused.code, str(refused)))


def lines_of(source: Source) -> Iterator[Lines]:
    """The lines of each read, as soon as they are there; lines are counted from 1.

    Where a gzip file is damaged or cut off, the line at which it ends is refused.
    """
    number, rest, skipping = 0, b"", False
    while True:
        try:
            data = source.read1(READ_BYTES_MAX)
        except (gzip.BadGzipFile, EOFError, zlib.error) as fault:
            reason = f"the file cannot be unpacked from here on: {fault}"
            yield Lines(refused=[Refusal(None, number + 1, "json_invalid", reason)])
            return
        if not data:
            break
        *whole, rest = (rest + data).split(b"\n")
        found = Lines()
        for line in whole:
            number += 1
            if not skipping:
                found.take(number, line)
            skipping = False
        if len(rest) > LINE_BYTES_MAX:
            if not skipping:
                found.take(number + 1, rest)
            rest, skipping = b"", True
        yield found
    if rest and not skipping:
        found = Lines()
        found.take(number + 1, rest)
        yield found
