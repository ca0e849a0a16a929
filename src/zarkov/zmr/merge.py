"""Many sorted runs as one, with the values of each key together. Pure.

Theory of operation. Every run has one block in memory. The smallest of the blocks' last keys (of runs that go on
behind their block) bounds a *window*: whatever lies at or below it is there, in all runs; it is taken and grouped at
once, by dicts, which is several times faster than a heap of single keys. Each window uses up a block at least.

Memory: a block of each run and a window, thus about twice the blocks. `reckoned` says what that is; runs that would
take more than the budget are first merged in groups of neighbours, by the caller.

The values of a key come in the order of the runs, and of keys that are one the first run's is shown.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from operator import itemgetter
from typing import Any, NamedTuple

from zarkov.zmr.forms import Groups
from zarkov.zmr.runs import Columns, Run
from zarkov.zmr.values import shown_stored

_key = itemgetter(0)

#: Bytes of memory for one of BSON, of a block that is decoded, and of a window beside it.
MEMORY_PER_BYTE = 12


class Window(NamedTuple):
    """All values of some keys, greater than those of the windows before; neither dict is in order."""

    groups: Groups
    shown: dict[bytes, Any]


def reckoned(run: Run) -> int:
    """About how many bytes of memory a run takes while it is merged."""
    return MEMORY_PER_BYTE * run.largest


def neighbours(runs: Sequence[Run], memory_bytes: int) -> list[list[Run]]:
    """The runs in groups, in order, of which each can be merged within the memory; at least two to a group."""
    groups: list[list[Run]] = []
    taken = 0
    for run in runs:
        if groups and (taken + reckoned(run) <= memory_bytes or len(groups[-1]) < 2):
            groups[-1].append(run)
            taken += reckoned(run)
        else:
            groups.append([run])
            taken = reckoned(run)
    return groups


def windows(runs: Sequence[Run]) -> Iterator[Window]:
    """The rows of runs of pairs by key, window after window, in the order of keys. Raises: ShuffleCorrupt."""
    for parts in _bounded(runs):
        groups: Groups = {}
        shown: dict[bytes, Any] = {}
        for rows in parts:
            _gather(rows, groups, shown)
        yield Window(groups, shown)


def merged(runs: Sequence[Run]) -> Iterator[list[tuple[bytes, bytes]]]:
    """The (row key, document) of runs of documents in the order of keys, some at a time. Raises: ShuffleCorrupt."""
    for parts in _bounded(runs):
        rows = [row for part in parts for row in zip(part.keys, part.values, strict=True)]
        if len(parts) > 1:
            rows.sort(key=_key)
        yield rows


def _bounded(runs: Sequence[Run]) -> Iterator[list[Columns]]:
    """The rows of each window: a part of each run that has any."""
    readers = [_Reader(run) for run in runs if run.start < run.stop]
    while readers:
        bound = min((reader.last for reader in readers if reader.goes_on), default=None)
        parts = [reader.take(bound) for reader in readers]
        readers = [reader for reader in readers if reader.has_rows]
        yield [part for part in parts if part.keys]


def _gather(rows: Columns, groups: Groups, shown: dict[bytes, Any]) -> None:
    for key, name, value in zip(rows.keys, rows.shown, rows.values, strict=True):
        found = groups.get(key)
        if found is None:
            groups[key] = [value]
            kind = type(name)
            shown[key] = shown_stored(name) if kind is list or kind is dict else name
        else:
            found.append(value)


class _Reader:
    """A run, with what is left of its block."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._rows, self._next = run.block(run.start)
        self._at = 0

    @property
    def goes_on(self) -> bool:
        """Whether there are blocks after this one."""
        return self._next < self._run.stop

    @property
    def has_rows(self) -> bool:
        return self._at < len(self._rows.keys)

    @property
    def last(self) -> bytes:
        """The last key of the block."""
        return self._rows.keys[-1]

    def take(self, bound: bytes | None) -> Columns:
        """The rows of the block up to this key, included; all of them without one."""
        rows, start, count = self._rows, self._at, len(self._rows.keys)
        stop = count if bound is None else bisect_right(rows.keys, bound, start)
        self._at = stop
        if stop == count and self.goes_on:
            (self._rows, self._next), self._at = self._run.block(self._next), 0
        return rows if stop - start == count else Columns(*[column[start:stop] for column in rows])
