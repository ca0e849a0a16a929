"""The catalog: what is true of the whole journal and not of one segment.

One small SQLite file, changed in short BEGIN IMMEDIATE transactions by any process: the journal's id, the
generations, where each named reader is (retention drops nothing before it), the offset below which everything
was dropped, and what was quarantined. `reserved` is an offset beyond every offset ever given, written before an
offset beyond the old one is given: whatever happens to a segment, offsets from `reserved` on are fresh. `begun` is
the first offset of the newest segment, written before it takes its first event: a segment up to there that is gone
or empty was lost, a later one was only being made.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import apsw

from zarkov.errors import JournalCorrupt, JournalVersion, PositionBeyondEnd
from zarkov.journal.database import Mode, connect, rollback, translate
from zarkov.journal.format import APPLICATION_ID, FORMAT

CATALOG_NAME = "catalog.sqlite"

_SCHEMA = f"""
PRAGMA application_id={APPLICATION_ID};
PRAGMA user_version={FORMAT};
CREATE TABLE meta (key TEXT PRIMARY KEY, value) WITHOUT ROWID;
CREATE TABLE generation (
    ordinal INTEGER PRIMARY KEY, first_offset INTEGER NOT NULL, stop_offset INTEGER,
    started_ms INTEGER NOT NULL, dropped INTEGER NOT NULL DEFAULT 0);
CREATE TABLE reader (name TEXT PRIMARY KEY, next_offset INTEGER NOT NULL, updated_ms INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE quarantine (
    id INTEGER PRIMARY KEY, first_offset INTEGER NOT NULL, count INTEGER NOT NULL, segment TEXT NOT NULL,
    reason TEXT NOT NULL, data BLOB, at_ms INTEGER NOT NULL);
"""


@dataclass(frozen=True, slots=True)
class Generation:
    """A named range of offsets: `event` is the current one, `event.0` the one before, and so on.

    `stop_offset` is the offset after its last event, None for the current one; `dropped` says that its events
    may be removed (and are, as soon as every reader is past them).
    """

    name: str
    ordinal: int
    first_offset: int
    stop_offset: int | None
    started_ms: int
    dropped: bool


@dataclass(frozen=True, slots=True)
class ReaderPosition:
    """A named reader is done with every offset before `next_offset`."""

    name: str
    next_offset: int
    updated_ms: int


@dataclass(frozen=True, slots=True)
class Quarantined:
    """Stored bytes that were not what was written: kept for inspection, never read as events."""

    first_offset: int
    count: int
    segment: str
    reason: str
    data: bytes | None
    at_ms: int


class Catalog:
    """One open catalog. Not thread-safe. Every change is synced when its method returns."""

    def __init__(self, connection: apsw.Connection, path: Path) -> None:
        self._connection = connection
        self._path = path
        self.journal_id = str(self._meta("journal_id", ""))

    @classmethod
    def create(
        cls, directory: Path, journal_id: str, now_ms: int, *, first_offset: int = 0, vfs: str | None = None
    ) -> Catalog:
        """A new catalog, with one empty generation, in place of one that holds nothing."""
        path = directory / CATALOG_NAME
        connection = connect(path, "create", vfs)
        try:
            connection.execute("BEGIN IMMEDIATE")
            connection.execute(_SCHEMA)
            connection.executemany(
                "INSERT INTO meta VALUES (?, ?)",
                [
                    ("journal_id", journal_id),
                    ("first_offset", first_offset),
                    ("reserved", first_offset),
                    ("begun", -1),
                ],
            )
            connection.execute("INSERT INTO generation VALUES (0, ?, NULL, ?, 0)", (first_offset, now_ms))
            connection.execute("COMMIT")
        except apsw.Error as error:
            connection.close()
            raise translate(error, f"the catalog {path}", connection) from error
        return cls(connection, path)

    @classmethod
    def open(cls, directory: Path, mode: Mode = "read", vfs: str | None = None) -> Catalog | None:
        """The catalog of a directory; None when there is none, or its creation was not finished.

        Raises: JournalCorrupt: it cannot be read. JournalVersion: a newer Zarkov wrote it.
        """
        path = directory / CATALOG_NAME
        if not path.exists():
            return None
        try:
            connection = connect(path, mode, vfs)
        except apsw.Error as error:
            raise _unreadable(path, error) from error
        try:
            if not connection.table_exists("main", "meta"):
                connection.close()
                return None
            found = connection.pragma("user_version")
            if found > FORMAT:
                raise JournalVersion(f"{path} has format {found}; this version reads up to {FORMAT}")
            return cls(connection, path)
        except apsw.Error as error:
            connection.close()
            raise _unreadable(path, error) from error
        except BaseException:
            connection.close()
            raise

    @property
    def connection(self) -> apsw.Connection:
        """For checks of the file."""
        return self._connection

    @property
    def first_offset(self) -> int:
        """Everything before this offset was dropped."""
        return int(self._meta("first_offset", 0))

    @property
    def reserved(self) -> int:
        """Beyond every offset ever given."""
        return int(self._meta("reserved", 0))

    @property
    def begun(self) -> int:
        """The first offset of the newest segment that took events, or may have; -1 before the first."""
        return int(self._meta("begun", -1))

    @property
    def drop_before(self) -> int:
        """Everything before this offset may be dropped once the readers are past it."""
        return int(self._meta("drop_before", 0))

    def generations(self) -> list[Generation]:
        """Newest first: `event`, `event.0`, `event.1`, ..."""
        rows = self._query(
            "SELECT ordinal, first_offset, stop_offset, started_ms, dropped FROM generation ORDER BY ordinal DESC"
        )
        return [
            Generation("event" if back == 0 else f"event.{back - 1}", ordinal, first, stop, started, bool(dropped))
            for back, (ordinal, first, stop, started, dropped) in enumerate(rows)
        ]

    def readers(self) -> list[ReaderPosition]:
        """The named readers, by name."""
        return [
            ReaderPosition(*row)
            for row in self._query("SELECT name, next_offset, updated_ms FROM reader ORDER BY name")
        ]

    def quarantined(self) -> list[Quarantined]:
        """What was quarantined, oldest first."""
        columns = "first_offset, count, segment, reason, data, at_ms"
        return [Quarantined(*row) for row in self._query(f"SELECT {columns} FROM quarantine ORDER BY id")]

    def rotate(self, next_offset: int, now_ms: int) -> Generation:
        """End the current generation at `next_offset` and start one there; returns the one that ended."""
        with self._change() as execute:
            execute("UPDATE generation SET stop_offset = ? WHERE stop_offset IS NULL", (next_offset,))
            execute(
                "INSERT INTO generation SELECT max(ordinal) + 1, ?, NULL, ?, 0 FROM generation", (next_offset, now_ms)
            )
        return self.generations()[1]

    def drop_generation(self, ordinal: int) -> None:
        """Allow this ended generation, and all before it, to be removed."""
        with self._change() as execute:
            execute("UPDATE generation SET dropped = 1 WHERE ordinal <= ? AND stop_offset IS NOT NULL", (ordinal,))
            execute(
                "INSERT OR REPLACE INTO meta SELECT 'drop_before', max(stop_offset) FROM generation "
                "WHERE dropped = 1 HAVING max(stop_offset) IS NOT NULL"
            )

    def raise_first_offset(self, offset: int) -> None:
        """Everything before `offset` is dropped from now on; never lowered."""
        with self._change() as execute:
            execute("UPDATE meta SET value = max(value, ?) WHERE key = 'first_offset'", (offset,))

    def reserve(self, offset: int) -> None:
        """Offsets before `offset` may be given from now on; never lowered."""
        with self._change() as execute:
            execute("UPDATE meta SET value = max(value, ?) WHERE key = 'reserved'", (offset,))

    def begin(self, first_offset: int) -> None:
        """The segment that begins here is made, and may take events from now on; never lowered."""
        with self._change() as execute:
            execute("UPDATE meta SET value = max(value, ?) WHERE key = 'begun'", (first_offset,))

    def advance_reader(self, name: str, next_offset: int, now_ms: int) -> None:
        """A named reader is done with every offset before `next_offset`; never moves back.

        Raises: PositionBeyondEnd: no such offset was ever given.
        """
        if next_offset > self.reserved:
            raise PositionBeyondEnd(f"reader {name} claims offset {next_offset:,}, beyond every offset given")
        with self._change() as execute:
            execute(
                "INSERT INTO reader VALUES (?1, ?2, ?3) ON CONFLICT (name) DO UPDATE "
                "SET next_offset = max(next_offset, ?2), updated_ms = ?3",
                (name, next_offset, now_ms),
            )

    def forget_reader(self, name: str) -> None:
        """Retention no longer waits for this reader."""
        with self._change() as execute:
            execute("DELETE FROM reader WHERE name = ?", (name,))

    def quarantine(self, found: Quarantined) -> None:
        """Keep damaged bytes for inspection; once per place and reason."""
        with self._change() as execute:
            execute(
                "INSERT INTO quarantine (first_offset, count, segment, reason, data, at_ms) "
                "SELECT ?1, ?2, ?3, ?4, ?5, ?6 WHERE NOT EXISTS "
                "(SELECT 1 FROM quarantine WHERE first_offset = ?1 AND segment = ?3 AND reason = ?4)",
                (found.first_offset, found.count, found.segment, found.reason, found.data, found.at_ms),
            )

    def close(self) -> None:
        """Close the file; a second call does nothing."""
        self._connection.close()

    @contextmanager
    def _change(self) -> Iterator[Callable[..., Any]]:
        """One synced transaction; yields `execute`."""
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            yield self._connection.execute
            self._connection.execute("COMMIT")
        except apsw.Error as error:
            rollback(self._connection)
            raise translate(error, f"the catalog {self._path}", self._connection) from error

    def _meta(self, key: str, default: Any) -> Any:
        found = self._query("SELECT value FROM meta WHERE key = ?", (key,))
        return found[0][0] if found else default

    def _query(self, sql: str, bindings: tuple[object, ...] = ()) -> list[Any]:
        try:
            return self._connection.execute(sql, bindings).fetchall()
        except apsw.Error as error:
            raise _unreadable(self._path, error) from error


def _unreadable(path: Path, error: apsw.Error) -> JournalCorrupt:
    return JournalCorrupt(f"the catalog {path} cannot be read: {error}")


def identity() -> str:
    """A fresh journal id: 16 hexadecimal digits."""
    return os.urandom(8).hex()
