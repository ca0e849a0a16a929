"""What the journal remembers of each producer: its last `window_max` batches, and the answers they were given.

The rows lie in the active segment and change in the same commit as the events, so that a retry is recognised
whatever happened in between; a new segment begins with a copy of them. A batch has the slot
`sequence % window_max`, so that one write both stores it and forgets the batch that left the window. Beyond
`producers_max` the producer that was idle longest is forgotten.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import apsw

from zarkov.batch import ProducerRecord

SCHEMA = """
CREATE TABLE producer (
    producer BLOB NOT NULL, slot INTEGER NOT NULL, sequence INTEGER NOT NULL, first_offset INTEGER NOT NULL,
    count INTEGER NOT NULL, note BLOB NOT NULL, at INTEGER NOT NULL, PRIMARY KEY (producer, slot)) WITHOUT ROWID;
"""

_ROW = "(?, ?, ?, ?, ?, ?, ?)"
_STORE = (
    "INSERT INTO producer VALUES {rows} ON CONFLICT (producer, slot) DO UPDATE SET "
    "sequence = excluded.sequence, first_offset = excluded.first_offset, count = excluded.count, "
    "note = excluded.note, at = excluded.at WHERE excluded.sequence >= sequence"
)
_COLUMNS = "producer, sequence, first_offset, count, note, at"

#: Rows in one statement: each statement costs a commit under load a wait for the interpreter's lock.
_ROWS_MAX = 64

#: (record, commit number): the larger the number, the later the producer was heard of.
Remembered = tuple[ProducerRecord, int]


def read_records(connection: apsw.Connection) -> Iterator[Remembered]:
    """Every remembered batch, the longest idle first. Raises: apsw.Error."""
    for producer, sequence, first, count, note, at in connection.execute(
        f"SELECT {_COLUMNS} FROM producer ORDER BY at, producer, sequence"
    ):
        yield ProducerRecord(producer, sequence, first, count, note), at


class ProducerWindows:
    """The windows as the active segment holds them. Not thread-safe."""

    def __init__(self, window_max: int, producers_max: int) -> None:
        self._window_max = window_max
        self._producers_max = producers_max
        self._highest: OrderedDict[bytes, int] = OrderedDict()  # the longest idle producer first
        self._commits = 0

    def load(self, remembered: Sequence[Remembered]) -> list[Remembered]:
        """Start from what a segment holds; returns what of it still is inside a window, in the same order."""
        self._highest.clear()
        for record, at in remembered:
            self._heard(record)
            self._commits = max(self._commits, at)
        for producer in list(self._highest)[: max(0, len(self._highest) - self._producers_max)]:
            del self._highest[producer]
        return [each for each in remembered if self._is_inside(each[0])]

    def write(self, execute: Callable[..., Any], records: Sequence[ProducerRecord]) -> None:
        """Store a commit's batches in the open transaction; `committed` must follow once it is synced."""
        self._commits += 1
        store(execute, [(record, self._commits) for record in records], self._window_max)
        for producer in self._leaving(records):
            execute("DELETE FROM producer WHERE producer = ?", (producer,))

    def committed(self, records: Sequence[ProducerRecord]) -> None:
        """The transaction of `write` is synced."""
        for producer in self._leaving(records):
            del self._highest[producer]
        for record in records:
            self._heard(record)

    def is_current(self, record: ProducerRecord) -> bool:
        """Whether a stored row is inside its producer's window (a sequence that jumped leaves rows behind)."""
        return self._is_inside(record)

    def _heard(self, record: ProducerRecord) -> None:
        self._highest[record.producer] = max(record.sequence, self._highest.pop(record.producer, 0))

    def _is_inside(self, record: ProducerRecord) -> bool:
        return record.sequence > self._highest.get(record.producer, 2**63) - self._window_max

    def _leaving(self, records: Sequence[ProducerRecord]) -> list[bytes]:
        heard = {record.producer for record in records}
        excess = len(self._highest) + len(heard - self._highest.keys()) - self._producers_max
        if excess <= 0:
            return []
        return [producer for producer in self._highest if producer not in heard][:excess]


def store(execute: Callable[..., Any], remembered: Sequence[Remembered], window_max: int) -> None:
    """Write the rows of these batches."""
    for start in range(0, len(remembered), _ROWS_MAX):
        part = remembered[start : start + _ROWS_MAX]
        values: list[object] = []
        for record, at in part:
            slot = record.sequence % window_max
            values += (record.producer, slot, record.sequence, record.first_offset, record.count, record.note, at)
        execute(_STORE.format(rows=", ".join([_ROW] * len(part))), values)
