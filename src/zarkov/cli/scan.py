"""Reading chosen events straight from the journal, in the order of arrival: for tail and export."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from zarkov.cli.conditions import Filter
from zarkov.codec import split
from zarkov.journal.chunk import Chunk
from zarkov.journal.reader import Journal
from zarkov.store.bounds import bounds_of
from zarkov.store.filter import compile_node
from zarkov.store.parse import parse

Document = dict[str, Any]


class Chooser:
    """A filter made ready: which chunks can be left out, and which events of the others are wanted."""

    def __init__(self, wanted: Filter) -> None:
        node = parse(wanted)
        self._matches = compile_node(node)
        self._bounds = bounds_of(node)

    def chunks(self, journal: Journal, start: int, stop: int, *, newest_first: bool = False) -> Iterator[Chunk]:
        """The chunks between two offsets that may hold wanted events."""
        if start >= stop:
            return iter(())
        bounds = self._bounds
        return journal.chunks(
            start,
            stop,
            ts_from_ms=bounds.ts_from_ms,
            ts_to_ms=bounds.ts_to_ms,
            types=bounds.types,
            id_from=bounds.id_from,
            id_to=bounds.id_to,
            newest_first=newest_first,
        )

    def documents(self, chunk: Chunk) -> list[Document]:
        """The wanted events of a chunk, decoded."""
        return [document for document in chunk.documents() if self._matches(document)]

    def wants(self, document: Document) -> bool:
        """Whether one event is wanted."""
        return self._matches(document)

    def encoded(self, chunk: Chunk) -> bytes:
        """The wanted events of a chunk as concatenated BSON."""
        data = chunk.documents_bytes()
        if self._bounds.everything:
            return data
        pairs = zip(split(data), chunk.documents(), strict=True)
        return b"".join(event for event, document in pairs if self._matches(document))
