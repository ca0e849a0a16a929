"""What a map task reads: chunks of a journal as they are stored, or documents of a collection. Pure.

    ChunkInput       one stored chunk, compressed, and the offsets of it that are meant
    DocumentsInput   a page of documents: their BSON, concatenated
    Events           the events of several inputs that match a filter, in order, as one iterator

Only the matches are kept decoded, a run of some hundred at a time, so that they stay in the processor's cache and the
memory a task needs does not grow with its input.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, Protocol

from zarkov.codec import decode, split
from zarkov.errors import JobInvalid
from zarkov.event import Document
from zarkov.journal.chunk import Chunk
from zarkov.journal.format import ChunkHeader
from zarkov.store.bounds import Bounds, bounds_of
from zarkov.store.filter import Predicate, compile_node
from zarkov.store.parse import Filter, parse
from zarkov.store.scan import matching


class Input(Protocol):
    """One input of a map task."""

    @property
    def journal(self) -> str:
        """The journal's id; "" for documents."""

    @property
    def count(self) -> int:
        """How many documents it has."""

    def runs(self, match: Predicate, bounds: Bounds) -> Iterator[list[Document]]:
        """The documents that match, in order, a run at a time. Raises: JournalCorrupt, EventRefused."""

    def numbered(self) -> Iterator[tuple[int, bytes]]:
        """Each document's BSON with its offset (or its number in the input)."""

    def to_document(self) -> Document:
        """As it travels to a worker; `input_from` reads it."""


@dataclass(frozen=True, slots=True)
class ChunkInput:
    """Offsets of a stored chunk."""

    journal: str
    chunk: Chunk

    @property
    def count(self) -> int:
        return self.chunk.count

    def runs(self, match: Predicate, bounds: Bounds) -> Iterator[list[Document]]:
        whole = bounds.covers(self.chunk.header.summary)
        return matching(self.chunk.documents_bytes(), self.count, None if whole else match, bounds.needles)

    def numbered(self) -> Iterator[tuple[int, bytes]]:
        return self.chunk.events_bytes()

    def to_document(self) -> Document:
        chunk = self.chunk
        return {
            "journal": self.journal,
            "header": list(chunk.header),
            "start": chunk.start,
            "stop": chunk.stop,
            "data": chunk.stored,
        }


@dataclass(frozen=True, slots=True)
class DocumentsInput:
    """`count` documents, concatenated."""

    data: bytes
    count: int

    @property
    def journal(self) -> str:
        return ""

    def runs(self, match: Predicate, bounds: Bounds) -> Iterator[list[Document]]:
        return matching(self.data, self.count, None if bounds.everything else match, bounds.needles)

    def numbered(self) -> Iterator[tuple[int, bytes]]:
        return enumerate(split(self.data))

    def to_document(self) -> Document:
        return {"data": self.data, "count": self.count}


def input_from(document: Mapping[str, Any]) -> Input:
    """The input that `to_document` wrote. Raises: JobInvalid: it is none."""
    try:
        if "header" not in document:
            return DocumentsInput(bytes(document["data"]), int(document["count"]))
        header = ChunkHeader(*document["header"])
        return ChunkInput(
            str(document["journal"]), Chunk(header, bytes(document["data"]), document["start"], document["stop"])
        )
    except (KeyError, TypeError, ValueError) as error:
        raise JobInvalid(f"the input of a task is not what was sent: {error!r}") from error


class Events:
    """The events of the inputs that match, from number `start` to `stop` (excluded) of them; read once, by `iter`.

    `taken` is how many were given out, in `events` how many were read. What goes wrong in reading them is `error`.
    """

    def __init__(self, inputs: Sequence[Input], query: Filter | None) -> None:
        node = parse(query)
        self._inputs = inputs
        self._match, self._bounds = compile_node(node), bounds_of(node)
        self._before = 0
        self._run: Any = iter(())
        self._run_count = 0
        self.read = 0
        self.error: Exception | None = None

    @property
    def taken(self) -> int:
        """How many events were given out."""
        return self._before + self._run_count - int(self._run.__length_hint__())

    def __iter__(self) -> Iterator[Document]:
        return chain.from_iterable(self._runs())

    def at(self, number: int) -> tuple[str, int, Document]:
        """The journal, the offset and a fresh copy of a match, by its number from 0. Raises: IndexError."""
        for each in self._inputs:
            for offset, data in each.numbered():
                document = decode(data)
                if self._match(document):
                    if number == 0:
                        return each.journal, offset, document
                    number -= 1
        raise IndexError(number)

    def _runs(self) -> Iterator[Iterator[Document]]:
        try:
            for each in self._inputs:
                self.read += each.count
                for documents in each.runs(self._match, self._bounds):
                    self._before += self._run_count
                    self._run, self._run_count = iter(documents), len(documents)
                    yield self._run
        except Exception as error:
            self.error = error
            raise
