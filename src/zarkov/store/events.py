"""A generation of the journal as a collection: read as any other, never changed.

How a query is read:

- The filter's bounds on `timestamp`, `type` and `_id` go to the journal, which passes over whole chunks by them.
- What is left is decoded a few hundred events at a time. A chunk in which everything matches is not filtered, and
  when only its number matters (`count`, `skip`) not decoded either.
- A limit without a sort stops at the last document wanted.
- A sort with a limit keeps the best so many. When it begins with `timestamp` or `_id` the chunks are read from the
  end at which the best are likely, and as soon as there are enough the last one kept bounds what is still read:
  the result is the same as if all had been read.

Several journals are read one after the other, in natural order, as one long one. The ranges of offsets are taken when
reading begins, so a cursor ends even while events keep coming.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import chain, islice
from typing import Any

from bson import ObjectId
from bson.datetime_ms import DatetimeMS

from zarkov import codec
from zarkov.batch import epoch_ms
from zarkov.event import Document
from zarkov.position import OffsetRange
from zarkov.store.append_only import AppendOnlyWrites
from zarkov.store.bounds import Bounds, bounds_of
from zarkov.store.contract import EventChunk, EventReader, JournalReader
from zarkov.store.cursor import DocumentCursor, Query, as_filter, distinct_values
from zarkov.store.filter import Predicate, compile_node
from zarkov.store.ordering import NATURAL, Best, Sort, parse_sort
from zarkov.store.parse import Filter, parse
from zarkov.store.projection import Projection, compile_projection
from zarkov.store.scan import matching

#: A journal, and the offsets of the generation in it.
Part = tuple[JournalReader, OffsetRange]


@dataclass(frozen=True, slots=True)
class _Plan:
    """A filter, ready to be read by."""

    parts: Sequence[Part]
    match: Predicate
    bounds: Bounds


class EventCollection(AppendOnlyWrites):
    """`event` or `event.N`; see contract.Collection. Safe for several threads if the reader is."""

    def __init__(self, reader: EventReader, name: str) -> None:
        super().__init__(name)
        self._reader = reader

    def find(
        self,
        filter: Filter | None = None,
        projection: Projection | None = None,
        skip: int = 0,
        limit: int = 0,
        sort: Any = None,
    ) -> DocumentCursor:
        """The events that match, lazily. Raises: FilterInvalid, when the first one is read."""
        return DocumentCursor(self, Query(filter, projection, parse_sort(sort), skip, abs(limit)))

    def find_one(
        self, filter: Any = None, projection: Projection | None = None, skip: int = 0, sort: Any = None
    ) -> Document | None:
        """The first event that matches, or None; `filter` may be the `_id` itself."""
        query = Query(as_filter(filter), projection, parse_sort(sort), skip, 1)
        bounds = bounds_of(parse(query.filter))
        if bounds.id_from is not None and bounds.id_from == bounds.id_to:
            return self._by_id(bounds.id_from, query)
        return next(self.run(query), None)

    def count_documents(self, filter: Filter, skip: int = 0, limit: int = 0) -> int:
        """How many events match; a chunk whose bounds say that all of it matches is not decoded."""
        plan = self._plan(filter)
        if plan.bounds.everything:
            total = sum(reader.count(span.first, span.stop) for reader, span in plan.parts)
        else:
            total = sum(
                self._count_in(chunk, plan)
                for reader, span in plan.parts
                for chunk in _chunks(reader, span, plan.bounds)
            )
        return min(max(total - skip, 0), limit or total)

    def estimated_document_count(self) -> int:
        """How many events there are (exactly, here)."""
        return self.count_documents({})

    def distinct(self, key: str, filter: Filter | None = None) -> list[Any]:
        """The distinct values at a path among the events that match, in BSON's order."""
        return distinct_values(self.run(Query(filter)), key)

    def run(self, query: Query) -> Iterator[Document]:
        """Read one query. Raises: FilterInvalid at once, JournalError while reading."""
        plan, project = self._plan(query.filter), compile_projection(query.projection)
        if not query.sort or query.sort[0][0] == NATURAL:
            newest_first = bool(query.sort) and query.sort[0][1] < 0
            documents = self._in_natural_order(plan, newest_first, query.skip, query.limit)
        else:
            documents = self._sorted(plan, query.sort, query.skip, query.limit)
        return documents if project is None else map(project, documents)

    def create_index(self, keys: Any, **options: Any) -> str:
        """Accepted and without effect: chunks are skipped by time, type and `_id`."""
        return str(options.get("name", "none"))

    def index_information(self) -> Mapping[str, Any]:
        """No indexes."""
        return {}

    def drop_indexes(self) -> None:
        """Nothing to drop."""

    def _plan(self, filter: Filter | None) -> _Plan:
        node = parse(filter)
        return _Plan(self._reader.ranges(self.name), compile_node(node), bounds_of(node))

    def _matches(self, chunk: EventChunk, plan: _Plan) -> Iterator[list[Document]]:
        """The matches in a chunk, a run at a time."""
        whole = plan.bounds.covers(chunk.header.summary)
        return matching(chunk.documents_bytes(), chunk.count, None if whole else plan.match, plan.bounds.needles)

    def _count_in(self, chunk: EventChunk, plan: _Plan) -> int:
        if plan.bounds.covers(chunk.header.summary):
            return chunk.count
        return sum(len(run) for run in self._matches(chunk, plan))

    def _by_id(self, oid: bytes, query: Query) -> Document | None:
        plan, project = self._plan(query.filter), compile_projection(query.projection)
        if query.skip:
            return None
        for reader, span in plan.parts:
            found = reader.find_id(oid)
            if found is not None and found[0] in span:
                event = codec.decode(found[1])
                if plan.match(event):
                    return event if project is None else project(event)
        return None

    def _in_natural_order(self, plan: _Plan, newest_first: bool, skip: int, limit: int) -> Iterator[Document]:
        left = limit
        for chunk in _all_chunks(plan, newest_first):
            if skip and skip >= chunk.count and plan.bounds.covers(chunk.header.summary):
                skip -= chunk.count
                continue
            runs = self._matches(chunk, plan)
            for run in _reversed(runs) if newest_first else runs:
                taken = run[skip : skip + left if limit else None]
                skip, left = max(skip - len(run), 0), left - len(taken)
                yield from taken
                if limit and not left:
                    return

    def _sorted(self, plan: _Plan, sort: Sort, skip: int, limit: int) -> Iterator[Document]:
        best = Best(sort, skip + limit if limit else 0)
        field, direction = sort[0]
        newest_first = bool(limit) and direction < 0 and field in ("timestamp", "_id")
        bounds = plan.bounds
        for reader, span in reversed(plan.parts) if newest_first else plan.parts:
            narrowed = True
            while narrowed:
                narrowed = False
                for chunk in _chunks(reader, span, bounds, newest_first):
                    found = list(chain.from_iterable(self._matches(chunk, plan)))
                    if newest_first:
                        best.add_before(found)
                        span = OffsetRange(span.first, chunk.first_offset - span.first)
                    else:
                        best.add(found)
                        span = OffsetRange(chunk.stop, span.stop - chunk.stop)
                    narrower = bounds.both(_beating(best.worst, field, direction))
                    if narrower != bounds:
                        bounds, narrowed = narrower, True
                        break
        return islice(best.documents(), skip, None)


def _chunks(
    reader: JournalReader, span: OffsetRange, bounds: Bounds, newest_first: bool = False
) -> Iterator[EventChunk]:
    """The chunks of a range that may hold events within the bounds."""
    if not span.count:
        return iter(())
    return reader.chunks(
        span.first,
        span.stop,
        ts_from_ms=bounds.ts_from_ms,
        ts_to_ms=bounds.ts_to_ms,
        types=bounds.types,
        id_from=bounds.id_from,
        id_to=bounds.id_to,
        newest_first=newest_first,
    )


def _all_chunks(plan: _Plan, newest_first: bool) -> Iterator[EventChunk]:
    """The chunks of all journals, in natural order or the other way round."""
    for reader, span in reversed(plan.parts) if newest_first else plan.parts:
        yield from _chunks(reader, span, plan.bounds, newest_first)


def _reversed(runs: Iterator[list[Document]]) -> Iterator[list[Document]]:
    return ([*reversed(run)] for run in reversed(list(runs)))


def _beating(worst: Document | None, field: str, direction: int) -> Bounds:
    """The bounds of documents that may come before the worst one kept, or tie with it."""
    value = None if worst is None else worst.get(field)
    if field == "timestamp" and isinstance(value, datetime | DatetimeMS):
        at_ms = epoch_ms(value)
        return Bounds(ts_from_ms=at_ms, exact=True) if direction < 0 else Bounds(ts_to_ms=at_ms, exact=True)
    if field == "_id" and isinstance(value, ObjectId):
        return Bounds(id_from=value.binary, exact=True) if direction < 0 else Bounds(id_to=value.binary, exact=True)
    return Bounds(exact=True)
