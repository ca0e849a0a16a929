"""A generation of events in MongoDB: `event`, `event.N`. The loader fills it; nobody else writes.

Each event carries the hidden field `o: [journal id, offset]`. It is left out of what is read, unless a projection
asks for it; filters and sorts may name it (`{"o.1": {"$gte": 1000}}`).

Without a sort events come in the server's own order, in which they were loaded. `$natural` is the order of the
journal, exactly, whatever was retried: journal by journal, by offset.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from zarkov.event import Document
from zarkov.store.append_only import AppendOnlyWrites
from zarkov.store.mongo_guard import hiding
from zarkov.store.mongo_reading import MongoReading, including
from zarkov.store.ordering import NATURAL, Sort
from zarkov.store.projection import Projection

if TYPE_CHECKING:
    from pymongo.collection import Collection

#: Where an event stands in its journal: `[journal id, offset]`.
ORIGIN = "o"


class MongoEvents(AppendOnlyWrites, MongoReading):
    """`event` or `event.N`; see contract.Collection. Thread-safe."""

    def __init__(self, collection: Collection[Document]) -> None:
        MongoReading.__init__(self, collection)

    def _projection(self, projection: Projection | None) -> Mapping[str, Any]:
        asked = super()._projection(projection) or {}
        return asked if including(asked) else {**asked, ORIGIN: 0}

    def _sort(self, sort: Sort) -> list[tuple[str, int]]:
        if sort and sort[0][0] == NATURAL:
            return [(f"{ORIGIN}.0", sort[0][1]), (f"{ORIGIN}.1", sort[0][1])]
        return super()._sort(sort)

    def _pipeline(self, stages: list[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
        return hiding(ORIGIN, stages)
