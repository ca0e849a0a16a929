"""The loader's own documents in MongoDB: the collection `zarkov.loader`.

    {_id: journal id, next_offset, last: {offset, _id}, rewind_to?, updated}    one for each journal
    {_id: "rotation", ordinal, renaming?, updated}                              see load_rotation
    {_id: "probe", at}                                                          written to see whether it can be

`next_offset`: every event before it is stored, or rejected. `last` is the newest event that is stored: where it is
not found any more, the database is not the one that was loaded. `rewind_to` asks the loader to begin there again.
A checkpoint is moved only from where this loader left it; who finds it elsewhere looks at everything anew.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from bson import Int64, ObjectId
from pymongo import ReadPreference
from pymongo.errors import DuplicateKeyError
from pymongo.write_concern import WriteConcern

from zarkov.errors import StoreUnreachable
from zarkov.store.load_ports import CHECKPOINTS, MongoDatabase


@dataclass(frozen=True, slots=True)
class Last:
    """The newest stored event of a journal."""

    offset: int
    id: ObjectId


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What MongoDB says of one journal; `next_offset` is None where there is only a rewind asked for."""

    next_offset: int | None
    last: Last | None
    rewind_to: int | None


class Checkpoints:
    """Durability: what a method writes is journaled, by a majority where there is a replica set, once it returns.

    Raises, from every method: PyMongoError. StoreUnreachable: the checkpoint was moved by someone else.
    """

    def __init__(self, database: MongoDatabase, now: Callable[[], datetime]) -> None:
        self.collection = database.get_collection(
            CHECKPOINTS, write_concern=WriteConcern(w="majority", j=True), read_preference=ReadPreference.PRIMARY
        )
        self._now = now

    def read(self, journal_id: str) -> Checkpoint | None:
        """The checkpoint of a journal; None when there is none."""
        found = self.collection.find_one({"_id": journal_id})
        if found is None:
            return None
        last = found.get("last")
        return Checkpoint(
            _number(found.get("next_offset")),
            Last(int(last["offset"]), last["_id"]) if last else None,
            _number(found.get("rewind_to")),
        )

    def create(self, journal_id: str, next_offset: int) -> None:
        """The first checkpoint of a journal."""
        try:
            self.collection.insert_one({"_id": journal_id, "next_offset": Int64(next_offset), "updated": self._now()})
        except DuplicateKeyError as error:
            raise _moved(journal_id) from error

    def move(self, journal_id: str, before: int, after: int, last: Last | None) -> None:
        """From `before` to `after`; `last` stays as it is when None."""
        values: dict[str, Any] = {"next_offset": Int64(after), "updated": self._now()}
        if last is not None:
            values["last"] = {"offset": Int64(last.offset), "_id": last.id}
        here = {"_id": journal_id, "next_offset": before, "rewind_to": {"$exists": False}}
        if self.collection.update_one(here, {"$set": values}).matched_count != 1:
            raise _moved(journal_id)

    def ask_rewind(self, journal_id: str, offset: int) -> None:
        """Have the loader begin at `offset` again."""
        values = {"rewind_to": Int64(offset), "updated": self._now()}
        self.collection.update_one({"_id": journal_id}, {"$set": values}, upsert=True)

    def rewound(self, journal_id: str, offset: int) -> None:
        """The rewind that was asked for is done: the loader begins at `offset`."""
        values = {"next_offset": Int64(offset), "updated": self._now()}
        self.collection.update_one({"_id": journal_id}, {"$set": values, "$unset": {"rewind_to": "", "last": ""}})

    def probe(self) -> None:
        """Raises: PyMongoError: the server takes no writes now."""
        self.collection.replace_one({"_id": "probe"}, {"at": self._now()}, upsert=True)

    def rotation(self) -> Mapping[str, Any] | None:
        """The document of `load_rotation`."""
        return self.collection.find_one({"_id": "rotation"})

    def set_rotation(self, values: Mapping[str, Any]) -> None:
        """Replace the document of `load_rotation`."""
        self.collection.replace_one({"_id": "rotation"}, {**values, "updated": self._now()}, upsert=True)


def _number(value: object) -> int | None:
    return value if isinstance(value, int) else None


def _moved(journal_id: str) -> StoreUnreachable:
    return StoreUnreachable(f"the checkpoint of journal {journal_id} in MongoDB was moved by someone else")


def utc_now() -> datetime:
    """The time as MongoDB keeps it: naive, UTC."""
    return datetime.now(UTC).replace(tzinfo=None)
