"""One SQLite file of documents: the store's own, or that of one large output. `document_file` puts them together.

A database (WAL, synchronous=FULL) with the tables

    document    (collection, key, data)             `key`: the `_id` as bytes that sort as BSON sorts it (see keys)
    committed   (number, commit_id, collection)     the newest COMMITS_MAX commits of outputs
    placed      (collection, file)                  the collections that lie in files of their own; in the first file

In a file of its own a collection has the name "". What is always true:

- A write transaction takes the lock at its start (BEGIN IMMEDIATE) and is synced when it commits; an error rolls it
  back. After a crash a transaction is there whole or not at all.
- Reads are short: a page of PAGE_COUNT documents at a time, so that no reader holds up a checkpoint.
- Several processes and threads may use the file; a write waits BUSY_TIMEOUT_MS for another's. One connection serves
  all threads that share a table, under a lock, which is waited for as long.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import apsw

from zarkov.errors import StoreFailed
from zarkov.store.contract import COMMITS_MAX, Row

#: Older versions (from 3.7.0 on) can corrupt a WAL database when a checkpoint races with a reset of the WAL.
SQLITE_MIN = (3, 51, 3)
BUSY_TIMEOUT_MS = 10_000
#: Documents read in one transaction.
PAGE_COUNT = 1_000
FORMAT = 2
#: "ZKD1", in the SQLite header.
APPLICATION_ID = 0x5A4B4431

_DOCUMENTS = f"""
PRAGMA application_id={APPLICATION_ID};
CREATE TABLE document (
    collection TEXT NOT NULL, key BLOB NOT NULL, data BLOB NOT NULL, PRIMARY KEY (collection, key)) WITHOUT ROWID;
"""
_OUTPUTS = f"""
CREATE TABLE committed (
    number INTEGER PRIMARY KEY, commit_id TEXT NOT NULL, collection TEXT NOT NULL, UNIQUE (commit_id, collection));
CREATE TABLE placed (collection TEXT PRIMARY KEY, file TEXT NOT NULL) WITHOUT ROWID;
PRAGMA user_version={FORMAT};
"""
#: What makes an empty file one of this format.
SCHEMA = _DOCUMENTS + _OUTPUTS
_UPGRADES = {0: SCHEMA, 1: _OUTPUTS}
_NAMES = """
WITH RECURSIVE name(value) AS (
    SELECT min(collection) FROM document
    UNION ALL
    SELECT (SELECT min(collection) FROM document WHERE collection > value) FROM name WHERE value IS NOT NULL)
SELECT value FROM name WHERE value IS NOT NULL
"""
_CLEAR_SOME = """
DELETE FROM document WHERE collection = :name AND key <= coalesce(
    (SELECT key FROM document WHERE collection = :name ORDER BY key LIMIT 1 OFFSET :count), x'ff')
"""


class DocumentTable:
    """Documents as bytes, by collection and key. Thread-safe; every method raises StoreFailed.

    Args:   must_exist: whether the file is somebody else's making; otherwise it is made at the first use.
    """

    def __init__(self, path: Path, *, must_exist: bool = False) -> None:
        self.path = path
        self._must_exist = must_exist
        self._lock = threading.RLock()
        self._opened: apsw.Connection | None = None

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All writes inside commit together, synced, when it ends; an exception undoes them. Nests into one."""
        with self._locked():
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
        rows = self.rows("SELECT data FROM document WHERE collection = ? AND key = ?", (collection, key))
        return bytes(rows[0][0]) if rows else None

    def get_many(self, collection: str, keys: Iterable[bytes]) -> list[Row]:
        """The (key, data) of those of the keys that are there."""
        sql = "SELECT key, data FROM document WHERE collection = ? AND key = ?"
        with self._locked():
            return list(self._connection.executemany(sql, ((collection, key) for key in keys)))

    def put(self, collection: str, key: bytes, data: bytes) -> None:
        """Insert or replace."""
        self.rows("INSERT OR REPLACE INTO document VALUES (?, ?, ?)", (collection, key, data))

    def put_many(self, collection: str, rows: Iterable[Row], *, keep: bool = False) -> None:
        """Insert or replace; with `keep`, what is there stays as it is."""
        verb = "IGNORE" if keep else "REPLACE"
        with self._locked():
            self._connection.executemany(
                f"INSERT OR {verb} INTO document VALUES (?, ?, ?)", ((collection, key, data) for key, data in rows)
            )

    def remove(self, collection: str, key: bytes) -> None:
        """Delete, if it is there."""
        self.rows("DELETE FROM document WHERE collection = ? AND key = ?", (collection, key))

    def pages(
        self, collection: str, first: bytes = b"", stop: bytes = b"\xff", *, descending: bool = False
    ) -> Iterator[list[Row]]:
        """The (key, data) of the keys from `first` to `stop` (excluded), in order, a page at a time."""
        order = "DESC" if descending else "ASC"
        sql = (
            "SELECT key, data FROM document WHERE collection = ? AND key >= ? AND key < ? "
            f"ORDER BY key {order} LIMIT {PAGE_COUNT}"
        )
        while page := [(bytes(key), bytes(data)) for key, data in self.rows(sql, (collection, first, stop))]:
            yield page
            if len(page) < PAGE_COUNT:
                return
            if descending:
                stop = page[-1][0]
            else:
                first = page[-1][0] + b"\x00"

    def count(self, collection: str, up_to: int = -1) -> int:
        """How many documents a collection has; counted up to `up_to`, if that is not negative."""
        sql = "SELECT count(*) FROM (SELECT 1 FROM document WHERE collection = ? LIMIT ?)"
        return int(self.rows(sql, (collection, up_to))[0][0])

    def names(self) -> list[str]:
        """The collections that hold documents, sorted."""
        return [str(row[0]) for row in self.rows(_NAMES)]

    def clear(self, collection: str | None = None) -> None:
        """Delete a collection's documents, or all documents."""
        if collection is None:
            self.rows("DELETE FROM document")
        else:
            self.rows("DELETE FROM document WHERE collection = ?", (collection,))

    def clear_some(self, collection: str, count: int) -> None:
        """Delete about `count` of a collection's documents."""
        self.rows(_CLEAR_SOME, {"name": collection, "count": count})

    def rename(self, old: str, new: str) -> None:
        """Give the documents of one collection to another name, which has none."""
        self.rows("UPDATE document SET collection = ? WHERE collection = ?", (new, old))

    def absorb(self, made: Path, check: Callable[[], bool]) -> bool:
        """Insert or replace, in one transaction, what another file holds, both under the collection "".

        Args:   check: called first in the transaction; nothing is written if it gives False, as this then does.
        """
        with self._locked():
            self._connection.execute("ATTACH ? AS made", (str(made),))
            try:
                with self.transaction():
                    wanted = check()
                    if wanted:
                        self.rows("INSERT OR REPLACE INTO document SELECT * FROM made.document")
            finally:
                self._connection.execute("DETACH made")
            return wanted

    def note(self, commits: Iterable[tuple[str, str]]) -> None:
        """Note commits as (commit, collection); inside the transaction that they are."""
        sql = "INSERT OR IGNORE INTO committed (commit_id, collection) VALUES (?, ?)"
        with self._locked():
            self._connection.executemany(sql, commits)
            self._connection.execute(
                "DELETE FROM committed WHERE number <= (SELECT max(number) FROM committed) - ?", (COMMITS_MAX,)
            )

    def has_noted(self, commit: str, collection: str) -> bool:
        """Whether that commit was noted here, and is not forgotten."""
        sql = "SELECT 1 FROM committed WHERE commit_id = ? AND collection = ?"
        return bool(self.rows(sql, (commit, collection)))

    def noted(self) -> list[tuple[str, str]]:
        """All that were noted here, as (commit, collection), oldest first."""
        return [(row[0], row[1]) for row in self.rows("SELECT commit_id, collection FROM committed ORDER BY number")]

    def rows(self, sql: str, values: Sequence[Any] | dict[str, Any] = ()) -> list[tuple[Any, ...]]:
        """What one statement gives."""
        with self._locked():
            return list(self._connection.execute(sql, values))

    def close(self) -> None:
        """Close the file; a later call opens it again."""
        with self._locked():
            if self._opened is not None:
                self._opened.close()
                self._opened = None

    @property
    def _connection(self) -> apsw.Connection:
        if self._opened is None:
            self._opened = _open(self.path, self._must_exist)
        return self._opened

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """This thread alone; SQLite's errors raised as StoreFailed."""
        if not self._lock.acquire(timeout=BUSY_TIMEOUT_MS / 1000):
            raise StoreFailed(f"{self.path} is busy", hint="Another thread holds the file for long; try again.")
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
        finally:
            self._lock.release()


def _open(path: Path, must_exist: bool) -> apsw.Connection:
    version = apsw.sqlite_lib_version()
    if tuple(int(part) for part in version.split(".")[:3]) < SQLITE_MIN:
        raise StoreFailed(f"SQLite {version} has a bug that can corrupt a store", hint="Upgrade apsw.")
    flags = apsw.SQLITE_OPEN_READWRITE
    if not must_exist:
        path.parent.mkdir(parents=True, exist_ok=True)
        flags |= apsw.SQLITE_OPEN_CREATE
    connection = apsw.Connection(str(path), flags=flags)
    try:
        connection.set_busy_timeout(BUSY_TIMEOUT_MS)
        connection.pragma("journal_mode", "wal")
        connection.pragma("synchronous", "full")
        connection.pragma("temp_store", "memory")
        if connection.pragma("user_version") in _UPGRADES:
            _upgrade(connection)
        found = connection.pragma("user_version")
        if found > FORMAT:
            raise StoreFailed(f"{path} has format {found}; this version reads up to {FORMAT}", hint="Upgrade Zarkov.")
    except BaseException:
        connection.close()
        raise
    return connection


def _upgrade(connection: apsw.Connection) -> None:
    """Make the tables that are not there yet, unless another process just did."""
    connection.execute("BEGIN IMMEDIATE")
    wanted = _UPGRADES.get(connection.pragma("user_version"))
    if wanted is not None:
        connection.execute(wanted)
    connection.execute("COMMIT")


def _roll_back(connection: apsw.Connection) -> None:
    """End the open transaction, if SQLite has not done so already."""
    if connection.in_transaction:
        connection.execute("ROLLBACK")
