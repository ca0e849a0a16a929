"""Documents on their way into a collection, many at once: as BSON, each with the key it is filed under."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from bson import ObjectId

from zarkov import codec
from zarkov.errors import EventRefused, StoreFailed
from zarkov.event import EVENT_BYTES_MAX, Document
from zarkov.store.contract import Row
from zarkov.store.keys import id_key

#: Bytes of one encoded document; MongoDB's limit.
DOCUMENT_BYTES_MAX = EVENT_BYTES_MAX
#: A batch is closed at this many documents, and when it has at least this many bytes.
BATCH_COUNT = 999
BATCH_BYTES = 4 * 1024 * 1024


def encoded(document: Document) -> bytes:
    """The document's BSON. Raises: StoreFailed: BSON cannot hold it, or it is too large."""
    try:
        data = codec.encode(document)
    except EventRefused as refused:
        raise StoreFailed(f"the document cannot be stored: {refused}", hint="BSON has to hold it.") from refused
    if len(data) > DOCUMENT_BYTES_MAX:
        raise StoreFailed(f"the document has {len(data):,} bytes", hint=f"{DOCUMENT_BYTES_MAX:,} are taken at most.")
    return data


def with_id(document: Document, new_id: Callable[[], ObjectId]) -> Document:
    """The document, or a copy that has an `_id`."""
    return document if "_id" in document else {"_id": new_id(), **document}


def row_of(document: Document) -> Row:
    """A document with its key. Raises: StoreFailed: it cannot be stored."""
    return id_key(document["_id"]), encoded(document)


def batches(documents: Iterable[Document | Row], row: Callable[[Document], Row]) -> Iterator[list[Row]]:
    """The documents as rows, some at a time; `row` makes one of a document that is none yet."""
    rows: list[Row] = []
    size = 0
    for each in documents:
        made = each if isinstance(each, tuple) else row(each)
        rows.append(made)
        size += len(made[1])
        if len(rows) == BATCH_COUNT or size >= BATCH_BYTES:
            yield rows
            rows, size = [], 0
    if rows:
        yield rows
