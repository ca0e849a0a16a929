"""From a journal's bytes to the documents of an insert. Pure.

Each event gets the hidden field `o: [journal id, offset]` spliced in as its last field; nothing is decoded. Two kinds
of events are stored as they are, without it: one that would exceed MongoDB's 16 MiB, and one that has a field `o`
of its own. A batch never spans two generations, since each has a collection of its own.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import bson
from bson.codec_options import CodecOptions
from bson.errors import BSONError
from bson.raw_bson import RawBSONDocument

from zarkov.codec import CODEC_OPTIONS, split
from zarkov.event import EVENT_BYTES_MAX
from zarkov.store.load_ports import LoadChunk, LoadGeneration

#: Offsets after which generations are looked at again while a backlog is loaded.
SPAN_MAX = 100_000

_length = struct.Struct("<i")
_offset = struct.Struct("<q")
#: Where a field `o` may stand: a type, its name.
_may_be_o = re.compile(rb"[\x01-\x13\x7f\xff]o\x00")
#: The loader's `o`, as the last field.
_our_o = re.compile(rb"\x04o\x00.{4}\x020\x00.{4}[^\x00]{1,32}\x00\x121\x00.{8}\x00\x00\Z", re.DOTALL)
O_BYTES_MAX = 80
RAW_OPTIONS: CodecOptions[RawBSONDocument] = CodecOptions(document_class=RawBSONDocument)


class Splicer:
    """Adds `o` to the events of one journal."""

    def __init__(self, journal_id: str) -> None:
        self.journal_id = journal_id
        name = journal_id.encode() + b"\x00"
        inner = b"\x020\x00" + _length.pack(len(name)) + name + b"\x121\x00"
        array_bytes = 4 + len(inner) + _offset.size + 1
        self._head = b"\x04o\x00" + _length.pack(array_bytes) + inner
        #: Bytes by which an event grows.
        self.bytes = len(self._head) + _offset.size + 1

    def splice(self, raw: bytes, at: int, end: int, offset: int) -> bytes:
        """The event at `raw[at:end]` with `o`."""
        size = _length.pack(end - at + self.bytes)
        return b"".join((size, raw[at + 4 : end - 1], self._head, _offset.pack(offset), b"\x00\x00"))


@dataclass(slots=True)
class Batch:
    """Events of one journal and one generation, ready for an insert; `documents[i]` has the offset `offsets[i]`.

    Every offset in [start, stop) is either among them or has no event to load. `ordinal` is the generation's.
    """

    journal_id: str
    start: int
    stop: int
    ordinal: int
    documents: list[RawBSONDocument] = field(default_factory=list)
    offsets: list[int] = field(default_factory=list)
    bytes: int = 0


@dataclass(frozen=True, slots=True)
class Span:
    """Offsets [start, stop) of the generation `ordinal`; `dropped`: they need not be loaded."""

    start: int
    stop: int
    ordinal: int
    dropped: bool


def next_span(at: int, end: int, generations: Sequence[LoadGeneration]) -> Span | None:
    """What to load next from `at` on, within one generation; None when there is nothing before `end`.

    Args: end: the journal's end, read before `generations` (newest first): then no event before it belongs to a
        generation that is not listed.
    """
    for each in reversed(generations):
        if each.stop_offset is not None and each.stop_offset <= at:
            continue
        if each.dropped and each.stop_offset is not None:
            return Span(at, each.stop_offset, each.ordinal, dropped=True)
        stop = min(end, at + SPAN_MAX, end if each.stop_offset is None else each.stop_offset)
        return Span(at, stop, each.ordinal, dropped=False) if at < stop else None
    return None


def batches(
    span: Span, chunks: Iterable[LoadChunk], splicer: Splicer, *, events_max: int, bytes_max: int
) -> Iterator[Batch]:
    """The events of a span in batches of at most so many events, and bytes unless a single event is larger.

    Together they cover the span: where it has no events, the last batch is empty.
    """
    batch = Batch(splicer.journal_id, span.start, span.start, span.ordinal)
    for chunk in chunks:
        for offset, document in _spliced(chunk, splicer):
            size = len(document)
            if batch.documents and (len(batch.documents) >= events_max or batch.bytes + size > bytes_max):
                batch.stop = offset
                yield batch
                batch = Batch(splicer.journal_id, offset, offset, span.ordinal)
            batch.documents.append(RawBSONDocument(document, RAW_OPTIONS))
            batch.offsets.append(offset)
            batch.bytes += size
    batch.stop = span.stop
    yield batch


def _spliced(chunk: LoadChunk, splicer: Splicer) -> Iterator[tuple[int, bytes]]:
    raw, at = chunk.documents_bytes(), 0
    length_at, splice, room = _length.unpack_from, splicer.splice, EVENT_BYTES_MAX - splicer.bytes
    suspect = _may_be_o.search(raw) is not None
    for run in chunk.runs():
        for offset in range(run.first, run.stop):
            end: int = at + length_at(raw, at)[0]
            if end - at > room or (suspect and has_own_o(raw[at:end])):
                yield offset, raw[at:end]
            else:
                yield offset, splice(raw, at, end, offset)
            at = end


def without_o(page: bytes) -> bytes:
    """Concatenated events as they are in the journal, of some that the loader brought."""
    return b"".join(map(_without_o, split(page)))


def _without_o(event: bytes) -> bytes:
    found = _our_o.search(event, max(4, len(event) - O_BYTES_MAX))
    if found is None:
        return event
    return _length.pack(found.start() + 1) + event[4 : found.start()] + b"\x00"


def has_own_o(event: bytes) -> bool:
    """Whether an event has a field `o` at its top level."""
    return _may_be_o.search(event) is not None and "o" in RawBSONDocument(event, RAW_OPTIONS)


def is_same(document: RawBSONDocument, stored: RawBSONDocument, journal_id: str, offset: int) -> bool:
    """Whether `stored` is `document` itself, loaded by an earlier attempt."""
    return document.raw == stored.raw or stored.get("o") == [journal_id, offset]


def is_same_content(document: RawBSONDocument, stored: RawBSONDocument) -> bool:
    """Whether two events differ in nothing but the loader's `o`, and where `_id` stands (MongoDB moves it)."""
    return _content(document) == _content(stored)


def _content(document: RawBSONDocument) -> bytes:
    try:
        fields = bson.decode(document.raw, CODEC_OPTIONS)
        match fields.get("o"):
            case [str(), int()]:
                del fields["o"]
        return bson.encode({"_id": fields.pop("_id", None), **fields})
    except (BSONError, ValueError, OverflowError):
        return bytes(document.raw)
