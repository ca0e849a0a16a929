"""What the loader needs from outside: the journals it reads, and the database it fills."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Protocol

from pymongo.database import Database

from zarkov.batch import Rejection
from zarkov.position import OffsetRange

#: The collection of the loader's own documents.
CHECKPOINTS = "zarkov.loader"

MongoDatabase = Database[Any]


class LoadChunk(Protocol):
    """A run of stored events, clipped to the offsets asked for."""

    @property
    def stop(self) -> int: ...

    def runs(self) -> Iterable[OffsetRange]:
        """The offsets that have events, in order."""

    def documents_bytes(self) -> bytes:
        """The BSON of those events, concatenated."""


class LoadGeneration(Protocol):
    """A named range of offsets; `stop_offset` is None for the current one, `dropped` says that it may be removed."""

    @property
    def ordinal(self) -> int: ...
    @property
    def first_offset(self) -> int: ...
    @property
    def stop_offset(self) -> int | None: ...
    @property
    def dropped(self) -> bool: ...


class LoadSource(Protocol):
    """One journal, and its own record of how far it was loaded, behind which it may be dropped.

    `chunks`, `next_offset` and `generations` are used by two threads at once; the others by one.
    """

    @property
    def journal_id(self) -> str: ...
    @property
    def first_offset(self) -> int: ...
    @property
    def next_offset(self) -> int: ...

    def chunks(self, start: int, stop: int) -> Iterator[LoadChunk]:
        """The chunks with offsets in [start, stop), in order. Raises: PositionExpired, PositionBeyondEnd."""

    def generations(self) -> Sequence[LoadGeneration]:
        """Newest first."""

    def loaded_to(self) -> int | None:
        """Every offset before this one is in MongoDB, for all that is known here; None before the first load."""

    def hold(self) -> None:
        """Keep the journal as it is until the first load; not to be called after it."""

    def advance(self, next_offset: int) -> None:
        """Record, synced, that every offset before `next_offset` is in MongoDB; never moves back."""

    def reset(self, next_offset: int) -> None:
        """Record that only what is before `next_offset` is in MongoDB."""

    def keep_rejected(self, rejections: Sequence[Rejection]) -> None:
        """Keep these, synced, unless one of the same source is kept already. Raises: JournalFull."""


class MongoTarget(Protocol):
    """The database to fill; `timeout_s` is how long an answer may take."""

    @property
    def timeout_s(self) -> float: ...

    def database(self) -> MongoDatabase:
        """The database, asked of the same client each time; nothing is sent before the first operation."""
