"""The file of the documents: definitions, jobs, checkpoints, small aggregates.

One SQLite database (WAL, synchronous=FULL), one table `document (collection, key, data)`, where `key` is the `_id`
as bytes that sort as BSON sorts it (see keys) and `data` the document's BSON. What is always true:

- A write transaction takes the lock at its start (BEGIN IMMEDIATE) and is synced when it commits; an error rolls it
  back. After a crash a transaction is there whole or not at all.
- Reads are short: a page of PAGE_COUNT documents at a time, so that no reader holds up a checkpoint. A long find
  therefore sees changes made behind its place.
- Several processes and threads may use the file; a write waits BUSY_TIMEOUT_MS for another process's. One
  connection serves all threads of a process, under a lock.

The file is made at the first use, not before: a process that only reads events leaves no trace.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import apsw

from zarkov.errors import StoreFailed

#: Older versions (from 3.7.0 on) can corrupt a WAL database when a checkpoint races with a reset of the WAL.
SQLITE_MIN = (3, 51, 3)
BUSY_TIMEOUT_MS = 10_000
#: Documents read in one transaction.
PAGE_COUNT = 1_000
FORMAT = 1
#: "ZKD1", in the SQLite header.
APPLICATION_ID = 0x5A4B4431

_SCHEMA = f"""
PRAGMA application_id={APPLICATION_ID};
PRAGMA user_version={FORMAT};
CREATE TABLE document (
    collection TEXT NOT NULL, key BLOB NOT NULL, data BLOB NOT NULL, PRIMARY KEY (collection, key)) WITHOUT ROWID;
"""
_NAMES = """
WITH RECURSIVE name(value) AS (
    SELECT min(collection) FROM document
    UNION ALL
    SELECT (SELECT min(collection) FROM document WHERE collection > value) FROM name WHERE value IS NOT NULL)
SELECT value FROM name WHERE value IS NOT NULL
"""


class DocumentFile:
    """Documents as bytes, by collection and key. Thread-safe; every method raises StoreFailed."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.RLock()
        self._opened: apsw.Connection | None = None

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All writes inside commit together, synced, when it ends; an exception undoes them. Nests into one."""
        with self._lock, self._translated():
            if self._connection.in_transaction:
                yield
                return
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._connection.execute("COMMIT")
            except BaseException:
                _roll_back(self._connection)
                raise

    def get(self, collection: str, key: bytes) -> bytes | None:
        """The document with this key."""
        rows = self._rows("SELECT data FROM document WHERE collection = ? AND key = ?", (collection, key))
        return bytes(rows[0][0]) if rows else None

    def put(self, collection: str, key: bytes, data: bytes) -> None:
        """Insert or replace."""
        self._rows("INSERT OR REPLACE INTO document VALUES (?, ?, ?)", (collection, key, data))

    def remove(self, collection: str, key: bytes) -> None:
        """Delete, if it is there."""
        self._rows("DELETE FROM document WHERE collection = ? AND key = ?", (collection, key))

    def pages(
        self, collection: str, first: bytes, stop: bytes, *, descending: bool = False
    ) -> Iterator[list[tuple[bytes, bytes]]]:
        """The (key, data) of the keys from `first` to `stop` (excluded), in order, a page at a time."""
        order = "DESC" if descending else "ASC"
        sql = (
            "SELECT key, data FROM document WHERE collection = ? AND key >= ? AND key < ? "
            f"ORDER BY key {order} LIMIT {PAGE_COUNT}"
        )
        while page := [(bytes(key), bytes(data)) for key, data in self._rows(sql, (collection, first, stop))]:
            yield page
            if len(page) < PAGE_COUNT:
                return
            if descending:
                stop = page[-1][0]
            else:
                first = page[-1][0] + b"\x00"

    def count(self, collection: str) -> int:
        """How many documents a collection has."""
        return int(self._rows("SELECT count(*) FROM document WHERE collection = ?", (collection,))[0][0])

    def names(self) -> list[str]:
        """The collections that hold documents, sorted."""
        return [str(row[0]) for row in self._rows(_NAMES)]

    def drop(self, collection: str | None = None) -> None:
        """Delete a collection's documents, or all documents."""
        if collection is None:
            self._rows("DELETE FROM document")
        else:
            self._rows("DELETE FROM document WHERE collection = ?", (collection,))

    def rename(self, old: str, new: str) -> None:
        """Give the documents of one collection to another, in place of what that one had."""
        with self.transaction():
            self.drop(new)
            self._rows("UPDATE document SET collection = ? WHERE collection = ?", (new, old))

    def close(self) -> None:
        """Close the file; a later call opens it again."""
        with self._lock:
            if self._opened is not None:
                self._opened.close()
                self._opened = None

    def _rows(self, sql: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        with self._lock, self._translated():
            return list(self._connection.execute(sql, values))

    @property
    def _connection(self) -> apsw.Connection:
        if self._opened is None:
            self._opened = _open(self.path)
        return self._opened

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except apsw.FullError as error:
            hint = "Free space on the disk of `data_dir`; nothing of the write was stored."
            raise StoreFailed(f"there is no space to write {self.path}", hint=hint) from error
        except apsw.BusyError as error:
            hint = "Another process holds the file for long; try again."
            raise StoreFailed(f"{self.path} is busy", hint=hint) from error
        except (apsw.Error, OSError) as error:
            raise StoreFailed(f"{self.path} cannot be used: {error}") from error


def _open(path: Path) -> apsw.Connection:
    version = apsw.sqlite_lib_version()
    if tuple(int(part) for part in version.split(".")[:3]) < SQLITE_MIN:
        raise StoreFailed(f"SQLite {version} has a bug that can corrupt a store", hint="Upgrade apsw.")
    path.parent.mkdir(parents=True, exist_ok=True)
    connection = apsw.Connection(str(path))
    try:
        connection.set_busy_timeout(BUSY_TIMEOUT_MS)
        connection.pragma("journal_mode", "wal")
        connection.pragma("synchronous", "full")
        connection.pragma("temp_store", "memory")
        found = connection.pragma("user_version")
        if found == 0:
            _create(connection)
        if found > FORMAT:
            raise StoreFailed(f"{path} has format {found}; this version reads up to {FORMAT}", hint="Upgrade Zarkov.")
    except BaseException:
        connection.close()
        raise
    return connection


def _create(connection: apsw.Connection) -> None:
    """Make the table, unless another process just did."""
    connection.execute("BEGIN IMMEDIATE")
    if connection.pragma("user_version") == 0:
        connection.execute(_SCHEMA)
    connection.execute("COMMIT")


def _roll_back(connection: apsw.Connection) -> None:
    """End the open transaction, if SQLite has not done so already."""
    if connection.in_transaction:
        connection.execute("ROLLBACK")
