"""The documents of the embedded store: definitions, jobs, checkpoints, aggregates, and the outputs of map-reduce.

Most collections lie together in one file, `documents.sqlite`. A large output lies in a file of its own (a collection
is *placed* there), so that writing it holds up nobody else: it is made apart and published by one small transaction
of the first file. What is always true:

- A collection has one home. Who writes takes the lock of the home's file, then makes sure that it is still the home;
  who places a collection holds the lock of its old home and that of the first file. Locks are taken in this order.
- A transaction writes to one file.
- A file that is the home no more is removed, and never written again. Who began to read in it reads it to its
  end; a file that was opened is read only if it still was the home afterwards.
- The rows that a placed collection has in the first file are leftovers of the time before; nobody reads them.

A long find reads page by page and sees changes made behind its place; but of a collection that is replaced meanwhile
it sees the old content, or it fails.

The first file is made at the first use, not before: a process that only reads events leaves no trace.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple, TypeVar

from zarkov.errors import DocumentExists, StoreFailed
from zarkov.store.contract import Row
from zarkov.store.document_table import PAGE_COUNT, DocumentTable
from zarkov.store.output_files import OutputFiles

#: The folder of the placed collections' files, beside the first file.
OUTPUTS_NAME = "outputs"
#: Placed collections that are kept open.
OPEN_MAX = 32
#: How often a home is looked for when it is replaced again and again.
ATTEMPTS_MAX = 20
#: Leftover rows that one transaction removes.
CLEARED_COUNT = 2_000

_T = TypeVar("_T")


class Home(NamedTuple):
    """Where a collection lies, and what it is called there; `file` is None for the first file."""

    table: DocumentTable
    collection: str
    file: str | None


class DocumentFile:
    """Documents as bytes, by collection and key. Thread-safe; every method raises StoreFailed."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.main = DocumentTable(path)
        self.outputs = OutputFiles(path.parent / OUTPUTS_NAME)
        self._open: OrderedDict[str, Home] = OrderedDict()
        self._lock = threading.Lock()
        self._inside = threading.local()

    @contextmanager
    def transaction(self, collection: str | None = None) -> Iterator[Home]:
        """All writes inside commit together, synced, when it ends; an exception undoes them. Nests into one.

        Args:   collection: whose home is written to; None: the first file.
        Raises: StoreFailed: this thread is in a transaction of another file.
        """
        entered: Home | None = getattr(self._inside, "home", None)
        if entered is not None:
            home = self._first(collection) if collection is None else self.home(collection)
            if home.table is not entered.table:
                raise _apart(collection or self.path.name)
            yield home
            return
        for _ in range(ATTEMPTS_MAX):
            home = self._first(collection) if collection is None else self.home(collection)
            with home.table.transaction():
                if collection is None or self.file_of(collection) == home.file:
                    self._inside.home, self._inside.collection = home, collection
                    try:
                        yield home
                    finally:
                        self._inside.home = None
                    return
        raise _restless(collection or "")

    def home(self, collection: str) -> Home:
        """Where a collection lies now."""
        entered: Home | None = getattr(self._inside, "home", None)
        if entered is not None and self._inside.collection == collection:
            return entered
        for _ in range(ATTEMPTS_MAX):
            file = self.file_of(collection)
            if file is None:
                return self._first(collection)
            with self._lock:
                found = self._open.get(collection)
            if found is not None and found.file == file:
                return found
            found = Home(self.outputs.table(file), "", file)
            try:
                found.table.count("", 1)
            except StoreFailed:
                if self.file_of(collection) == file:
                    raise
                continue
            if self.file_of(collection) == file:
                self._keep(collection, found)
                return found
            found.table.close()
        raise _restless(collection)

    def file_of(self, collection: str) -> str | None:
        """The name of the file in which a collection is placed; None: the first file."""
        rows = self.main.rows("SELECT file FROM placed WHERE collection = ?", (collection,))
        return str(rows[0][0]) if rows else None

    def placed(self) -> dict[str, str]:
        """The placed collections, each with its file."""
        return dict(self.main.rows("SELECT collection, file FROM placed"))

    @contextmanager
    def placing(self, *collections: str) -> Iterator[Placing]:
        """A transaction of the first file that may give these collections another home; nobody writes to them then.

        Raises: StoreFailed: it is one inside another, and they lie in files of their own.
        """
        for _ in range(ATTEMPTS_MAX):
            homes = {name: self.home(name) for name in sorted(collections)}
            tables = {home.file: home.table for home in homes.values() if home.file is not None}
            if tables and getattr(self._inside, "home", None) is not None:
                raise _apart(", ".join(collections))
            with ExitStack() as locks:
                for _, table in sorted(tables.items()):
                    locks.enter_context(table.transaction())
                locks.enter_context(self.main.transaction())
                if all(self.file_of(name) == home.file for name, home in homes.items()):
                    yield Placing(self.main, homes)
                    return
        raise _restless(", ".join(collections))

    def tidy(self) -> None:
        """Remove what is left over: files and rows that are no collection's any more."""
        if not self.path.exists():
            return
        self.outputs.sweep(self._is_placed)
        for collection in self.placed():
            while self.main.count(collection, 1):
                with self.main.transaction():
                    if self.file_of(collection) is None:
                        break
                    self.main.clear_some(collection, CLEARED_COUNT)

    def get(self, collection: str, key: bytes) -> bytes | None:
        """The document with this key."""
        return self._read(collection, lambda home: home.table.get(home.collection, key))

    def get_many(self, collection: str, keys: Sequence[bytes]) -> list[Row]:
        """The (key, data) of those of the keys that are there."""
        return self._read(collection, lambda home: home.table.get_many(home.collection, keys))

    def put(self, collection: str, key: bytes, data: bytes) -> None:
        """Insert or replace."""
        with self.transaction(collection) as home:
            home.table.put(home.collection, key, data)

    def remove(self, collection: str, key: bytes) -> None:
        """Delete, if it is there."""
        with self.transaction(collection) as home:
            home.table.remove(home.collection, key)

    def pages(self, collection: str, first: bytes, stop: bytes, *, descending: bool = False) -> Iterator[list[Row]]:
        """The (key, data) of the keys from `first` to `stop` (excluded), in order, a page at a time.

        Raises: StoreFailed: the collection got another content meanwhile, and the old one is going.
        """
        for _ in range(ATTEMPTS_MAX):
            home, count, size = self.home(collection), 0, 0
            for page in home.table.pages(home.collection, first, stop, descending=descending):
                if self._is_left(home, collection):
                    break
                count, size = count + 1, len(page)
                yield page
            else:
                if (count and size < PAGE_COUNT) or not self._is_left(home, collection):
                    return
            if count:
                raise StoreFailed(f"{collection!r} was replaced while it was read", hint="Read it again.")
        raise _restless(collection)

    def count(self, collection: str) -> int:
        """How many documents a collection has."""
        return self._read(collection, lambda home: home.table.count(home.collection))

    def names(self) -> list[str]:
        """The collections that hold documents, sorted."""
        placed = self.placed()
        holding = [name for name in placed if self._read(name, lambda home: home.table.count(home.collection, 1))]
        return sorted([*holding, *(name for name in self.main.names() if name not in placed)])

    def drop(self, collection: str | None = None) -> None:
        """Delete a collection's documents, or all documents."""
        names = self.placed() if collection is None else (collection,)
        for name in names:
            with self.placing(name) as placing:
                placing.empty(name)
        if collection is None:
            self.main.clear()
        self.tidy()

    def rename(self, old: str, new: str, *, drop_target: bool) -> None:
        """Give the documents of one collection to another name; `drop_target`: in place of what that one had.

        Raises: DocumentExists: it has documents, and `drop_target` is false.
        """
        with self.placing(old, new) as placing:
            if not drop_target and placing.homes[new].table.count(placing.homes[new].collection, 1):
                raise DocumentExists(f"there is a collection {new!r} already", hint="Pass drop_target=True.")
            placing.rename(old, new)
        self.tidy()

    def close(self) -> None:
        """Close the files; a later call opens them again."""
        self.main.close()
        with self._lock:
            homes = [*self._open.values()]
            self._open.clear()
        for home in homes:
            home.table.close()

    def _read(self, collection: str, read: Callable[[Home], _T]) -> _T:
        """What one short read gives."""
        for _ in range(ATTEMPTS_MAX):
            home = self.home(collection)
            found = read(home)
            if not self._is_left(home, collection):
                return found
        raise _restless(collection)

    def _is_left(self, home: Home, collection: str) -> bool:
        """Whether the first file is the home no more, so that what was read there may be half gone.

        A file of its own is whole whenever it is read, and in a transaction of the first file nothing is placed.
        """
        entered: Home | None = getattr(self._inside, "home", None)
        if home.file is not None or (entered is not None and entered.file is None):
            return False
        return self.file_of(collection) is not None

    def _is_placed(self, file: str) -> bool:
        return bool(self.main.rows("SELECT 1 FROM placed WHERE file = ?", (file,)))

    def _first(self, collection: str | None) -> Home:
        return Home(self.main, collection or "", None)

    def _keep(self, collection: str, home: Home) -> None:
        """Tables that are not kept any more close when the last cursor that reads them is gone."""
        with self._lock:
            self._open[collection] = home
            self._open.move_to_end(collection)
            if len(self._open) > OPEN_MAX:
                self._open.popitem(last=False)


class Placing:
    """What can be done where collections change their homes; `homes` are those that they have before."""

    def __init__(self, main: DocumentTable, homes: dict[str, Home]) -> None:
        self.homes = homes
        self._main = main

    def place(self, collection: str, file: str) -> None:
        """Make a file the home of a collection; its rows in the first file are leftovers from now on."""
        self._leave(collection)
        self._main.rows("INSERT OR REPLACE INTO placed VALUES (?, ?)", (collection, file))

    def empty(self, collection: str) -> None:
        """Make the first file the home of a collection, which has nothing there."""
        self._leave(collection)
        self._main.rows("DELETE FROM placed WHERE collection = ?", (collection,))
        self._main.clear(collection)

    def rename(self, old: str, new: str) -> None:
        """Give the content of one collection to another, in place of what that one had."""
        self.empty(new)
        if self.homes[old].file is None:
            self._main.rename(old, new)
        else:
            self._leave(old)
            self._main.clear(old)
            self._main.rows("UPDATE placed SET collection = ? WHERE collection = ?", (new, old))

    def _leave(self, collection: str) -> None:
        """What was committed into a file is remembered where it is looked for, with or without the file."""
        home = self.homes[collection]
        if home.file is not None:
            self._main.note(home.table.noted())


def _apart(what: str) -> StoreFailed:
    return StoreFailed(
        f"{what!r} lies in another file than the rest of the transaction",
        hint="Collections that map-reduce wrote may lie in files of their own; write them one by one.",
    )


def _restless(collection: str) -> StoreFailed:
    return StoreFailed(f"{collection!r} is replaced again and again", hint="Try again.")
