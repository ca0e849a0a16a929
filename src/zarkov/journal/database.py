"""Connections to SQLite files, and what SQLite's errors mean for the journal.

Everything durable goes through WAL with synchronous=FULL: a COMMIT that returned survives power loss. Automatic
checkpoints are off on every connection that writes; `checkpoints` does them.
"""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Literal

import apsw

from zarkov.errors import JournalCorrupt, JournalError, JournalFailed, JournalFull, JournalVersion

#: Older versions (from 3.7.0 on) can corrupt a WAL database when a checkpoint races with a reset of the WAL.
SQLITE_MIN = (3, 51, 3)
BUSY_TIMEOUT_MS = 10_000
PAGE_BYTES = 4096

_FULL_ERRNOS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_FSYNC_CODES = (apsw.SQLITE_IOERR_FSYNC, apsw.SQLITE_IOERR_DIR_FSYNC)
_FLAGS = {
    "create": apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_CREATE,
    "write": apsw.SQLITE_OPEN_READWRITE,
    "read": apsw.SQLITE_OPEN_READONLY,
}

Mode = Literal["create", "write", "read"]


def require_sound_sqlite(version: str | None = None) -> None:
    """Raises: JournalVersion: this SQLite is older than SQLITE_MIN."""
    found = version or apsw.sqlite_lib_version()
    if tuple(int(part) for part in found.split(".")[:3]) < SQLITE_MIN:
        wanted = ".".join(map(str, SQLITE_MIN))
        raise JournalVersion(f"SQLite {found} has the WAL-reset bug that can corrupt a journal; {wanted} or newer")


def connect(path: Path, mode: Mode, vfs: str | None = None) -> apsw.Connection:
    """A connection; one that writes is WAL, FULL, and never checkpoints by itself. Raises: apsw.Error."""
    connection = apsw.Connection(str(path), flags=_FLAGS[mode], vfs=vfs)
    try:
        connection.set_busy_timeout(BUSY_TIMEOUT_MS)
        if mode == "create":
            connection.execute(f"PRAGMA page_size={PAGE_BYTES}; PRAGMA auto_vacuum=INCREMENTAL")
        if mode != "read":
            # A statement that answers a row stops the ones behind it until the row is fetched: hence one by one.
            connection.pragma("journal_mode", "wal")
            connection.pragma("synchronous", "full")
            connection.pragma("temp_store", "memory")
            connection.wal_autocheckpoint(0)
    except BaseException:
        connection.close()
        raise
    return connection


def translate(error: apsw.Error | OSError, what: str, connection: apsw.Connection | None = None) -> JournalError:
    """The journal's error for SQLite's: full (retry when there is space), corrupt, or failed (never retry).

    A failed fsync is never "full", whatever its errno: the kernel may have dropped the pages it could not write.
    """
    extended = getattr(error, "extendedresult", 0)
    number = error.errno if isinstance(error, OSError) else (connection.system_errno if connection else 0)
    if extended not in _FSYNC_CODES:
        lack_of_space = isinstance(error, apsw.IOError | apsw.CantOpenError | OSError) and number in _FULL_ERRNOS
        if isinstance(error, apsw.FullError) or lack_of_space:
            return JournalFull(f"no space to write {what}: {error}")
    if isinstance(error, apsw.CorruptError | apsw.NotADBError):
        return JournalCorrupt(f"{what} is damaged: {error}")
    return JournalFailed(f"writing {what} failed: {error}")


def rollback(connection: apsw.Connection) -> None:
    """End an open transaction, if SQLite has not done so already."""
    if connection.in_transaction:
        connection.execute("ROLLBACK")


def sync_directory(directory: Path) -> None:
    """Make the names in a directory durable. Raises: OSError."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
