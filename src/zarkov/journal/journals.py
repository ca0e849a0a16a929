"""Several journals as one: those of several event servers.

Each journal has its own offsets, so where something is among them is a position, `{journal id: offset}`. Between the
events of different journals there is no order of arrival; wherever one is needed it is journal by journal, in the
order of the servers, each by offset: that order never changes, whatever is merged or rotated. The generations of all
end together (`rotate` ends them in every journal), so `event.0` is one range in each, found by its ordinal; a journal
that was begun later has no part in the older ones.

One journal is the common case: everything is then exactly what `Journal` does.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Literal

from zarkov.errors import JournalError
from zarkov.journal.chunk import Chunk
from zarkov.journal.reader import Journal
from zarkov.journal.segment_reader import CorruptChunk
from zarkov.journal.selection import Selection
from zarkov.position import OffsetRange, Position

if TYPE_CHECKING:
    import pyarrow

#: A journal, and a range of its offsets.
Part = tuple[Journal, OffsetRange]


class Journals:
    """Journals, open for reading, at least one. Thread-safe; a context manager that closes them."""

    def __init__(self, journals: Sequence[Journal]) -> None:
        self.journals = tuple(journals)

    @classmethod
    def open(cls, directories: Sequence[Path], *, on_corrupt: Literal["skip", "raise"] = "skip") -> Journals:
        """Open the journals in these directories. Raises: as `Journal.open`; then none stays open."""
        opened: list[Journal] = []
        try:
            for directory in directories:
                opened.append(Journal.open(directory, on_corrupt=on_corrupt))
        except BaseException:
            for journal in opened:
                journal.close()
            raise
        return cls(opened)

    @property
    def position(self) -> Position:
        """The ends of all journals."""
        return {journal.journal_id: journal.next_offset for journal in self.journals}

    @property
    def corrupt(self) -> list[CorruptChunk]:
        """The places met so far that could not be read."""
        return [place for journal in self.journals for place in journal.corrupt]

    @property
    def ordinals(self) -> list[int]:
        """The ordinal of each journal's current generation; all the same, unless a `rotate` did not get through."""
        return [journal.generations()[0].ordinal for journal in self.journals]

    def generation_names(self) -> list[str]:
        """The generations of which some journal still has a part: `event`, then `event.0` ..."""
        newest = max(self.ordinals)
        kept = {each.ordinal for journal in self.journals for each in journal.generations() if not each.dropped}
        return [name_of(ordinal, newest) for ordinal in sorted(kept | {newest}, reverse=True)]

    def ranges(self, name: str) -> list[Part]:
        """Each journal's part of a generation, in natural order; journals without one are left out."""
        newest = max(self.ordinals)
        found = []
        for journal in self.journals:
            for each in journal.generations():
                if name_of(each.ordinal, newest) == name and not each.dropped:
                    found.append((journal, journal.range_of(each.name)))
        return found

    def everything(self) -> list[Part]:
        """All that is in each journal, as of now."""
        firsts = [(journal, journal.first_offset) for journal in self.journals]
        return [(journal, OffsetRange(first, journal.next_offset - first)) for journal, first in firsts]

    def parts(self, name: str) -> list[Part]:
        """As `ranges`. Raises: JournalError: no generation has this name."""
        if name not in self.generation_names():
            raise JournalError(f"there is no generation {name}", hint="`zcmd journal info` lists the generations.")
        return self.ranges(name)

    def find_id(self, oid: bytes) -> bytes | None:
        """The BSON of the event with this `_id` (12 bytes), in the first journal that has one."""
        return next((found[1] for journal in self.journals if (found := journal.find_id(oid)) is not None), None)

    def follow(
        self,
        start: Position,
        *,
        stop: Callable[[], bool],
        poll_s: float = 0.05,
        wait: Callable[[float], object] = time.sleep,
    ) -> Iterator[Chunk]:
        """The chunks from a position on, and those to come, until `stop()` is true; the journals take turns.

        Args: start: a journal that it does not name is followed from its beginning; poll_s: how often the ends are
            looked at; `wait` waits for so many seconds.
        Raises: as `Journal.follow`.
        """
        at = {journal.journal_id: journal.first_offset for journal in self.journals} | start
        while not stop():
            moved = False
            for journal in self.journals:
                for chunk in journal.chunks(at[journal.journal_id]):
                    yield chunk
                    at[journal.journal_id] = chunk.stop
                    moved = True
                    if stop():
                        return
            if not moved:
                wait(poll_s)

    def columns(
        self,
        paths: Sequence[str],
        position_from: Position,
        position_to: Position | None = None,
        *,
        where: Selection | None = None,
    ) -> Iterator[pyarrow.RecordBatch]:
        """The named fields of the events between two positions, journal by journal. Raises: as `Journal.columns`."""
        for journal in self.journals:
            yield from journal.columns(paths, position_from, position_to, where=where)

    def close(self) -> None:
        """Close every file of every journal."""
        for journal in self.journals:
            journal.close()

    def __enter__(self) -> Journals:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def name_of(ordinal: int, newest: int) -> str:
    """What a generation is called while `newest` is the current one's ordinal."""
    return "event" if ordinal == newest else f"event.{newest - 1 - ordinal}"
