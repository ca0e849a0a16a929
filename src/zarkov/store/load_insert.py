"""One batch into one collection of MongoDB, whatever becomes of each of its events.

An unordered insert, keyed by `_id`. What comes back is settled event by event: a duplicate `_id` is a retry of ours
(stored with the same `o`), a retry of the event (stored with the same content) or another event, which is rejected;
an event that the server has no room for is rejected. Where a server answers for the whole insert and not for an
event, halves are tried until the culprit stands alone. Every other error is raised as it is: nothing is then known of
the batch, and inserting it again is right.

Duplicates are looked for in the batch's own collection only. A crash at any point leaves some of the batch stored.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from bson import ObjectId
from bson.raw_bson import RawBSONDocument
from pymongo.collection import Collection
from pymongo.errors import BulkWriteError, PyMongoError

from zarkov.batch import Rejection
from zarkov.errors import StoreUnreachable
from zarkov.store.load_batch import RAW_OPTIONS, Batch, is_same, is_same_content, without_o
from zarkov.store.load_errors import (
    DOCUMENT_CODES,
    DUPLICATE_CODES,
    describe,
    is_cut_off,
    is_document_fault,
)
from zarkov.store.load_ports import MongoDatabase
from zarkov.store.mongo_errors import brief

#: Duplicates asked for by their `_id` in one query; more of them are asked for by their offsets first.
IDS_MAX = 100


@dataclass(slots=True)
class Outcome:
    """What became of a batch: events stored now, stored by an earlier attempt, stored before as the same event, or
    refused; and the last event that is stored.
    """

    stored: int = 0
    retried: int = 0
    repeated: int = 0
    rejections: list[Rejection] = field(default_factory=list)
    last: tuple[int, ObjectId] | None = None


@dataclass(frozen=True, slots=True)
class _Refused:
    code: str
    reason: str


class Inserter:
    """Into the collections of one database, which confirms writes as its write concern says.

    Args: probe: raises unless the server takes a write now, in another collection; now_ms: the time.
    """

    def __init__(self, database: MongoDatabase, probe: Callable[[], None], now_ms: Callable[[], int]) -> None:
        self._database = database
        self._probe = probe
        self._now_ms = now_ms

    def insert(self, batch: Batch, name: str, *, wary: bool = False) -> Outcome:
        """Store a batch's events in the collection `name`.

        Args: wary: the server was cut off several times by this batch; find out by which event.
        Raises: PyMongoError, StoreUnreachable: try the same batch again later.
        Durability: as the database's write concern says, once this returns.
        """
        collection = self._database.get_collection(name, codec_options=RAW_OPTIONS)
        failures = self._try(collection, batch.documents, 0, wary)
        outcome = Outcome(stored=len(batch.documents) - len(failures))
        refused = {
            index: _Refused("store_refused", describe(failure))
            for index, failure in failures.items()
            if failure["code"] not in DUPLICATE_CODES
        }
        twice = [index for index in failures if index not in refused]
        if twice:
            refused |= self._settle(collection, batch, twice, outcome)
        if refused:
            outcome.rejections = self._rejections(batch, refused)
        outcome.last = _last(batch, refused)
        return outcome

    def _try(
        self, collection: Collection[Any], documents: Sequence[RawBSONDocument], first: int, wary: bool
    ) -> dict[int, Mapping[str, Any]]:
        """Insert; {index: its entry of `writeErrors`} of those that were not stored, counted from `first`."""
        try:
            collection.insert_many(documents, ordered=False)
        except BulkWriteError as error:
            return failures_in(error, first)
        except Exception as error:
            cut_off = wary and is_cut_off(error)
            if not (cut_off or is_document_fault(error)):
                raise
            if len(documents) == 1:
                return {first: self._culprit(collection, documents, error, cut_off=cut_off)}
        else:
            return {}
        half = len(documents) // 2
        found = self._try(collection, documents[:half], first, wary)
        return found | self._try(collection, documents[half:], first + half, wary)

    def _culprit(
        self, collection: Collection[Any], documents: Sequence[RawBSONDocument], error: Exception, *, cut_off: bool
    ) -> Mapping[str, Any]:
        """Make sure that the server takes other writes, and not this event, before it is blamed."""
        self._probe()
        if cut_off:
            try:
                collection.insert_many(documents, ordered=False)
            except BulkWriteError as failed:
                return failures_in(failed, 0)[0]
            except PyMongoError as again:
                if not is_cut_off(again):
                    raise
            else:
                return {"code": 11000}
            self._probe()
            return {"code": 0, "errmsg": "the server closes the connection on it"}
        return {"code": getattr(error, "code", None) or 0, "errmsg": brief(error)}

    def _settle(
        self, collection: Collection[Any], batch: Batch, indexes: Sequence[int], outcome: Outcome
    ) -> dict[int, _Refused]:
        """Say of each duplicate whose it is; returns those that another event keeps out."""
        stored = self._stored(collection, batch, indexes)
        refused: dict[int, _Refused] = {}
        for index in indexes:
            document, offset = batch.documents[index], batch.offsets[index]
            found = stored.get(document["_id"])
            if found is None:
                reason = "MongoDB does not take it: a unique index other than that of `_id`"
                refused[index] = _Refused("store_refused", reason)
            elif is_same(document, found, batch.journal_id, offset):
                outcome.retried += 1
            elif is_same_content(document, found):
                outcome.repeated += 1
            else:
                reason = f"MongoDB has another event with the `_id` {document['_id']} in {collection.name}"
                refused[index] = _Refused("duplicate_id", reason)
        return refused

    def _stored(
        self, collection: Collection[Any], batch: Batch, indexes: Sequence[int]
    ) -> dict[ObjectId, RawBSONDocument]:
        """The stored events with these `_id`s; after a crash nearly all are ours, found by `o` in one query."""
        wanted = {batch.documents[index]["_id"] for index in indexes}
        found: dict[ObjectId, RawBSONDocument] = {}
        if len(wanted) > IDS_MAX:
            offsets = {"$gte": batch.offsets[indexes[0]], "$lte": batch.offsets[indexes[-1]]}
            ours = collection.find({"o.0": batch.journal_id, "o.1": offsets})
            found = {each["_id"]: each for each in ours if each["_id"] in wanted}
        missing = sorted(wanted - found.keys())
        for start in range(0, len(missing), IDS_MAX):
            page = collection.find({"_id": {"$in": missing[start : start + IDS_MAX]}})
            found |= {each["_id"]: each for each in page}
        return found

    def _rejections(self, batch: Batch, refused: Mapping[int, _Refused]) -> list[Rejection]:
        at_ms = self._now_ms()
        return [
            Rejection(
                at_ms,
                source_of(batch.journal_id, batch.offsets[index]),
                why.code,
                why.reason,
                without_o(bytes(batch.documents[index].raw)),
            )
            for index, why in sorted(refused.items())
        ]


def source_of(journal_id: str, offset: int) -> str:
    """The source under which a loaded event is rejected; the same each time it is loaded."""
    return f"loader {journal_id}:{offset}"


def failures_in(error: BulkWriteError, first: int) -> dict[int, Mapping[str, Any]]:
    """{index: entry}, counted from `first`. Raises: StoreUnreachable: it is not the events' own fault."""
    details = error.details or {}
    for concern in details.get("writeConcernErrors", ()):
        raise StoreUnreachable(f"MongoDB did not confirm a write: {concern.get('errmsg', '')}") from error
    failures = {first + int(each["index"]): each for each in details.get("writeErrors", ())}
    for each in failures.values():
        if each["code"] not in DUPLICATE_CODES and each["code"] not in DOCUMENT_CODES:
            raise StoreUnreachable(f"MongoDB takes no writes: {each.get('errmsg', '')}") from error
    return failures


def _last(batch: Batch, refused: Mapping[int, _Refused]) -> tuple[int, ObjectId] | None:
    for index in range(len(batch.documents) - 1, -1, -1):
        if index not in refused:
            return batch.offsets[index], batch.documents[index]["_id"]
    return None
