"""From a staging collection in MongoDB to the one it is for. The steps may be repeated, from their beginning.

A document of a merge carries MARK, the commit's id, from the stage on. It is copied where the stored document does
not carry that mark yet; when all are copied, the marks are taken off. So a document that others change meanwhile is
not overwritten when the copying is repeated, as long as they leave the mark (`$set`, `$inc` ... do; a replacement
does not).
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any

from bson.codec_options import CodecOptions
from bson.raw_bson import RawBSONDocument
from pymongo import ReplaceOne
from pymongo.collection import Collection
from pymongo.errors import BulkWriteError, OperationFailure

from zarkov import codec
from zarkov.crash import crash_point
from zarkov.errors import DocumentExists, StoreFailed
from zarkov.store.compare import Key, sort_key
from zarkov.store.contract import MARK, Row
from zarkov.store.mongo_errors import DUPLICATE_KEY, INVALID_NAMESPACE, NAMESPACE_MISSING, NOT_IMPLEMENTED

RAW: CodecOptions[RawBSONDocument] = CodecOptions(document_class=RawBSONDocument)
#: Documents copied by one request.
COPIED_COUNT = 1_000
#: How often documents are copied that others remove meanwhile.
ATTEMPTS_MAX = 3

_length = struct.Struct("<i")
_NAME = MARK.encode() + b"\x00"

Raw = Collection[RawBSONDocument]
#: Called after each request that copies.
Touch = Callable[[], object]


def marked(data: bytes, commit: str) -> bytes:
    """A document's BSON with the mark. Raises: StoreFailed: it has a field of that name."""
    if _NAME in data and MARK in codec.decode(data):
        raise StoreFailed(f"a document has a field {MARK!r}", hint="Give it another name.")
    value = commit.encode() + b"\x00"
    field = b"".join([b"\x02", _NAME, _length.pack(len(value)), value])
    return b"".join([_length.pack(len(data) + len(field)), data[4:-1], field, b"\x00"])


def insert(stage: Raw, rows: list[Row]) -> None:
    """Write documents to the stage. Raises: DocumentExists: two have the same `_id`."""
    try:
        stage.insert_many([RawBSONDocument(data) for _, data in rows], ordered=False)
    except BulkWriteError as error:
        if any(each["code"] == DUPLICATE_KEY for each in error.details["writeErrors"]):
            raise DocumentExists(
                "two documents of one output have the same `_id`",
                hint="Give each key once; `reduce` makes one of several.",
            ) from error
        raise


def copy_indexes(source: Raw, target: Raw) -> None:
    """Give the one the indexes that the other has. Raises: DocumentExists: a unique one does not hold there."""
    for name, options in source.index_information().items():
        if name != "_id_":
            more = {option: value for option, value in options.items() if option not in ("key", "v", "ns")}
            target.create_index(options["key"], name=name, **more)


def take_place(stage: Raw, target: Raw, touch: Touch) -> None:
    """Make the stage the target, in one step where the server can: readers see the old content or the new.

    Where it cannot (FerretDB: neither `dropTarget` nor dots in names), the target is dropped and the documents are
    copied: readers see some of them meanwhile.
    """
    if stage.name not in stage.database.list_collection_names(filter={"name": stage.name}):
        return
    try:
        stage.rename(target.name, dropTarget=True)
    except OperationFailure as error:
        if error.code == NAMESPACE_MISSING:  # an attempt whose answer got lost
            return
        if error.code not in (INVALID_NAMESPACE, NOT_IMPLEMENTED):
            raise
        target.drop()
        for documents in _pages(stage):
            target.insert_many(documents)
            crash_point("in_publish")
            touch()
        stage.drop()


def copy_marked(stage: Raw, target: Raw, commit: str, touch: Touch) -> None:
    """Write each staged document in place of the one with its `_id`, unless that has the mark already.

    Raises: DocumentExists: another unique index keeps one out.
    """
    for documents in _pages(stage):
        waiting = documents
        for _ in range(ATTEMPTS_MAX):
            waiting = _copied(target, waiting, commit)
            if not waiting:
                break
        else:
            raise DocumentExists(
                f"{target.name!r} does not take a document: a unique index other than that of `_id`",
                hint="Drop that index, or write to another collection.",
            )
        crash_point("in_publish")
        touch()


def take_marks_off(stage: Raw, target: Raw, commit: str, touch: Touch) -> None:
    """Make documents that were copied like all others."""
    for documents in _pages(stage):
        idents = [each["_id"] for each in documents]
        target.update_many({"_id": {"$in": idents}, MARK: commit}, {"$unset": {MARK: ""}})
        touch()


def _copied(target: Raw, documents: list[RawBSONDocument], commit: str) -> list[RawBSONDocument]:
    """Write documents; returns those that were neither written now nor earlier."""
    try:
        target.insert_many(documents, ordered=False)
        return []
    except BulkWriteError as error:
        failures = error.details["writeErrors"]
        if error.details["writeConcernErrors"] or any(each["code"] != DUPLICATE_KEY for each in failures):
            raise
    there = [documents[each["index"]] for each in failures]
    wanted = [ReplaceOne({"_id": each["_id"], MARK: {"$ne": commit}}, each) for each in there]
    if target.bulk_write(wanted, ordered=False).matched_count == len(there):
        return []
    found = target.find({"_id": {"$in": [each["_id"] for each in there]}, MARK: commit}, {"_id": 1})
    written = {_ident(each) for each in found}
    return [each for each in there if _ident(each) not in written]


def _ident(document: RawBSONDocument) -> Key:
    """The `_id` so that equal ones are equal, whatever type of number they are of."""
    return sort_key(codec.decode(bytes(document.raw))["_id"])


def _pages(stage: Raw) -> Iterator[list[RawBSONDocument]]:
    with stage.find() as found:
        while documents := list(islice(found, COPIED_COUNT)):
            yield documents


def raw(database: Any, name: str) -> Raw:
    """A collection, its documents as BSON."""
    found: Raw = database.get_collection(name, codec_options=RAW)
    return found
