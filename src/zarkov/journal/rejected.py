"""Rejected events: kept with the reason, up to a bound.

One SQLite file beside the journal (WAL, synchronous=FULL). The event server's writer thread adds; the commands read,
and delete, from other processes. Every change is one transaction that also keeps the totals right (triggers), so a
kill at any point leaves what the last commit left. When `rejected_count_max` or `rejected_bytes_max` is exceeded the
oldest leave, in the same transaction, and are counted: `dropped_count` grows for ever. Deleted pages are used again,
so the file does not grow beyond the bound; `purge` gives them back.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import cast

import apsw

from zarkov.batch import Rejection
from zarkov.config.journal import JournalSettings
from zarkov.errors import JournalCorrupt, JournalFailed, JournalVersion
from zarkov.journal.database import connect, require_sound_sqlite, rollback, translate

_log = logging.getLogger(__name__)

FORMAT = 1
_AUTO_CHECKPOINT_PAGES = 1_000
_WAL_BYTES_MAX = 4 * 1024 * 1024

_SCHEMA = f"""
CREATE TABLE rejection (id INTEGER PRIMARY KEY AUTOINCREMENT, at_ms INTEGER NOT NULL, source TEXT NOT NULL,
    code TEXT NOT NULL, reason TEXT NOT NULL, bytes INTEGER NOT NULL, data BLOB NOT NULL);
CREATE TABLE totals (one INTEGER PRIMARY KEY CHECK (one = 1), count INTEGER NOT NULL, bytes INTEGER NOT NULL,
    dropped_count INTEGER NOT NULL);
INSERT INTO totals VALUES (1, 0, 0, 0);
CREATE TRIGGER added AFTER INSERT ON rejection BEGIN
    UPDATE totals SET count = count + 1, bytes = bytes + new.bytes; END;
CREATE TRIGGER removed AFTER DELETE ON rejection BEGIN
    UPDATE totals SET count = count - 1, bytes = bytes - old.bytes; END;
PRAGMA user_version = {FORMAT};
"""


#: id, at_ms, source, code, reason, data
_Row = tuple[int, int, str, str, str, bytes]


@dataclass(frozen=True, slots=True)
class Kept:
    """A rejection as it is kept; ids grow with time and are not used twice."""

    id: int
    rejection: Rejection


@dataclass(frozen=True, slots=True)
class RejectedStats:
    """`count` rejections with `bytes` of data are kept; `dropped_count` have left to make room, ever."""

    count: int
    bytes: int
    dropped_count: int


class RejectedStore:
    """The rejected events of one data directory. One thread at a time; a context manager."""

    def __init__(self, connection: apsw.Connection, count_max: int, bytes_max: int) -> None:
        self._connection = connection
        self._count_max = count_max
        self._bytes_max = bytes_max

    @classmethod
    def open(cls, path: Path, settings: JournalSettings, *, vfs: str | None = None) -> RejectedStore:
        """Open for writing; the file is made if it is not there.

        A damaged file is set aside under another name and a new one begun: nothing that was accepted depends on it.

        Raises: JournalVersion, JournalFull, JournalFailed.
        """
        require_sound_sqlite()
        try:
            connection = _open_sound(path, vfs)
        except JournalCorrupt as error:
            _set_aside(path)
            _log.error("rejected events set aside path=%s reason=%s", path, error)
            connection = _open_sound(path, vfs)
        return cls(connection, settings.rejected_count_max, settings.rejected_bytes_max)

    @classmethod
    def open_readonly(cls, path: Path) -> RejectedStore:
        """Open for reading, beside a running server or without one.

        Raises: FileNotFoundError: nothing was ever rejected there. JournalVersion, JournalCorrupt.
        """
        require_sound_sqlite()
        if not path.exists():
            raise FileNotFoundError(path)
        connection: apsw.Connection | None = None
        try:
            connection = connect(path, "read")
            _require_format(connection, path)
        except apsw.Error as error:
            if connection is not None:
                connection.close()
            raise translate(error, str(path)) from error
        return cls(connection, 0, 0)

    def add(self, rejections: Sequence[Rejection]) -> None:
        """Keep these, in order, in one synced commit; the oldest leave if there are too many.

        Raises: JournalFull: none was kept; JournalFailed.
        Durability: survives power loss once this returns.
        """
        if not rejections:
            return
        kept = self._newest(rejections)
        with self._transaction():
            self._connection.executemany(
                "INSERT INTO rejection (at_ms, source, code, reason, bytes, data) VALUES (?, ?, ?, ?, ?, ?)",
                [(one.at_ms, one.source, one.code, one.reason, len(one.data), one.data) for one in kept],
            )
            dropped = len(rejections) - len(kept) + self._make_room()
            if dropped:
                self._connection.execute("UPDATE totals SET dropped_count = dropped_count + ?", (dropped,))

    def add_once(self, rejections: Sequence[Rejection]) -> int:
        """Keep those of whose source none is kept yet, in one synced commit. Returns: how many were kept.

        Raises: JournalFull: none was kept; JournalFailed.
        """
        with _translated("rejected events", self._connection):
            kept = {source for (source,) in self._connection.execute("SELECT source FROM rejection")}
        fresh = [one for one in rejections if one.source not in kept]
        self.add(fresh)
        return len(fresh)

    def list(self, limit: int, after: int | None = None) -> Sequence[Kept]:
        """Up to `limit` rejections with their data, oldest first; those whose id is greater than `after`."""
        return [_kept(row) for row in self._rows("WHERE id > ? ORDER BY id LIMIT ?", (after or 0, limit))]

    def get(self, rejection_id: int) -> Kept | None:
        """One rejection by its id; None if it is not there, or no longer."""
        for row in self._rows("WHERE id = ?", (rejection_id,)):
            return _kept(row)
        return None

    def delete(self, ids: Iterable[int]) -> int:
        """Delete these. Returns: how many there were."""
        with self._transaction():
            before = self._count()
            self._connection.executemany("DELETE FROM rejection WHERE id = ?", [(one,) for one in ids])
            return before - self._count()

    def purge(self) -> int:
        """Delete all, and give their space back. Returns: how many there were."""
        with self._transaction():
            count = self._count()
            self._connection.execute("DELETE FROM rejection")
        with _translated("rejected events", self._connection):
            self._connection.execute("PRAGMA incremental_vacuum").fetchall()
        return count

    def stats(self) -> RejectedStats:
        with _translated("rejected events", self._connection):
            (row,) = self._connection.execute("SELECT count, bytes, dropped_count FROM totals")
        return RejectedStats(*row)

    def close(self) -> None:
        self._connection.close()

    def __enter__(self) -> RejectedStore:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _newest(self, rejections: Sequence[Rejection]) -> Sequence[Rejection]:
        """Those that may stay, so that nothing is written only to leave at once."""
        first = max(0, len(rejections) - self._count_max)
        size = sum(len(one.data) for one in rejections[first:])
        while first < len(rejections) and size > self._bytes_max:
            size -= len(rejections[first].data)
            first += 1
        return rejections[first:]

    def _make_room(self) -> int:
        """Let the oldest leave until the bounds hold. Returns: how many left."""
        stats = self.stats()
        count, size = stats.count, stats.bytes
        if count <= self._count_max and size <= self._bytes_max:
            return 0
        leaving = 0
        with contextlib.closing(self._connection.cursor()) as oldest:
            for leaving, bytes_ in oldest.execute("SELECT id, bytes FROM rejection ORDER BY id"):  # noqa: B007
                count, size = count - 1, size - bytes_
                if count <= self._count_max and size <= self._bytes_max:
                    break
        self._connection.execute("DELETE FROM rejection WHERE id <= ?", (leaving,))
        return stats.count - count

    def _count(self) -> int:
        return self.stats().count

    def _rows(self, where: str, values: tuple[int, ...]) -> Sequence[_Row]:
        with _translated("rejected events", self._connection):
            query = f"SELECT id, at_ms, source, code, reason, data FROM rejection {where}"
            return cast("list[_Row]", self._connection.execute(query, values).fetchall())

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        """One synced commit, or nothing. Raises: JournalFull, JournalFailed, JournalCorrupt."""
        with _translated("rejected events", self._connection):
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._connection.execute("COMMIT")
            except BaseException:
                rollback(self._connection)
                raise


def _open_sound(path: Path, vfs: str | None) -> apsw.Connection:
    """The file for writing, with its tables. Raises: JournalCorrupt and what `open` raises."""
    connection: apsw.Connection | None = None
    try:
        connection = connect(path, "create", vfs)
        connection.wal_autocheckpoint(_AUTO_CHECKPOINT_PAGES)
        connection.execute(f"PRAGMA journal_size_limit={_WAL_BYTES_MAX}")
        if _format_of(connection) == 0:
            connection.execute(f"BEGIN IMMEDIATE; {_SCHEMA}; COMMIT")
        _require_format(connection, path)
        found = str(connection.pragma("quick_check", 1))
        if found != "ok":
            raise JournalCorrupt(f"{path} is damaged: {found}")
    except apsw.Error as error:
        failure = translate(error, str(path), connection)
        if connection is not None:
            connection.close()
        raise failure from error
    except BaseException:
        if connection is not None:
            connection.close()
        raise
    return connection


def _set_aside(path: Path) -> None:
    """Rename a damaged file, with what belongs to it, to the first free name."""
    number = next(n for n in itertools.count(1) if not path.with_name(f"{path.name}.damaged-{n}").exists())
    for suffix in ("-wal", "-shm", ""):
        part = path.with_name(path.name + suffix)
        if part.exists():
            part.rename(path.with_name(f"{path.name}.damaged-{number}{suffix}"))


@contextlib.contextmanager
def _translated(what: str, connection: apsw.Connection) -> Iterator[None]:
    try:
        yield
    except apsw.Error as error:
        raise translate(error, what, connection) from error


def _format_of(connection: apsw.Connection) -> int:
    return int(connection.pragma("user_version"))


def _require_format(connection: apsw.Connection, path: Path) -> None:
    found = _format_of(connection)
    if found == 0:
        raise JournalFailed(f"{path} is not a file of rejected events")
    if found != FORMAT:
        raise JournalVersion(f"{path} has format {found}; this version reads {FORMAT}")


def _kept(row: _Row) -> Kept:
    return Kept(row[0], Rejection(*row[1:]))
