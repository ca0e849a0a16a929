"""What every store does, and what the embedded one needs from the journal.

A store has named collections of documents. Its rules, the same on every backend (tests/contract holds them to it):

- A document is a dict with string keys and an `_id` that is unique in its collection; an insert without one gets an
  ObjectId. `1` and `1.0` are the same `_id`; `True` is another. An array is no `_id`.
- What is read is what BSON keeps of what was written: naive UTC dates to the millisecond, lists for tuples.
- Filters are MongoDB's (see `parse` for the operators); what is not known is refused, never ignored.
- A cursor is lazy: nothing is read before its first document, and memory is bounded however many there are. Without
  a sort documents come in natural order: events by offset. Ties of a sort keep that order.
- A write is durable when its method returns. One method is one transaction: all of it happens or nothing.
- `event` and `event.N` are the journal: `find` and its kin read them, everything else raises AppendOnly. A
  generation that does not exist is an empty collection, as is any other unknown name.
- Errors are StoreError's: FilterInvalid for what was asked wrongly, AppendOnly, StoreFailed for the rest.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, Self

from zarkov.batch import Summary
from zarkov.event import Document
from zarkov.position import OffsetRange
from zarkov.store.parse import Filter
from zarkov.store.projection import Projection


@dataclass(frozen=True, slots=True)
class InsertResult:
    """`inserted_ids` in the order given; `inserted_id` is the first."""

    inserted_ids: tuple[Any, ...]

    @property
    def inserted_id(self) -> Any:
        return self.inserted_ids[0]


@dataclass(frozen=True, slots=True)
class UpdateResult:
    """`modified_count` leaves out documents that were as wanted already; `upserted_id` is None without an upsert."""

    matched_count: int
    modified_count: int
    upserted_id: Any = None


@dataclass(frozen=True, slots=True)
class DeleteResult:
    """How many documents went."""

    deleted_count: int


class EventHeader(Protocol):
    """What is known of a stored chunk without its data."""

    @property
    def summary(self) -> Summary: ...


class EventChunk(Protocol):
    """A run of stored events, clipped to the offsets asked for; `header` may describe more than the part."""

    @property
    def header(self) -> EventHeader: ...

    @property
    def first_offset(self) -> int: ...

    @property
    def stop(self) -> int: ...

    @property
    def count(self) -> int: ...

    def documents_bytes(self) -> bytes:
        """The BSON of the part's events, concatenated."""


class EventReader(Protocol):
    """The journal as the store reads it; any number of threads and processes at once, while a writer runs."""

    def range_of(self, name: str) -> OffsetRange:
        """The offsets of a generation: `event`, `event.0` ... Raises: JournalError: there is none of that name."""

    def generation_names(self) -> list[str]:
        """The generations that have not been dropped: `event`, then `event.0` ..."""

    def chunks(
        self,
        start: int,
        stop: int | None = None,
        *,
        ts_from_ms: int | None = None,
        ts_to_ms: int | None = None,
        types: frozenset[str] | None = None,
        id_from: bytes | None = None,
        id_to: bytes | None = None,
        newest_first: bool = False,
    ) -> Iterator[EventChunk]:
        """The chunks that may hold events within the bounds (all inclusive), by offset; the rest is not read."""

    def count(self, start: int, stop: int) -> int:
        """How many events the offsets from `start` to `stop` (excluded) hold."""

    def find_id(self, oid: bytes) -> tuple[int, bytes] | None:
        """The offset and BSON of the event with this `_id`."""


class Cursor(Protocol):
    """The documents of one `find`, still to be read."""

    def __iter__(self) -> Iterator[Document]: ...
    def __next__(self) -> Document: ...
    def sort(self, key: Any, direction: int | None = None) -> Self: ...
    def skip(self, skip: int) -> Self: ...
    def limit(self, limit: int) -> Self: ...
    def hint(self, index: Any) -> Self: ...
    def rewind(self) -> Self: ...
    def distinct(self, key: str) -> list[Any]: ...
    def to_list(self) -> list[Document]: ...


class Collection(Protocol):
    """One collection, by the names and meanings of pymongo's."""

    @property
    def name(self) -> str: ...

    def find(
        self,
        filter: Filter | None = None,
        projection: Projection | None = None,
        skip: int = 0,
        limit: int = 0,
        sort: Any = None,
    ) -> Cursor: ...
    def find_one(
        self, filter: Any = None, projection: Projection | None = None, skip: int = 0, sort: Any = None
    ) -> Document | None: ...
    def count_documents(self, filter: Filter, skip: int = 0, limit: int = 0) -> int: ...
    def estimated_document_count(self) -> int: ...
    def distinct(self, key: str, filter: Filter | None = None) -> list[Any]: ...

    def insert_one(self, document: Document) -> InsertResult: ...
    def insert_many(self, documents: Iterable[Document]) -> InsertResult: ...
    def replace_one(self, filter: Filter, replacement: Mapping[str, Any], upsert: bool = False) -> UpdateResult: ...
    def update_one(self, filter: Filter, update: Mapping[str, Any], upsert: bool = False) -> UpdateResult: ...
    def update_many(self, filter: Filter, update: Mapping[str, Any], upsert: bool = False) -> UpdateResult: ...
    def delete_one(self, filter: Filter) -> DeleteResult: ...
    def delete_many(self, filter: Filter) -> DeleteResult: ...
    def find_one_and_update(
        self,
        filter: Filter,
        update: Mapping[str, Any],
        projection: Projection | None = None,
        sort: Any = None,
        upsert: bool = False,
        return_document: bool = False,
    ) -> Document | None: ...
    def find_one_and_replace(
        self,
        filter: Filter,
        replacement: Mapping[str, Any],
        projection: Projection | None = None,
        sort: Any = None,
        upsert: bool = False,
        return_document: bool = False,
    ) -> Document | None: ...
    def find_one_and_delete(
        self, filter: Filter, projection: Projection | None = None, sort: Any = None
    ) -> Document | None: ...

    def create_index(self, keys: Any, **options: Any) -> str: ...
    def index_information(self) -> Mapping[str, Any]: ...
    def drop_indexes(self) -> None: ...
    def drop(self) -> None: ...
    def rename(self, new_name: str, *, drop_target: bool = False) -> None: ...


class Store(Protocol):
    """Named collections, and what holds for them together."""

    def collection(self, name: str) -> Collection: ...
    def collection_names(self) -> Sequence[str]:
        """The collections that hold something, sorted."""

    def drop_database(self) -> None:
        """Drop every collection of documents; events stay (only `zcmd init` removes a journal)."""

    def close(self) -> None: ...
