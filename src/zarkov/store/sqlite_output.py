"""Outputs in the embedded store; see contract.Outputs.

Theory of operation. A *small* output (one batch: at most BATCH_COUNT documents, so that a reader has all of them in
one page) is written into the first file by one transaction. A larger one is made in a file of its own, which becomes
the home of its collection (`replace`), or is copied into the one that the collection has (`merge`), by one
transaction there. A collection of SHARED_MAX documents and more moves to a file of its own when it is merged into:
from then on nobody else waits for it.

A commit is noted in the transaction that writes it, in the same file. What a crash leaves behind:

    before that transaction is committed     nothing to be seen; a file that is no collection's
    after it                                 everything; a file or rows that are no collection's any more

Both are removed after the next commit, or by `settle`. Nothing is ever decided and not done.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain

from bson import ObjectId

from zarkov.crash import crash_point
from zarkov.errors import DocumentExists, StoreFailed
from zarkov.event import Document
from zarkov.store.contract import Row
from zarkov.store.document_file import ATTEMPTS_MAX, DocumentFile
from zarkov.store.document_table import DocumentTable
from zarkov.store.encoded import BATCH_COUNT, batches, row_of, with_id
from zarkov.store.names import check_commit
from zarkov.store.output_files import Build

#: Documents that a collection may have in the first file when a merge comes; they are moved while others wait.
SHARED_MAX = 10_000

_log = logging.getLogger(__name__)


class SqliteOutput:
    """Writes outputs into a document file. Thread-safe."""

    def __init__(self, file: DocumentFile, new_id: Callable[[], ObjectId] = ObjectId) -> None:
        self._file = file
        self._new_id = new_id

    def replace(self, name: str, documents: Iterable[Document | Row], *, commit: str) -> bool:
        """Make these documents the whole content of a collection, in one step."""
        return self._once(name, commit, lambda: self._replace(name, documents, commit))

    def merge(self, name: str, documents: Iterable[Document | Row], *, commit: str) -> bool:
        """Write whole documents by their `_id`, in one step."""
        return self._once(name, commit, lambda: self._merge(name, documents, commit))

    def was_committed(self, commit: str, name: str) -> bool:
        """Whether this was written; it is noted where the collection lies, or in the first file."""
        if not self._file.path.exists():
            return False
        # In this order: what was noted moves from a file of its own to the first one, never back.
        return self._file.home(name).table.has_noted(commit, name) or self._file.main.has_noted(commit, name)

    def stored(self, name: str, rows: Sequence[Row]) -> list[Row]:
        """The documents under these keys."""
        return self._file.get_many(name, [key for key, _ in rows]) if self._file.path.exists() else []

    def unsettled(self) -> list[str]:
        """The commits whose makers ended before theirs were placed."""
        return sorted(self._file.outputs.unfinished())

    def settle(self, commit: str) -> None:
        """Remove what is left over, of this commit and of others."""
        self._file.tidy()

    def _once(self, name: str, commit: str, write: Callable[[], None]) -> bool:
        check_commit(commit, name)
        try:
            if self.was_committed(commit, name):
                return False
            write()
        except _Committed:
            return False
        finally:
            self._tidy()
        return True

    def _replace(self, name: str, documents: Iterable[Document | Row], commit: str) -> None:
        first, rest = self._begun(documents)
        if rest is None and self._replace_small(name, first, commit):
            return
        with self._file.outputs.build(commit) as build:
            _fill(build, first, rest)
            with self._file.placing(name) as placing:
                self._claim(self._file.main, placing.homes[name].table, name, commit)
                placing.place(name, build.name)
                crash_point("in_publish")
            crash_point("after_publish")

    def _replace_small(self, name: str, rows: list[Row], commit: str) -> bool:
        """False: the collection has, or needs, a file of its own."""
        with self._file.transaction(name) as home:
            if home.file is not None or home.table.count(name, BATCH_COUNT + 1) > BATCH_COUNT:
                return False
            self._claim(home.table, home.table, name, commit)
            home.table.clear(name)
            home.table.put_many(name, rows)
            crash_point("in_publish")
        crash_point("after_publish")
        return True

    def _merge(self, name: str, documents: Iterable[Document | Row], commit: str) -> None:
        first, rest = self._begun(documents)
        if rest is None and self._merge_small(name, first, commit):
            return
        with self._file.outputs.build(commit) as build:
            _fill(build, first, rest)
            for _ in range(ATTEMPTS_MAX):
                file = self._file.file_of(name)
                if self._move(name, build, commit) if file is None else self._absorb(name, file, build, commit):
                    crash_point("after_publish")
                    return
        raise StoreFailed(f"{name!r} is replaced again and again", hint="Try again.")

    def _merge_small(self, name: str, rows: list[Row], commit: str) -> bool:
        """False: the collection needs a file of its own."""
        with self._file.transaction(name) as home:
            if home.file is None and home.table.count(name, SHARED_MAX) == SHARED_MAX:
                return False
            self._claim(home.table, home.table, name, commit)
            home.table.put_many(home.collection, rows)
            crash_point("in_publish")
        crash_point("after_publish")
        return True

    def _move(self, name: str, build: Build, commit: str) -> bool:
        """Make the new file the collection's, with what it had in the first file; False: it has one already."""
        made = self._file.outputs.table(build.name)
        try:
            with self._file.placing(name) as placing:
                home = placing.homes[name]
                if home.file is not None:
                    return False
                self._claim(home.table, home.table, name, commit)
                with made.transaction():
                    for page in home.table.pages(name):
                        made.put_many("", page, keep=True)
                placing.place(name, build.name)
                crash_point("in_publish")
        finally:
            made.close()
        return True

    def _absorb(self, name: str, file: str, build: Build, commit: str) -> bool:
        """Copy the new file into the one that the collection has; False: that one is its home no more.

        By a connection of its own, so that this process's other threads go on reading the collection.
        """
        table = self._file.outputs.table(file)

        def is_home() -> bool:
            if self._file.file_of(name) != file:
                return False
            self._claim(table, table, name, commit)
            return True

        try:
            absorbed = table.absorb(build.path, is_home)
        except StoreFailed:
            if self._file.file_of(name) == file:
                raise
            return False
        finally:
            table.close()
        return absorbed

    def _claim(self, table: DocumentTable, home: DocumentTable, name: str, commit: str) -> None:
        """Note the commit in the transaction that is open in `table`. Raises: _Committed: it was done before."""
        if home.has_noted(commit, name) or self._file.main.has_noted(commit, name):
            raise _Committed
        table.note([(commit, name)])

    def _begun(self, documents: Iterable[Document | Row]) -> tuple[list[Row], Iterator[list[Row]] | None]:
        """The first batch, and the others if there are any. Raises: DocumentExists: in the first is one twice."""
        some = batches(documents, lambda document: row_of(with_id(document, self._new_id)))
        first = next(some, [])
        if len({key for key, _ in first}) != len(first):
            raise DocumentExists(
                "two documents of one output have the same `_id`",
                hint="Give each key once; `reduce` makes one of several.",
            )
        second = next(some, None)
        return first, None if second is None else chain([second], some)

    def _tidy(self) -> None:
        """What cannot be removed now is at the next commit: this one is not worse for it."""
        try:
            self._file.tidy()
        except StoreFailed as error:
            _log.warning("left over files of outputs: %s", error)


class _Committed(Exception):
    """Another attempt was quicker."""


def _fill(build: Build, first: list[Row], rest: Iterator[list[Row]] | None) -> None:
    for rows in chain([first], rest or ()):
        build.add(rows)
        crash_point("in_stage")
    build.finish()
    crash_point("after_stage")
