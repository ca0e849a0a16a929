"""A `find` that has not been read yet.

A cursor only notes what is asked; the collection's `run` does the reading when the first document is taken. It may
be read once, or again after `rewind`, which asks anew and so sees what was stored in between.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Protocol, Self

from zarkov.errors import FilterInvalid, StoreFailed
from zarkov.event import Document
from zarkov.store.compare import MISSING, sort_key
from zarkov.store.ordering import Sort, parse_sort
from zarkov.store.parse import Filter
from zarkov.store.paths import parts_of, values_at
from zarkov.store.projection import Projection

#: Values that one `distinct` may hold.
DISTINCT_COUNT_MAX = 1_000_000


@dataclass(frozen=True, slots=True)
class Query:
    """What one `find` asks; a `limit` of 0 is none."""

    filter: Filter | None = None
    projection: Projection | None = None
    sort: Sort = ()
    skip: int = 0
    limit: int = 0

    def __post_init__(self) -> None:
        if self.skip < 0:
            raise FilterInvalid(f"skip must be 0 or more, not {self.skip}")


class Source(Protocol):
    """What a cursor reads from."""

    def run(self, query: Query) -> Iterator[Document]: ...


class DocumentCursor:
    """The documents of one query; see contract.Cursor."""

    def __init__(self, collection: Source, query: Query) -> None:
        self.collection = collection
        self._query = query
        self._reading: Iterator[Document] | None = None

    def __iter__(self) -> Iterator[Document]:
        return self

    def __next__(self) -> Document:
        if self._reading is None:
            self._reading = self.collection.run(self._query)
        return next(self._reading)

    def next(self) -> Document:
        """The next document. Raises: StopIteration."""
        return next(self)

    def sort(self, key: Any, direction: int | None = None) -> Self:
        """Order by a name and a direction (1, -1), or a list of such pairs. Raises: FilterInvalid."""
        return self._ask(sort=parse_sort(key, direction))

    def skip(self, skip: int) -> Self:
        """Leave out the first so many documents."""
        return self._ask(skip=skip)

    def limit(self, limit: int) -> Self:
        """Stop after so many documents; 0: do not. A negative limit is its absolute value, as in MongoDB."""
        return self._ask(limit=abs(limit))

    def hint(self, index: Any) -> Self:
        """Accepted and without effect: there are no indexes to choose from."""
        return self

    def rewind(self) -> Self:
        """Start again from the first document, as the collection is now."""
        self._reading = None
        return self

    def clone(self) -> DocumentCursor:
        """A cursor that asks the same, unread."""
        return DocumentCursor(self.collection, self._query)

    def distinct(self, key: str) -> list[Any]:
        """The distinct values at a path among what the filter matches; sort, skip and limit are ignored."""
        return distinct_values(self.collection.run(Query(self._query.filter)), key)

    def to_list(self) -> list[Document]:
        """What is left, as a list."""
        return list(self)

    def close(self) -> None:
        """Stop reading."""
        self._reading = iter(())

    def _ask(self, **change: Any) -> Self:
        if self._reading is not None:
            raise FilterInvalid("the cursor is being read; sort, skip and limit come before its first document")
        self._query = replace(self._query, **change)
        return self


def distinct_values(documents: Iterable[Document], key: str) -> list[Any]:
    """The distinct values at a path, in BSON's order; an array counts as its elements.

    Raises: StoreFailed: more than DISTINCT_COUNT_MAX.
    """
    parts = parts_of(key)
    found: dict[Any, Any] = {}
    for document in documents:
        for value in values_at(document, parts, elements=False):
            if value is not MISSING:
                for item in value if type(value) is list else (value,):
                    found.setdefault(sort_key(item), item)
        if len(found) > DISTINCT_COUNT_MAX:
            raise StoreFailed(
                f"{key!r} has more than {DISTINCT_COUNT_MAX:,} distinct values", hint="Give a narrower filter."
            )
    return [found[order] for order in sorted(found)]


def as_filter(filter: Any) -> Filter | None:
    """What `find_one` takes: a filter, or the `_id` itself."""
    return filter if filter is None or hasattr(filter, "items") else {"_id": filter}
