"""Outputs in MongoDB; see contract.Outputs. It needs no transactions.

Theory of operation. Documents are first written to a collection of their own, `zarkov.stage.*`; when all are there
the commit is *decided*, in one write (`mongo_commits`). What follows can be repeated from its beginning, by whoever
comes:

    replace     the stage is renamed to the target, in one step; it is done when there is no stage any more
    merge       documents are copied with the commit's mark, where that is not there yet; then the marks are taken off

What a crash leaves behind: before the decision nothing to be seen, and a stage that the next attempt or `settle`
drops; after it a commit that the next attempt, the next commit of the collection or `settle` finishes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from datetime import datetime
from typing import TYPE_CHECKING, Any

from bson import ObjectId
from pymongo import ReadPreference
from pymongo.write_concern import WriteConcern

from zarkov import codec
from zarkov.crash import crash_point
from zarkov.errors import StoreError, StoreFailed
from zarkov.event import Document
from zarkov.store.contract import Row
from zarkov.store.encoded import batches, encoded, with_id
from zarkov.store.keys import id_key
from zarkov.store.mongo_commits import Commit, Commits, Kind, utc_now
from zarkov.store.mongo_errors import translated
from zarkov.store.mongo_stage import copy_indexes, copy_marked, insert, marked, raw, take_marks_off, take_place
from zarkov.store.names import check_commit

if TYPE_CHECKING:
    from pymongo.database import Database

#: Keys that one query asks for.
ASKED_COUNT = 1_000


class MongoOutput:
    """Writes outputs into one database. Thread-safe."""

    def __init__(
        self,
        database: Database[Any],
        new_id: Callable[[], ObjectId] = ObjectId,
        *,
        now: Callable[[], datetime] = utc_now,
    ) -> None:
        self._database = database.with_options(
            write_concern=WriteConcern(w="majority", j=True), read_preference=ReadPreference.PRIMARY
        )
        self._commits = Commits(self._database, now)
        self._new_id = new_id

    def replace(self, name: str, documents: Iterable[Document | Row], *, commit: str) -> bool:
        """Make these documents the whole content of a collection."""
        return self._write(name, documents, commit, "replace")

    def merge(self, name: str, documents: Iterable[Document | Row], *, commit: str) -> bool:
        """Write whole documents by their `_id`."""
        return self._write(name, documents, commit, "merge")

    def was_committed(self, commit: str, name: str) -> bool:
        """Whether this is done."""
        with translated():
            found = self._commits.find(commit, name)
        return found is not None and found.state == "done"

    def stored(self, name: str, rows: Sequence[Row]) -> list[Row]:
        """The documents with the `_id`s of these."""
        found: list[Row] = []
        self._finish_others(name)
        for at in range(0, len(rows), ASKED_COUNT):
            idents = [codec.decode(data)["_id"] for _, data in rows[at : at + ASKED_COUNT]]
            with translated():
                for batch in self._database[name].find_raw_batches({"_id": {"$in": idents}}):
                    found += [(id_key(codec.decode(data)["_id"]), data) for data in codec.split(batch)]
        return found

    def unsettled(self) -> list[str]:
        """The commits that are not done and show no life."""
        with translated():
            return self._commits.idle()

    def settle(self, commit: str) -> None:
        """Finish what was decided, remove the rest."""
        with translated(StoreFailed):
            for each in self._commits.under_way(commit):
                if each.is_decided:
                    self._finish(each)
                else:
                    self._abandon(each)

    def _write(self, name: str, documents: Iterable[Document | Row], commit: str, kind: Kind) -> bool:
        check_commit(commit, name)
        with translated(StoreFailed):
            found = self._commits.find(commit, name)
            if found is not None and found.is_decided:
                self._finish(found)
                return False
            if found is not None:
                self._abandon(found)
            self._finish_others(name)
            begun = self._commits.begin(commit, name, kind)
        try:
            self._stage(begun, documents)
        except Exception:
            with suppress(StoreError), translated():
                self._database.drop_collection(begun.stage)  # also if another attempt took over: only this one had it
                self._abandon(begun)
            raise
        with translated(StoreFailed):
            decided = self._commits.move(begun, "staged")
            crash_point("before_publish")
            self._finish(decided)
        return True

    def _stage(self, begun: Commit, documents: Iterable[Document | Row]) -> None:
        stage = raw(self._database, begun.stage)
        with translated(StoreFailed):
            self._database.create_collection(begun.stage)
        for rows in batches(documents, self._row):
            if begun.kind == "merge":
                rows = [(key, marked(data, begun.commit)) for key, data in rows]
            with translated(StoreFailed):
                insert(stage, rows)
                self._commits.touch(begun)
            crash_point("in_stage")
        if begun.kind == "replace":
            with translated(StoreFailed):
                copy_indexes(raw(self._database, begun.collection), stage)
        crash_point("after_stage")

    def _abandon(self, attempt: Commit) -> None:
        """Undo what was not decided."""
        dropping = attempt if attempt.state == "dropping" else self._commits.move(attempt, "dropping")
        self._database.drop_collection(dropping.stage)
        self._commits.remove(dropping)

    def _finish_others(self, name: str) -> None:
        """Commits of a collection are written in the order in which they were decided."""
        with translated(StoreFailed):
            for each in self._commits.decided(name):
                self._finish(each)

    def _finish(self, decided: Commit) -> None:
        """From where it is to the end."""
        if decided.state == "done":
            return
        stage, target = raw(self._database, decided.stage), raw(self._database, decided.collection)

        def touch() -> None:
            self._commits.touch(decided)

        if decided.state == "staged" and decided.kind == "replace":
            take_place(stage, target, touch)
        elif decided.state == "staged":
            copy_marked(stage, target, decided.commit, touch)
            decided = self._commits.move(decided, "applied")
        if decided.state == "applied":
            take_marks_off(stage, target, decided.commit, touch)
            stage.drop()
        crash_point("after_publish")
        self._commits.move(decided, "done")

    def _row(self, document: Document) -> Row:
        return b"", encoded(with_id(document, self._new_id))
