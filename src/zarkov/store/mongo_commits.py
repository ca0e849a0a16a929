"""How far commits of outputs are, in MongoDB: the collection `zarkov.commits`.

    {_id, commit, collection, kind, state, stage?, at}

    staging     documents are being written to the collection `stage`, by the attempt that named it
    dropping    they will not be: `stage` is being dropped
    staged      decided: everything is there; from now on it is only finished, by whoever comes
    applied     [merge] everything is copied; the marks are being taken off
    done        `stage` is gone

A step is taken only from where this attempt left the commit: who finds it elsewhere was overtaken. `at` is the last
sign of life. Of those done the newest COMMITS_MAX are kept, and at times a few more.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Literal
from urllib.parse import quote

from bson import ObjectId
from pymongo import ReadPreference
from pymongo.database import Database
from pymongo.errors import DuplicateKeyError
from pymongo.write_concern import WriteConcern

from zarkov.errors import StoreUnreachable
from zarkov.event import Document
from zarkov.store.contract import COMMITS_MAX, UNSETTLED_S

COMMITS = "zarkov.commits"
#: How the names of the collections begin in which documents wait until they are published.
STAGES = "zarkov.stage."
#: Commits beyond COMMITS_MAX that are let be, so that old ones are not looked for each time.
_SLACK = 1_000

Kind = Literal["replace", "merge"]
State = Literal["staging", "dropping", "staged", "applied", "done"]


@dataclass(frozen=True, slots=True)
class Commit:
    """One commit of one collection; `stage` is "" when it is done."""

    commit: str
    collection: str
    kind: Kind
    state: State
    stage: str

    @property
    def is_decided(self) -> bool:
        """Whether it is written, or will be."""
        return self.state in ("staged", "applied", "done")


class Commits:
    """Durability: what a method writes is journaled, by a majority where there is a replica set, once it returns.

    Raises, from every method: PyMongoError. StoreUnreachable: another attempt at the commit took over.
    """

    def __init__(self, database: Database[Document], now: Callable[[], datetime]) -> None:
        self._collection = database.get_collection(
            COMMITS, write_concern=WriteConcern(w="majority", j=True), read_preference=ReadPreference.PRIMARY
        )
        self._now = now

    def find(self, commit: str, collection: str) -> Commit | None:
        """How far it is; None when it was never begun, or is forgotten."""
        found = self._collection.find_one({"_id": _id_of(commit, collection)})
        return _commit(found) if found else None

    def begin(self, commit: str, collection: str, kind: Kind) -> Commit:
        """Begin, with a stage of its own, if none is there."""
        begun = Commit(commit, collection, kind, "staging", f"{STAGES}{ObjectId()}")
        document = {"_id": _id_of(commit, collection), "commit": commit, "collection": collection}
        try:
            self._collection.insert_one({**document, "kind": kind, **self._values(begun)})
        except DuplicateKeyError as error:
            raise _overtaken(begun) from error
        return begun

    def move(self, before: Commit, state: State) -> Commit:
        """Take a step."""
        after = replace(before, state=state)
        change: Document = {"$set": self._values(after)}
        if state == "done":
            del change["$set"]["stage"]
            change["$unset"] = {"stage": ""}
        if self._collection.update_one(self._here(before), change).matched_count != 1:
            raise _overtaken(before)
        if state == "done":
            self._forget()
        return after

    def touch(self, commit: Commit) -> None:
        """Show life."""
        if self._collection.update_one(self._here(commit), {"$set": {"at": self._now()}}).matched_count != 1:
            raise _overtaken(commit)

    def remove(self, commit: Commit) -> None:
        """Forget an attempt that was not decided."""
        self._collection.delete_one(self._here(commit))

    def decided(self, collection: str) -> list[Commit]:
        """The commits of a collection that are decided and not done."""
        wanted = {"collection": collection, "state": {"$in": ["staged", "applied"]}}
        return [_commit(each) for each in self._collection.find(wanted)]

    def under_way(self, commit: str) -> list[Commit]:
        """The collections of a commit that are not done."""
        return [_commit(each) for each in self._collection.find({"commit": commit, "state": {"$ne": "done"}})]

    def idle(self) -> list[str]:
        """The commits that are not done, and show no life for UNSETTLED_S."""
        before = self._now() - timedelta(seconds=UNSETTLED_S)
        found = self._collection.find({"state": {"$ne": "done"}, "at": {"$lt": before}}, {"commit": 1})
        return sorted({str(each["commit"]) for each in found})

    def _forget(self) -> None:
        if self._collection.estimated_document_count() <= COMMITS_MAX + _SLACK:
            return
        old = self._collection.find({"state": "done"}, {"_id": 1}, sort=[("at", -1)], skip=COMMITS_MAX)
        self._collection.delete_many({"_id": {"$in": [each["_id"] for each in old]}})

    def _values(self, commit: Commit) -> Document:
        return {"state": commit.state, "stage": commit.stage, "at": self._now()}

    def _here(self, commit: Commit) -> Document:
        return {"_id": _id_of(commit.commit, commit.collection), "state": commit.state, "stage": commit.stage}


def _id_of(commit: str, collection: str) -> str:
    return f"{quote(commit, safe='')} {collection}"


def _commit(found: Document) -> Commit:
    return Commit(found["commit"], found["collection"], found["kind"], found["state"], found.get("stage", ""))


def _overtaken(commit: Commit) -> StoreUnreachable:
    return StoreUnreachable(
        f"another attempt at the commit {commit.commit!r} of {commit.collection!r} took over",
        hint="Ask again with the same id: it is written once.",
    )


def utc_now() -> datetime:
    """The time as MongoDB keeps it: naive, UTC."""
    return datetime.now(UTC).replace(tzinfo=None)
