"""The files of large outputs, and how they are made: the folder `outputs` beside the store's own file.

A file is made apart, by one process, and is a collection's once the store's own file says so (its table `placed`):
then it is like any other, until another takes its place and it is removed. Names are never used twice.

    3f9c...e1.sqlite            a DocumentTable
    3f9c...e1.building          while it is being made: locked (flock) by who makes it; holds the commit's id

The kernel lets the lock go when its process ends, however that happens: what is neither placed nor locked is left
over, from a crash or because another file took its place, and `sweep` removes it. A file is placed while it is
locked, so that one which is found unlocked and not placed never will be. Who still reads a file that is removed keeps
it: it is open, and only its name is gone. Its space comes back when the last reader lets go.
"""

from __future__ import annotations

import fcntl
import os
import secrets
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import apsw

from zarkov.errors import DocumentExists, StoreFailed
from zarkov.store.contract import Row
from zarkov.store.document_table import SCHEMA, DocumentTable

_DATA, _BUILDING = ".sqlite", ".building"
#: What SQLite puts beside a database.
_BESIDE = (f"{_DATA}-wal", f"{_DATA}-shm")
_CACHE_KIB = 16 * 1024
_COMMIT_BYTES = 4096


class OutputFiles:
    """The folder; it is made at the first use. Raises, from every method: StoreFailed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def table(self, name: str) -> DocumentTable:
        """The documents of a file, under the collection "". It is opened at the first use."""
        return DocumentTable(self.folder / f"{name}{_DATA}", must_exist=True)

    @contextmanager
    def build(self, commit: str) -> Iterator[Build]:
        """Make a file. It is to be placed before the context ends; `sweep` removes it if it was not."""
        name, lock = self._begin(commit)
        build = Build(name, self.folder / f"{name}{_DATA}")
        try:
            yield build
        finally:
            build.close()
            os.close(lock)

    def unfinished(self) -> set[str]:
        """The commits that left files behind whose makers have ended."""
        found: set[str] = set()
        for name in self._names():
            with self._unmade(name) as commit:
                found.update([commit] if commit else [])
        return found

    def sweep(self, is_placed: Callable[[str], bool]) -> None:
        """Remove what is neither placed nor being made."""
        for name in self._names():
            with self._unmade(name) as commit:
                if commit is not None:
                    self._remove(name, () if is_placed(name) else (_DATA, *_BESIDE))

    def _begin(self, commit: str) -> tuple[str, int]:
        """A new name, and the file that locks it: open, locked, and not swept away before it was."""
        with _translated(self.folder):
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            while True:
                name = secrets.token_hex(16)
                path = self.folder / f"{name}{_BUILDING}"
                lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
                fcntl.flock(lock, fcntl.LOCK_EX)
                if os.fstat(lock).st_nlink:
                    os.write(lock, commit.encode())
                    return name, lock
                os.close(lock)

    def _remove(self, name: str, endings: Iterable[str]) -> None:
        for ending in (*endings, _BUILDING):
            with _translated(self.folder), suppress(FileNotFoundError):
                (self.folder / f"{name}{ending}").unlink()

    def _names(self) -> list[str]:
        return sorted({path.name.partition(".")[0] for path in self.folder.glob("*.*")})

    @contextmanager
    def _unmade(self, name: str) -> Iterator[str | None]:
        """The commit of a file that nobody makes, or "" if it is not known; None while it is being made."""
        try:
            lock = os.open(self.folder / f"{name}{_BUILDING}", os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            yield ""
            return
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            commit: str | None = os.read(lock, _COMMIT_BYTES).decode("utf-8", "replace")
        except BlockingIOError:
            commit = None
        try:
            yield commit
        finally:
            os.close(lock)


class Build:
    """A file in the making. `name`: what it is placed under; `count`: documents so far."""

    def __init__(self, name: str, path: Path) -> None:
        self.name = name
        self.path = path
        self.count = 0
        self._opened: apsw.Connection | None = None

    def add(self, rows: list[Row]) -> None:
        """Write documents, in any order. Raises: DocumentExists: two have the same `_id`."""
        with _translated(self.path):
            if self._opened is None:
                self._opened = _open(self.path)
            self._opened.executemany("INSERT INTO document VALUES ('', ?, ?)", rows)
        self.count += len(rows)

    def finish(self) -> None:
        """Everything is written: make it a file like any other. Durability: synced once this returns."""
        self.add([])
        with _translated(self.path):
            assert self._opened is not None
            self._opened.execute("COMMIT")
            self._opened.pragma("journal_mode", "wal")
            self.close()
            _sync(self.path)
            _sync(self.path.parent)
            _sync(self.path.parent.parent)

    def close(self) -> None:
        """Write no more."""
        if self._opened is not None:
            self._opened.close()
            self._opened = None


def _open(path: Path) -> apsw.Connection:
    """Nobody else knows the file, and after a crash nobody wants it: no journal and no sync before the end."""
    connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_CREATE)
    try:
        os.chmod(path, 0o600)
        connection.pragma("journal_mode", "off")
        connection.pragma("synchronous", "off")
        connection.pragma("cache_size", -_CACHE_KIB)
        connection.execute(SCHEMA)
        connection.execute("BEGIN EXCLUSIVE")
    except BaseException:
        connection.close()
        raise
    return connection


def _sync(path: Path) -> None:
    file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(file)
    finally:
        os.close(file)


@contextmanager
def _translated(path: Path) -> Iterator[None]:
    try:
        yield
    except apsw.ConstraintError as error:
        raise DocumentExists(
            "two documents of one output have the same `_id`",
            hint="Give each key once; `reduce` makes one of several.",
        ) from error
    except apsw.FullError as error:
        hint = "Free space on the disk of `data_dir`; nothing of the output can be seen."
        raise StoreFailed(f"there is no space to write {path}", hint=hint) from error
    except (apsw.Error, OSError) as error:
        raise StoreFailed(f"{path} cannot be written: {error}") from error
