"""Which collection a generation is: `event` is the newest, `event.0` the one before, and so on.

The document `rotation` says which generation (by its ordinal) `event` holds. When a journal has begun a newer one,
the collections are moved up at once, the oldest first: `event.1` to `event.2`, `event.0` to `event.1`, `event` to
`event.0`. What is still to be loaded of an older generation goes to the collection that it has by then.
`renaming` names the next one to move; whatever is above it has moved. A crash at any step is continued:

- its target is not there: it has not moved, so it is moved now;
- it is not there itself: it has moved;
- both are there: it is being copied (see below), or a late insert made it anew. What it holds is added to the target,
  each event once, and it is dropped.

Where the server cannot rename (FerretDB 1 knows no names with a dot), the events are copied instead.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from bson.raw_bson import RawBSONDocument
from pymongo.errors import BulkWriteError, OperationFailure

from zarkov.codec import split
from zarkov.crash import crash_point
from zarkov.errors import StoreUnreachable
from zarkov.store.load_batch import RAW_OPTIONS
from zarkov.store.load_checkpoint import Checkpoints
from zarkov.store.load_errors import DUPLICATE_CODES
from zarkov.store.load_indexes import Indexes
from zarkov.store.load_ports import MongoDatabase

#: Events copied at a time where the server cannot rename.
COPY_COUNT = 1_000
#: CommandNotFound, InvalidNamespace, CommandNotSupported, NotImplemented.
_CANNOT_RENAME = (59, 73, 115, 238)

_events = re.compile(r"event(?:\.(0|[1-9]\d{0,8}))?")


def collection_of(back: int) -> str:
    """The collection of the generation so many before the newest."""
    return "event" if back == 0 else f"event.{back - 1}"


def back_of(name: str) -> int | None:
    """The reverse of `collection_of`; None for any other collection."""
    found = _events.fullmatch(name)
    if found is None:
        return None
    return 0 if found[1] is None else int(found[1]) + 1


def collections_of_events(database: MongoDatabase) -> list[str]:
    """The collections of events that are there, newest first."""
    backs = [back for name in database.list_collection_names() if (back := back_of(name)) is not None]
    return [collection_of(back) for back in sorted(backs)]


class Rotation:
    """Raises, from every method: PyMongoError, StoreUnreachable: the next attempt continues."""

    def __init__(self, database: MongoDatabase, checkpoints: Checkpoints, indexes: Indexes) -> None:
        self._database = database
        self._checkpoints = checkpoints
        self._indexes = indexes
        self.ordinal = -1

    def resume(self, newest: int) -> None:
        """Read which generation `event` holds (`newest`, if nobody has said), and finish what was begun."""
        found = self._checkpoints.rotation()
        if found is None:
            self._checkpoints.set_rotation({"ordinal": newest})
            self.ordinal = newest
            return
        self.ordinal = int(found["ordinal"])
        if "renaming" in found:
            self._move_up(int(found["renaming"]))

    def shift_to(self, newest: int) -> None:
        """Move the collections until `event` is the generation `newest`."""
        while self.ordinal < newest:
            backs = [back_of(name) or 0 for name in collections_of_events(self._database)]
            self._move_up(max(backs, default=0))

    def _move_up(self, back: int) -> None:
        there = {back_of(name) for name in collections_of_events(self._database)}
        for each in range(back, -1, -1):
            if each in there:
                self._checkpoints.set_rotation({"ordinal": self.ordinal, "renaming": each})
                self._move(collection_of(each), collection_of(each + 1), exists=each + 1 in there)
                there = there - {each} | {each + 1}
                crash_point("in_rename")
        self._checkpoints.set_rotation({"ordinal": self.ordinal + 1})
        self.ordinal += 1

    def _move(self, name: str, target: str, *, exists: bool) -> None:
        if not exists:
            try:
                self._database[name].rename(target)
                return
            except OperationFailure as error:
                if error.code not in _CANNOT_RENAME:
                    raise
        self._indexes.make(target)
        self._add(name, target)
        self._database.drop_collection(name)

    def _add(self, name: str, target: str) -> None:
        pages: Iterator[Any] = self._database[name].find_raw_batches(batch_size=COPY_COUNT)
        into = self._database.get_collection(target, codec_options=RAW_OPTIONS)
        for page in pages:
            documents: list[Any] = [RawBSONDocument(each, RAW_OPTIONS) for each in split(page)]
            if not documents:
                continue
            try:
                into.insert_many(documents, ordered=False)
            except BulkWriteError as error:
                details = error.details or {}
                failures = [each for each in details.get("writeErrors", ()) if each["code"] not in DUPLICATE_CODES]
                if failures or details.get("writeConcernErrors"):
                    raise StoreUnreachable(f"MongoDB could not copy {name} to {target}") from error
