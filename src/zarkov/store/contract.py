"""What every store does, and what the embedded one needs from the journal.

A store has named collections of documents. Its rules, the same on every backend (tests/contract holds them to it);
what only one of them keeps is marked [embedded], and the whole list of differences, with reasons, is in
docs/mongodb.md:

- A document is a dict with string keys and an `_id` that is unique in its collection; an insert without one gets an
  ObjectId. `1` and `1.0` are the same `_id`; `True` is another. An array is no `_id`.
- What is read is what BSON keeps of what was written: naive UTC dates to the millisecond, lists for tuples.
- Filters are MongoDB's (see `parse` for the operators); what is not known is refused, never ignored. MongoDB knows
  more. No backend runs code that stands in a filter.
- A cursor is lazy: nothing is read before its first document, and memory is bounded however many there are. Without
  a sort documents come in natural order [embedded], as with the sort `$natural`: events by offset, those of several
  journals journal by journal (it never changes; sort by `timestamp` to mix them). Ties of a sort keep it [embedded].
- A write is durable when its method returns: synced, in MongoDB by a majority of a replica set. The write of one
  document happens or does not; one method is one transaction [embedded].
- `event` and `event.N` are the journal: `find` and its kin read them, everything else raises AppendOnly. A
  generation that does not exist is an empty collection, as is any other unknown name.
- Errors are StoreError's: FilterInvalid and UpdateInvalid for what was asked wrongly, DocumentExists, AppendOnly,
  StoreUnreachable for a server that is away (try again later), StoreFailed for the rest.
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

#: A document as BSON, and before it the key that the embedded store files it under: `keys.id_key` of its `_id`.
Row = tuple[bytes, bytes]

#: Commits of outputs that are remembered.
COMMITS_MAX = 10_000
#: Bytes of a commit's id.
COMMIT_BYTES_MAX = 200
#: After so many seconds without a sign of life an attempt that nobody can ask is taken to have ended [MongoDB].
UNSETTLED_S = 3_600
#: The field that documents of a merge have until it is done [MongoDB]; no document may have one of its own.
MARK = "zarkov_commit"


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


class JournalReader(Protocol):
    """One journal as the store reads it; any number of threads and processes at once, while a writer runs."""

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


class EventReader(Protocol):
    """One journal, or several as one."""

    def generation_names(self) -> list[str]:
        """The generations that have not been dropped: `event`, then `event.0` ..."""

    def ranges(self, name: str) -> Sequence[tuple[JournalReader, OffsetRange]]:
        """Each journal and its offsets of a generation, in natural order; empty when there is none of that name."""


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


class Outputs(Protocol):
    """Many documents at once, as whole ones, into a collection: what map-reduce and recomputed aggregates write.

    What is written is a *commit*, which has an id of the caller's choosing. With one id a collection is written
    once, however often that is asked, by whomever, and wherever the earlier attempts were killed; one id may stand
    for several collections, each on its own. The ids of the newest COMMITS_MAX commits are remembered. Nothing is
    written where the documents cannot all be read: an error of the iterator is raised as it is.

    One writer to a collection at a time, says the caller; who comes second waits, or gets StoreFailed.
    """

    def replace(self, name: str, documents: Iterable[Document | Row], *, commit: str) -> bool:
        """Make these documents the whole content of a collection; its indexes stay [MongoDB].

        Readers see the old content or the new, never a mixture; a cursor that is being read goes on in the old, or
        fails with StoreFailed.
        Args:    documents: in any order, best in that of their keys; one without an `_id` gets an ObjectId.
        Returns: whether this call wrote it; False: it was committed before, and `documents` were not read.
        Raises:  DocumentExists: two have the same `_id`; FilterInvalid, AppendOnly: the name cannot be written;
                 StoreUnreachable: ask again with the same id; StoreFailed.
        Memory:  some MB, however many there are. Durability: synced once this returns.
        """

    def merge(self, name: str, documents: Iterable[Document | Row], *, commit: str) -> bool:
        """Write whole documents, each in place of the one with its `_id`, if there is one; otherwise as `replace`.

        In one step [embedded]: elsewhere readers see some documents before others, and those of a commit under way
        carry its id in the field MARK. Documents that others change meanwhile are not overwritten twice.
        """

    def was_committed(self, commit: str, name: str) -> bool:
        """Whether `replace` or `merge` wrote this collection under this id, and it is not forgotten."""

    def stored(self, name: str, rows: Sequence[Row]) -> Sequence[Row]:
        """The documents that a collection has under the keys of these few thousand, in any order."""

    def unsettled(self) -> Sequence[str]:
        """The commits whose attempts ended, or show no life for UNSETTLED_S, and left something behind."""

    def settle(self, commit: str) -> None:
        """Put in order what attempts at a commit left: finish what was decided, remove the rest.

        Not while one is under way: that one then fails, and nothing is written twice or in part.
        """


class Store(Outputs, Protocol):
    """Named collections, and what holds for them together."""

    def collection(self, name: str) -> Collection: ...
    def collection_names(self) -> Sequence[str]:
        """The collections that hold something, sorted."""

    def drop_database(self) -> None:
        """Drop every collection of documents; events stay (only `zcmd init` removes a journal)."""

    def close(self) -> None: ...
