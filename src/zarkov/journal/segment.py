"""One segment file, open for writing.

A segment is a SQLite database (WAL, FULL): `meta`, `chunk`, `producer`. Only the holder of the journal's lock
opens it so. A transaction of a segment is the unit of durability: its rows are there after a crash, all or none.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import apsw

from zarkov.errors import JournalCorrupt, JournalError, JournalFailed, JournalVersion
from zarkov.journal import producers
from zarkov.journal.database import BUSY_TIMEOUT_MS, connect, rollback, sync_directory, translate
from zarkov.journal.directory import first_offset_of, remove_segment
from zarkov.journal.format import (
    APPLICATION_ID,
    FORMAT,
    HEADER_COLUMNS,
    ChunkHeader,
    ChunkRow,
    header_is_sound,
)
from zarkov.journal.producers import Remembered

_SCHEMA = f"""
PRAGMA application_id={APPLICATION_ID};
PRAGMA user_version={FORMAT};
CREATE TABLE meta (key TEXT PRIMARY KEY, value) WITHOUT ROWID;
CREATE TABLE chunk (
    first_offset INTEGER PRIMARY KEY, count INTEGER NOT NULL, gaps BLOB, ts_min_ms INTEGER NOT NULL,
    ts_max_ms INTEGER NOT NULL, id_min BLOB NOT NULL, id_max BLOB NOT NULL, types TEXT, codec INTEGER NOT NULL,
    level INTEGER NOT NULL, raw_bytes INTEGER NOT NULL, crc32c INTEGER NOT NULL, head_crc32c INTEGER NOT NULL,
    data BLOB NOT NULL);
"""
_INSERT = f"INSERT INTO chunk ({HEADER_COLUMNS}, data) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"


class Segment:
    """A segment and what is known of it without asking the file again. Not thread-safe.

    `next_offset`: the offset after its last event. `data_bytes`: the stored bytes of its chunks (its file is some
    two percent larger, and larger still until freed pages are given back).
    """

    def __init__(self, path: Path, connection: apsw.Connection) -> None:
        self.path = path
        self.connection = connection
        self.first_offset = first_offset_of(path.name) or 0
        self.next_offset = self.first_offset
        self.data_bytes = 0
        self.wal_pages = 0
        connection.set_wal_hook(self._on_commit)

    @classmethod
    def create(
        cls,
        path: Path,
        journal_id: str,
        now_ms: int,
        remembered: Sequence[Remembered],
        window_max: int,
        vfs: str | None = None,
    ) -> Segment:
        """A new segment with the producers' windows carried over, durable when this returns.

        Raises: JournalFull: nothing is left behind. JournalFailed.
        """
        if path.exists():
            raise JournalFailed(f"{path.name} exists already")
        connection: apsw.Connection | None = None
        try:
            connection = connect(path, "create", vfs)
            meta = {"journal_id": journal_id, "created_ms": now_ms, "window_max": window_max, "sealed": 0}
            connection.execute("BEGIN IMMEDIATE")
            connection.execute(_SCHEMA)
            connection.execute(producers.SCHEMA)
            connection.executemany("INSERT INTO meta VALUES (?, ?)", meta.items())
            producers.store(connection.execute, remembered, window_max)
            connection.execute("COMMIT")
            sync_directory(path.parent)
        except (apsw.Error, OSError) as error:
            failure = translate(error, f"the new segment {path.name}", connection)
            if connection is not None:
                connection.close()
            remove_segment(path)
            raise failure from error
        return cls(path, connection)

    @classmethod
    def open(cls, path: Path, *, journal_id: str, vfs: str | None = None) -> Segment | None:
        """An existing segment; None when its creation was not finished (so it holds nothing).

        Raises: JournalCorrupt: it cannot be trusted for writing. JournalVersion: a newer Zarkov wrote it.
        """
        try:
            connection = connect(path, "write", vfs)
        except (apsw.CorruptError, apsw.NotADBError, apsw.IOError, apsw.CantOpenError) as error:
            raise JournalCorrupt(f"{path.name} cannot be opened: {error}") from error
        try:
            if not connection.table_exists("main", "meta"):
                connection.close()
                return None
            segment = cls(path, connection)
            segment._verify_opening(journal_id)
        except apsw.Error as error:
            connection.close()
            raise JournalCorrupt(f"{path.name} cannot be read: {error}") from error
        except BaseException:
            connection.close()
            raise
        return segment

    def meta(self, key: str) -> Any:
        """A value of the segment's `meta`; None when it is absent. Raises: apsw.Error."""
        return self.connection.execute("SELECT value FROM meta WHERE key = ?", (key,)).get

    def headers(self, start: int, limit: int) -> list[ChunkHeader]:
        """Up to `limit` chunks from the one that begins at or after `start`. Raises: apsw.Error."""
        sql = f"SELECT {HEADER_COLUMNS} FROM chunk WHERE first_offset >= ? ORDER BY first_offset LIMIT ?"
        return [ChunkHeader(*row) for row in self.connection.execute(sql, (start, limit))]

    def newest_headers(self, limit: int) -> list[ChunkHeader]:
        """The last `limit` chunks, in order of their offsets. Raises: apsw.Error."""
        sql = f"SELECT {HEADER_COLUMNS} FROM chunk ORDER BY first_offset DESC LIMIT ?"
        return [ChunkHeader(*row) for row in self.connection.execute(sql, (limit,))][::-1]

    def data(self, header: ChunkHeader) -> bytes:
        """The stored data of a chunk. Raises: apsw.Error."""
        sql = "SELECT data FROM chunk WHERE first_offset = ?"
        return bytes(self.connection.execute(sql, (header.first_offset,)).get)

    @contextmanager
    def transaction(self) -> Iterator[Callable[..., Any]]:
        """BEGIN IMMEDIATE .. COMMIT; yields `execute`. Synced when it returns.

        Raises: JournalFull or JournalFailed: nothing of it was stored (see translate).
        """
        try:
            self.connection.execute("BEGIN IMMEDIATE")
            yield self.connection.execute
            self.connection.execute("COMMIT")
        except apsw.Error as error:
            failure = translate(error, self.path.name, self.connection)
            self._roll_back()
            raise failure from error
        except BaseException:
            self._roll_back()
            raise

    def checkpoint(self, mode: int = apsw.SQLITE_CHECKPOINT_PASSIVE) -> bool:
        """Copy the WAL into the file; false when readers or the disk stood in the way. Raises: JournalFailed.

        It waits for nobody: a reader that was stopped in the middle must not stop the writer.
        """
        try:
            self.connection.set_busy_timeout(0)
            pages, copied = self.connection.wal_checkpoint(mode=mode)
        except (apsw.BusyError, apsw.LockedError):
            return False
        except apsw.Error as error:
            failure = translate(error, self.path.name, self.connection)
            if failure.retryable:
                return False
            raise failure from error
        finally:
            self.connection.set_busy_timeout(BUSY_TIMEOUT_MS)
        if mode == apsw.SQLITE_CHECKPOINT_TRUNCATE:
            self.wal_pages = 0
        return bool(pages == copied)

    def give_back(self, pages: int) -> bool:
        """Shrink the file by up to this many free pages; false when there are none."""
        free = self.connection.pragma("freelist_count")
        if free:
            with self.transaction() as execute:
                execute(f"PRAGMA incremental_vacuum({pages})").fetchall()
        return bool(free)

    def close(self, *, checkpoint: bool = True) -> None:
        """Close the file; a second call does nothing.

        After a failed sync `checkpoint` must be false: the WAL is then the only sound copy of the last commits.
        """
        if not checkpoint:
            self.connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
        self.connection.close()

    def _roll_back(self) -> None:
        try:
            rollback(self.connection)
        except apsw.Error as error:
            raise translate(error, self.path.name, self.connection) from error

    def _on_commit(self, _connection: apsw.Connection, _database: str, pages: int) -> int:
        self.wal_pages = pages
        return apsw.SQLITE_OK

    def _verify_opening(self, journal_id: str) -> None:
        found = self.connection.pragma("user_version")
        if found > FORMAT:
            raise JournalVersion(f"{self.path.name} has format {found}; this version reads up to {FORMAT}")
        if self.meta("journal_id") != journal_id:
            raise JournalError(
                f"{self.path.name} belongs to another journal",
                hint="A journal's files stay together: move this one back to where it came from.",
            )
        for row in self.connection.execute(f"SELECT {HEADER_COLUMNS} FROM chunk ORDER BY first_offset"):
            header = ChunkHeader(*row)
            if not header_is_sound(header) or header.first_offset != self.next_offset:
                raise JournalCorrupt(f"{self.path.name} is damaged where offset {self.next_offset:,} should be")
            self.next_offset = header.stop
        self.data_bytes = self.connection.execute("SELECT coalesce(sum(length(data)), 0) FROM chunk").get


def insert_row(execute: Callable[..., Any], row: ChunkRow) -> None:
    """Store one chunk in the open transaction."""
    execute(_INSERT, (*row.header, row.data))
