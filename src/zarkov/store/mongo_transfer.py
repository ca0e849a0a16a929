"""What lies in MongoDB, as bytes and in order, for moving it: documents, and the events of each generation.

An event that the loader brought carries `o: [journal id, offset]`, which is its place. Some have none and are ordered
by `_id`: those of a Zarkov of 2011 or of another program, and the few that the loader stores as they are (see
`load_batch`). In a generation those without a place come first, then journal by journal those with one, each by
offset. The place is left out of what is given; a field `o` of an event's own is not.

How far a migration is stands in the collection `zarkov.migrate`, one document for each direction.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from bson import ObjectId
from bson.raw_bson import RawBSONDocument
from pymongo import ReplaceOne
from pymongo.errors import BulkWriteError

from zarkov import codec
from zarkov.errors import StoreFailed
from zarkov.event import Document
from zarkov.position import OffsetRange
from zarkov.store.generations import generation_names, is_generation
from zarkov.store.load_ports import CHECKPOINTS
from zarkov.store.mongo_errors import DUPLICATE_KEY, translated
from zarkov.store.names import INTERNAL

if TYPE_CHECKING:
    from pymongo.collection import Collection
    from pymongo.database import Database

PROGRESS = "zarkov.migrate"
_journal_id = re.compile(r"[0-9a-f]{16}")

Place = int | ObjectId


class MongoTransfer:
    """One database, to be read from and written to. Errors of the server are StoreUnreachable and StoreFailed."""

    def __init__(self, database: Database[Any]) -> None:
        self._database = database.client.get_database(database.name, codec_options=codec.CODEC_OPTIONS)

    @property
    def name(self) -> str:
        """The database's name."""
        return self._database.name

    def names(self) -> list[str]:
        """The collections of documents, sorted: not the events, not the internal ones."""
        return [name for name in self._every_name() if not is_generation(name)]

    def generations(self) -> list[str]:
        """The generations, oldest first; one that is empty may have no collection, and is named all the same."""
        oldest = generation_names(self._every_name())[0]
        count = 0 if oldest == "event" else int(oldest.removeprefix("event.")) + 1
        return [*(f"event.{number}" for number in reversed(range(count))), "event"]

    def has_events(self) -> bool:
        """Whether any generation holds an event."""
        with translated():
            return any(self._database[name].find_one({}, {"_id": 1}) is not None for name in self.generations())

    def is_loaded(self, journals: Sequence[str]) -> bool:
        """Whether a loader has begun with one of these journals."""
        with translated():
            wanted = {"_id": {"$in": list(journals)}, "next_offset": {"$exists": True}}
            return self._database[CHECKPOINTS].find_one(wanted, {"_id": 1}) is not None

    def count(self, name: str) -> int:
        """How many documents a collection has, by the server's own estimate."""
        with translated():
            return self._database[name].estimated_document_count()

    def pages(self, name: str) -> Iterator[list[bytes]]:
        """The documents of a collection as BSON, in any order, a page at a time."""
        return self._pages(name, {}, None)

    def event_pages(self, generation: str, places: Mapping[str, OffsetRange] | None = None) -> Iterator[list[bytes]]:
        """The events of a generation as BSON, as they were before they were loaded, in any order, a page at a time.

        Args: places: of events with a place only those within these offsets of these journals; None: all.
        """
        for journal in self.journals(generation):
            if places is None:
                yield from self._pages(generation, {"o.0": journal}, {"o": 0})
            elif journal in places:
                span = places[journal]
                placed = {"o.0": journal, "o.1": {"$gte": span.first, "$lt": span.stop}}
                yield from self._pages(generation, placed, {"o": 0})
        yield from self._pages(generation, self._without_place(generation), None)

    def put(self, name: str, documents: Sequence[bytes]) -> None:
        """Insert documents, in place of those with the same `_id`.

        Durability: acknowledged by the server; by a majority, where the address or the server asks for it.
        """
        raw = [RawBSONDocument(document) for document in documents]
        collection: Collection[Any] = self._database[name]
        with translated(StoreFailed):
            try:
                collection.insert_many(raw, ordered=False)
                return
            except BulkWriteError as error:
                failures = error.details["writeErrors"]
            other = [each for each in failures if each["code"] != DUPLICATE_KEY]
            if other:
                raise StoreFailed(
                    f"MongoDB does not take a document of {name!r}: {other[0]['errmsg']}",
                    hint="Mend or delete that document, and migrate again.",
                )
            there = [raw[each["index"]] for each in failures]
            collection.bulk_write([ReplaceOne({"_id": each["_id"]}, each) for each in there], ordered=False)

    def journals(self, generation: str) -> list[str]:
        """The ids of the journals from which events of a generation were loaded, sorted."""
        with translated():
            found = self._database[generation].distinct("o.0")
        return sorted(each for each in found if isinstance(each, str) and _journal_id.fullmatch(each))

    def events(self, generation: str, journal: str | None, after: Place | None) -> Iterator[tuple[Place, Document]]:
        """The events of one journal beyond an offset, in order, each with its offset.

        Args: journal: None for those without a place, which then have their `_id` in place of the offset.
        Raises: StoreFailed: the `_id` of one is no ObjectId, which an event in a journal must have.
        """
        collection = self._database[generation]
        if journal is None:
            wanted: Document = self._without_place(generation)
            beyond = {} if after is None else {"_id": {"$gt": after}}
            order = "_id"
        else:
            wanted, order = {"o.0": journal}, "o.1"
            beyond = {} if after is None else {"o.1": {"$gt": after}}
        with translated():
            for event in collection.find(wanted | beyond, sort=[(order, 1)], allow_disk_use=True):
                ident = event["_id"]
                if not isinstance(ident, ObjectId):
                    raise StoreFailed(
                        f"an event in {generation!r} has the `_id` {ident!r:.60}, which is no ObjectId",
                        hint="Move it to a collection of another name, and migrate again.",
                    )
                place: Place = ident if journal is None else int(event.pop("o")[1])
                yield place, event

    def progress(self, direction: str) -> Document | None:
        """What an earlier attempt noted."""
        with translated():
            found: Document | None = self._database[PROGRESS].find_one({"_id": direction})
        return found

    def note(self, direction: str, facts: Mapping[str, Any]) -> None:
        """Note how far this attempt is."""
        with translated():
            self._database[PROGRESS].replace_one({"_id": direction}, dict(facts), upsert=True)

    def _without_place(self, generation: str) -> Document:
        return {"o.0": {"$nin": self.journals(generation)}}

    def _pages(self, name: str, filter: Document, projection: Mapping[str, Any] | None) -> Iterator[list[bytes]]:
        with translated():
            for batch in self._database[name].find_raw_batches(filter, projection):
                yield codec.split(batch)

    def _every_name(self) -> list[str]:
        with translated():
            names = self._database.list_collection_names()
        return sorted(name for name in names if not name.startswith(INTERNAL))
