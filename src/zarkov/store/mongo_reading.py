"""Reading a collection in MongoDB, and its indexes; `mongo_documents` and `mongo_events` add what differs.

The server does the work. What it takes beyond the embedded store's operators (`$expr`, `$text`, positions on a globe,
operators in projections, ...) it gets, except JavaScript.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from zarkov.errors import FilterInvalid
from zarkov.event import Document
from zarkov.store.compare import sort_key
from zarkov.store.cursor import DocumentCursor, Query, as_filter
from zarkov.store.mongo_errors import translated
from zarkov.store.mongo_guard import Pipeline, checked_pipeline, without_code
from zarkov.store.ordering import Sort, parse_sort
from zarkov.store.parse import Filter
from zarkov.store.projection import Projection

if TYPE_CHECKING:
    from pymongo.collection import Collection


@dataclass(frozen=True, slots=True)
class MongoQuery(Query):
    """A query that may name the index to use."""

    hint: Any = None


class MongoCursor(DocumentCursor):
    """The documents of one query, from the server a batch at a time; see contract.Cursor."""

    def __init__(self, collection: MongoReading, query: MongoQuery) -> None:
        super().__init__(collection, query)
        self._found = collection

    def hint(self, index: Any) -> Self:
        """Have the server use this index: its name, or its keys."""
        return self._ask(hint=index)

    def distinct(self, key: str) -> list[Any]:
        """The distinct values at a path among what the filter matches; sort, skip and limit are ignored."""
        return self._found.distinct(key, self._query.filter)

    def clone(self) -> MongoCursor:
        """A cursor that asks the same, unread."""
        assert isinstance(self._query, MongoQuery)
        return MongoCursor(self._found, self._query)


class MongoReading:
    """The reading half of a collection; see contract.Collection. Thread-safe."""

    def __init__(self, collection: Collection[Document]) -> None:
        self.name = collection.name
        self._collection = collection

    def find(
        self,
        filter: Filter | None = None,
        projection: Projection | None = None,
        skip: int = 0,
        limit: int = 0,
        sort: Any = None,
    ) -> MongoCursor:
        """The documents that match, lazily. Raises: FilterInvalid, when the first one is read."""
        return MongoCursor(self, MongoQuery(filter, projection, parse_sort(sort), skip, abs(limit)))

    def find_one(
        self, filter: Any = None, projection: Projection | None = None, skip: int = 0, sort: Any = None
    ) -> Document | None:
        """The first document that matches, or None; `filter` may be the `_id` itself."""
        return next(self.run(MongoQuery(as_filter(filter), projection, parse_sort(sort), skip, 1)), None)

    def count_documents(self, filter: Filter, skip: int = 0, limit: int = 0) -> int:
        """How many documents match, counted."""
        options: dict[str, Any] = {"skip": skip} if skip else {}
        if limit:
            options["limit"] = limit
        with translated(argument=True):
            return self._collection.count_documents(without_code(filter), **options)

    def estimated_document_count(self) -> int:
        """How many documents there are by the server's books: at once, and off by a little after a crash of it."""
        with translated():
            return self._collection.estimated_document_count()

    def distinct(self, key: str, filter: Filter | None = None) -> list[Any]:
        """The distinct values at a path among the documents that match, in BSON's order; 16 MB of them at most."""
        with translated(argument=True):
            return sorted(self._collection.distinct(key, without_code(filter)), key=sort_key)

    def run(self, query: Query) -> Iterator[Document]:
        """Read one query. Raises: FilterInvalid, StoreUnreachable, StoreFailed, while reading."""
        with translated(argument=True):
            cursor = self._collection.find(
                without_code({} if query.filter is None else query.filter),
                self._projection(query.projection),
                skip=query.skip,
                limit=query.limit,
                sort=self._sort(query.sort) or None,
                allow_disk_use=True if query.sort else None,
                hint=query.hint if isinstance(query, MongoQuery) else None,
            )
        with translated(), cursor:
            yield from cursor

    def aggregate(self, pipeline: Pipeline, **options: Any) -> Iterator[Document]:
        """Run MongoDB's aggregation; beyond the contract: the embedded store has none.

        Raises: FilterInvalid: not a pipeline, or JavaScript in it; AppendOnly: it would write over events.
        """
        stages = self._pipeline(checked_pipeline(pipeline))
        with translated(argument=True):
            cursor = self._collection.aggregate(stages, **({"allowDiskUse": True} | options))
        return _documents(cursor)

    def create_index(self, keys: Any, **options: Any) -> str:
        """Make an index unless it is there; returns its name."""
        with translated(argument=True):
            return self._collection.create_index(keys, **options)

    def index_information(self) -> Mapping[str, Any]:
        """The indexes by name."""
        with translated():
            return self._collection.index_information()

    def drop_indexes(self) -> None:
        """Drop every index but that on `_id`."""
        with translated():
            self._collection.drop_indexes()

    def _projection(self, projection: Projection | None) -> Mapping[str, Any] | None:
        if not projection:
            return None
        if isinstance(projection, Mapping):
            return dict(without_code(projection))
        return dict.fromkeys(projection, 1)

    def _sort(self, sort: Sort) -> list[tuple[str, int]]:
        return list(sort)

    def _pipeline(self, stages: list[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
        return stages


def _documents(cursor: Any) -> Iterator[Document]:
    with translated(), cursor:
        yield from cursor


def including(projection: Mapping[str, Any]) -> bool:
    """Whether a projection names what is returned, not what is left out. Raises: FilterInvalid: it does both."""
    kinds = {bool(value) for name, value in projection.items() if name != "_id" and not isinstance(value, Mapping)}
    if len(kinds) > 1:
        raise FilterInvalid("a projection either includes fields or excludes them")
    return kinds.pop() if kinds else bool(projection.get("_id", False))
