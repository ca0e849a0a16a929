"""A client's batches on disk, until they are acknowledged: one SQLite file for one client at a time.

Theory of operation. The file holds the producer's id, the sequence that its next batch gets, and every batch that is
not known to be answered: (sequence, count, events). `write` adds and removes batches in one synced transaction; what
it added survives kill -9 and power loss once it returns. The client sends a batch only after that, so whatever
became of a batch before a kill, the next start sends the same bytes under the same producer and sequence, and the
server stores them once.

The rollback journal (TRUNCATE) and synchronous=FULL are used, not WAL: Python's SQLite may be older than 3.51.3,
whose WAL can lose data. The exclusive locking mode keeps a second client out, of this process or another, for as
long as the file is open; a kill releases it. A forked child must `disown` the file, and neither use nor close it.

What a crash leaves behind: the transaction happened or it did not (SQLite plays its journal back at the next open).
Every batch carries a CRC-32; all are read and checked by `open`, so that a damaged file is met there and then.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import sqlite3
import time
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from zarkov.client.frames import producer_id
from zarkov.errors import SpoolFailed

APPLICATION_ID = 0x5A6B5370  # "ZkSp"
FORMAT = 1
#: What of the file SQLite keeps in memory.
_CACHE_KIB = 2048
_SCHEMA = """
BEGIN EXCLUSIVE;
CREATE TABLE about (id INTEGER PRIMARY KEY CHECK (id = 1), producer BLOB NOT NULL, next_sequence INTEGER NOT NULL);
CREATE TABLE batch (
    sequence INTEGER PRIMARY KEY,
    count    INTEGER NOT NULL,   -- events
    crc      INTEGER NOT NULL,   -- CRC-32 of `events`
    created  REAL    NOT NULL,   -- seconds since 1970
    events   BLOB    NOT NULL    -- concatenated BSON documents, as they are sent
);
"""


@dataclass(frozen=True, slots=True)
class Row:
    """A batch as the file holds it."""

    sequence: int
    count: int
    events: bytes


class Spool:
    """Not thread safe, but may be used by several threads in turn.

    `producer`, `next_sequence`, and of what was there when it was opened: `batch_count`, `event_count`,
    `byte_count` (of events), `oldest` (the lowest sequence; `next_sequence` when there is no batch).
    """

    def __init__(self, path: Path, connection: sqlite3.Connection, producer: bytes, next_sequence: int) -> None:
        self.path, self.producer, self.next_sequence = path, producer, next_sequence
        self._connection = connection
        self.batch_count = self.event_count = self.byte_count = 0
        self.oldest = next_sequence

    @classmethod
    def open(cls, path: str | os.PathLike[str], *, name: bytes = b"") -> Spool:
        """The spool in this file, made if there is none, readable by its owner alone.

        Args:   name: what a new producer's id begins with; random bytes follow.
        Raises: SpoolFailed: another client has it open, it is damaged or no spool, or it cannot be written.
        """
        file = Path(os.path.abspath(path))
        connection: sqlite3.Connection | None = None
        try:
            with contextlib.suppress(FileExistsError):
                os.close(os.open(file, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o600))
            connection = sqlite3.connect(file, timeout=0, isolation_level=None, check_same_thread=False)
            spool = cls._opened(file, connection, name)
            if not spool.batch_count:
                spool._shrink()
        except BaseException as error:
            if connection is not None:
                connection.close()
            if isinstance(error, (sqlite3.Error, OSError, ValueError)):
                raise _failure(file, error, "opened") from error
            raise
        return spool

    @classmethod
    def _opened(cls, file: Path, connection: sqlite3.Connection, name: bytes) -> Spool:
        if not file.stat().st_size:
            connection.execute("PRAGMA auto_vacuum = INCREMENTAL")  # A new file takes it, if it is said first.
        connection.execute("PRAGMA locking_mode = EXCLUSIVE")
        connection.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
        is_new = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0] == 0
        application, version = (connection.execute(f"PRAGMA {name}").fetchone()[0] for name in _MARKS)
        if not is_new and (application, version) != (APPLICATION_ID, FORMAT):
            raise SpoolFailed(
                f"{file} is an SQLite file, but no spool of this version", hint="Give the client another path."
            )
        connection.execute("PRAGMA journal_mode = TRUNCATE")
        connection.execute("PRAGMA synchronous = FULL")
        if is_new:
            connection.executescript(_SCHEMA)
            connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            connection.execute(f"PRAGMA user_version = {FORMAT}")
            connection.execute("INSERT INTO about VALUES (1, ?, 1)", (_new_id(name),))
        else:
            connection.execute("BEGIN EXCLUSIVE")
        about = connection.execute("SELECT producer, next_sequence FROM about").fetchone()
        if about is None or type(about[0]) is not bytes or type(about[1]) is not int:
            raise sqlite3.DatabaseError("the producer's id is missing")
        spool = cls(file, connection, *about)
        spool._check()
        connection.execute("UPDATE about SET id = 1")  # A transaction that wrote leaves the lock behind.
        connection.execute("COMMIT")
        return spool

    def _check(self) -> None:
        """Read every batch, and count them. Raises: sqlite3.Error: one is damaged."""
        query = "SELECT sequence, count, crc, events FROM batch ORDER BY sequence"
        for sequence, count, crc, events in self._connection.execute(query):
            _require_whole(sequence, crc, events)
            self.oldest = min(self.oldest, sequence)
            self.batch_count += 1
            self.event_count += count
            self.byte_count += len(events)

    def write(self, added: Iterable[Row], removed: Iterable[int]) -> None:
        """Add batches, in the order of their sequences, and remove others, in one transaction.

        Raises: SpoolFailed: nothing of it happened; `retryable` when the disk is full.
        Durability: survives power loss once this returns.
        """
        created = time.time()
        connection = self._connection
        next_sequence = self.next_sequence
        try:
            connection.execute("BEGIN IMMEDIATE")
            connection.executemany("DELETE FROM batch WHERE sequence = ?", ((sequence,) for sequence in removed))
            for row in added:
                values = (row.sequence, row.count, zlib.crc32(row.events), created, row.events)
                connection.execute("INSERT INTO batch VALUES (?, ?, ?, ?, ?)", values)
                next_sequence = max(next_sequence, row.sequence + 1)
            if next_sequence != self.next_sequence:
                connection.execute("UPDATE about SET next_sequence = ?", (next_sequence,))
            connection.execute("COMMIT")
        except sqlite3.Error as error:
            self._roll_back()
            raise _failure(self.path, error, "written") from error
        self.next_sequence = next_sequence

    def read(self, sequence: int, bytes_max: int) -> tuple[list[Row], int | None]:
        """The batches from this sequence on, of `bytes_max` bytes together but at least one; and the sequence of
        the one that follows them, None if none does.

        Raises: SpoolFailed.
        """
        found: list[Row] = []
        size = 0
        query = "SELECT sequence, count, crc, events FROM batch WHERE sequence >= ? ORDER BY sequence"
        try:
            with contextlib.closing(self._connection.execute(query, (sequence,))) as rows:
                for at, count, crc, events in rows:
                    _require_whole(at, crc, events)
                    if found and size + len(events) > bytes_max:
                        return found, at
                    found.append(Row(at, count, events))
                    size += len(events)
        except sqlite3.Error as error:
            raise _failure(self.path, error, "read") from error
        return found, None

    def rename(self) -> bytes:
        """Give the producer a new id; the batches keep their sequences.

        Raises: SpoolFailed: it keeps the old one.
        """
        producer = _new_id(self.producer.rpartition(b".")[0])
        try:
            self._connection.execute("UPDATE about SET producer = ?", (producer,))
        except sqlite3.Error as error:
            self._roll_back()
            raise _failure(self.path, error, "written") from error
        self.producer = producer
        return producer

    def close(self) -> None:
        """Let another client have the file; give back the space of what is gone when nothing is left."""
        with contextlib.suppress(sqlite3.Error):
            if self._connection.execute("SELECT 1 FROM batch LIMIT 1").fetchone() is None:
                self._shrink()
        self._connection.close()

    def disown(self) -> None:
        """In a forked child: never touch the file again.

        Not even to close it: SQLite would roll back the transaction that the parent may have been in. So the object
        is kept from ever being finalised.
        """
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(self._connection))

    def _shrink(self) -> None:
        self._connection.executescript("PRAGMA incremental_vacuum")  # `execute` would take one step: one page.

    def _roll_back(self) -> None:
        if self._connection.in_transaction:
            with contextlib.suppress(sqlite3.Error):
                self._connection.execute("ROLLBACK")


_MARKS = ("application_id", "user_version")
_RANDOM_BYTES = 8


def _new_id(name: bytes) -> bytes:
    return producer_id(name, os.urandom(_RANDOM_BYTES))


def _require_whole(sequence: int, crc: int, events: bytes) -> None:
    if type(events) is not bytes or zlib.crc32(events) != crc:
        raise sqlite3.DatabaseError(f"batch {sequence} is not what was written")


def _failure(file: Path, error: Exception, done: str) -> SpoolFailed:
    """What went wrong with the file, and the way out."""
    code = getattr(error, "sqlite_errorcode", None)
    primary = code & 0xFF if code is not None else None
    if primary == sqlite3.SQLITE_BUSY:
        return SpoolFailed(f"the spool {file} is in use by another client")
    text = f"the spool {file} cannot be {done}: {error}"
    if primary == sqlite3.SQLITE_FULL:
        failure = SpoolFailed(text, hint="Free space on its disk; the client tries again by itself.")
        failure.retryable = True
        return failure
    is_damage = isinstance(error, sqlite3.DatabaseError) and code is None  # raised here
    if is_damage or primary in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        text = f"the spool {file} is damaged: {error}"
        hint = "Move it away to go on with a new one; `sqlite3` may still read the events in its table `batch`."
        return SpoolFailed(text, hint=hint)
    return SpoolFailed(text, hint="Check that the folder is there, and the rights and the disk of the file.")
