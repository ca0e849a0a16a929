"""Reading a journal: from a position, by bounds, newest first, by id, and following its end.

Any number of processes and threads may read while one process writes; a reader writes nothing. What was committed
before a call is seen by it. Offsets are read in order, each event once, whatever is merged, rolled or rotated
meanwhile. Stored bytes that are not what was written are never returned: they are skipped and listed in `corrupt`, or
raise JournalCorrupt, as `on_corrupt` says.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal

from zarkov.batch import epoch_ms
from zarkov.codec import decode
from zarkov.errors import JournalCorrupt, JournalError, PositionBeyondEnd, PositionExpired
from zarkov.journal.catalog import Generation
from zarkov.journal.chunk import Chunk
from zarkov.journal.directory import SegmentFile
from zarkov.journal.format import ChunkHeader, decode_gaps, present
from zarkov.journal.info import JournalInfo, collect_info
from zarkov.journal.segment_reader import CorruptChunk
from zarkov.journal.segments import Segments
from zarkov.journal.selection import EVERYTHING, Selection
from zarkov.position import OffsetRange, Position

if TYPE_CHECKING:
    import pyarrow

_log = logging.getLogger(__name__)

#: Corrupt places remembered by one reader.
CORRUPT_MAX = 1_000


class Journal:
    """A journal, open for reading. Thread-safe; a context manager.

    `corrupt`: the places met so far that could not be read, at most CORRUPT_MAX.
    """

    def __init__(self, directory: Path, *, on_corrupt: Literal["skip", "raise"] = "skip") -> None:
        self.directory = directory
        self.corrupt: list[CorruptChunk] = []
        self._on_corrupt = on_corrupt
        self._local = threading.local()
        self._opened: list[Segments] = []
        self.journal_id = self._segments.catalog.journal_id

    @classmethod
    def open(cls, directory: Path, *, on_corrupt: Literal["skip", "raise"] = "skip") -> Journal:
        """Open the journal in `directory`.

        Raises: JournalError: there is none. JournalCorrupt: its catalog is damaged. JournalVersion.
        """
        return cls(directory, on_corrupt=on_corrupt)

    @property
    def first_offset(self) -> int:
        """The first offset that retention has not dropped."""
        return self._segments.first_offset()

    @property
    def next_offset(self) -> int:
        """The offset after the last committed event, as of now."""
        return self._segments.next_offset()

    @property
    def position(self) -> Position:
        """The journal's end as a position."""
        return {self.journal_id: self.next_offset}

    def generations(self) -> list[Generation]:
        """Newest first: `event`, `event.0`, ...; dropped ones included."""
        return self._segments.catalog.generations()

    def generation_names(self) -> list[str]:
        """The generations that have not been dropped: `event`, then `event.0` ..."""
        return [each.name for each in self.generations() if not each.dropped]

    def range_of(self, name: str) -> OffsetRange:
        """The offsets of a generation that are still there. Raises: JournalError: no generation has this name."""
        for each in self.generations():
            if each.name == name:
                first = max(each.first_offset, self.first_offset)
                stop = self.next_offset if each.stop_offset is None else each.stop_offset
                return OffsetRange(first, max(0, stop - first))
        raise JournalError(f"there is no generation {name}", hint="`zcmd journal info` lists the generations.")

    def ranges(self, name: str) -> list[tuple[Journal, OffsetRange]]:
        """This journal and its offsets of a generation, as `Journals` gives them for several; empty without one."""
        return [(self, self.range_of(name))] if name in self.generation_names() else []

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
    ) -> Iterator[Chunk]:
        """The chunks with offsets in [start, stop), each clipped to it, in order (or from the end).

        Args:
            stop: the journal's end as of now, when None.
            ts_from_ms, ts_to_ms (epoch milliseconds), types, id_from, id_to (12 bytes): a chunk that holds no event
                within these bounds, all inclusive, is left out; a chunk that is returned may hold others too.
        Raises: PositionExpired, PositionBeyondEnd: at the call. JournalCorrupt: while iterating, if so asked.
        """
        stop = self._check(start, stop)
        selection = Selection(ts_from_ms, ts_to_ms, types, id_from, id_to)
        return self._chunks(start, stop, EVERYTHING if selection == EVERYTHING else selection, newest_first)

    def read(self, start: int, stop: int | None = None) -> Iterator[tuple[int, dict[str, Any]]]:
        """Each event in [start, stop) with its offset, decoded. Raises: as `chunks`."""
        return (event for chunk in self.chunks(start, stop) for event in chunk.events())

    def read_bytes(self, start: int, stop: int | None = None) -> Iterator[tuple[int, bytes]]:
        """Each event in [start, stop) with its offset, as BSON. Raises: as `chunks`."""
        return (event for chunk in self.chunks(start, stop) for event in chunk.events_bytes())

    def scan(
        self, ts_from_ms: int, ts_to_ms: int, types: frozenset[str] | None = None
    ) -> Iterator[tuple[int, dict[str, Any]]]:
        """Each event whose timestamp lies between the two (inclusive), of these types, in order of arrival."""
        for chunk in self.chunks(self.first_offset, ts_from_ms=ts_from_ms, ts_to_ms=ts_to_ms, types=types):
            for offset, event in chunk.events():
                at = _timestamp_ms(event)
                if at is not None and ts_from_ms <= at <= ts_to_ms and (types is None or event.get("type") in types):
                    yield offset, event

    def headers(self, start: int, stop: int | None = None) -> Iterator[ChunkHeader]:
        """The headers of the chunks that offsets in [start, stop) lie in, in order. Raises: as `chunks`."""
        stop = self._check(start, stop)
        return (header for part in self._parts(start, stop) for header in self._headers(*part))

    def count(self, start: int, stop: int | None = None) -> int:
        """How many events the offsets in [start, stop) hold; nothing is decoded. Raises: as `chunks`."""
        stop = self._check(start, stop)
        total = 0
        for part in self.headers(start, stop):
            runs = present(max(start, part.first_offset), min(stop, part.stop), decode_gaps(part))
            total += sum(run.count for run in runs)
        return total

    def find_id(self, oid: bytes) -> tuple[int, bytes] | None:
        """The offset and the BSON of the newest event with this `_id` (12 bytes); None without one."""
        wanted = b"\x07_id\x00" + oid
        for chunk in self.chunks(self.first_offset, id_from=oid, id_to=oid, newest_first=True):
            if wanted not in chunk.documents_bytes():
                continue
            found = [(offset, data) for offset, data in chunk.events_bytes() if _has_id(data, wanted)]
            if found:
                return found[-1]
        return None

    def follow(
        self,
        start: int,
        *,
        stop: Callable[[], bool],
        poll_s: float = 0.05,
        wait: Callable[[float], object] = time.sleep,
    ) -> Iterator[Chunk]:
        """The chunks from `start` on, and those to come, until `stop()` is true.

        Args: poll_s: how often the end is looked at; `wait` waits for so many seconds.
        Raises: as `chunks`; PositionExpired also when retention overtook the reader.
        """
        self._check(start, None)
        while not stop():
            before = start
            for chunk in self.chunks(start):
                yield chunk
                start = chunk.stop
                if stop():
                    return
            if start == before:
                wait(poll_s)

    def columns(
        self,
        paths: Sequence[str],
        position_from: Position,
        position_to: Position | None = None,
        *,
        where: Selection | None = None,
    ) -> Iterator[pyarrow.RecordBatch]:
        """The named fields of the events between two positions, as Arrow: see `columns`. Raises: as `chunks`."""
        from zarkov.journal.columns import to_batch

        start = position_from.get(self.journal_id, self.first_offset)
        stop = self._check(start, None if position_to is None else position_to.get(self.journal_id))
        chunks = self._chunks(start, stop, where or EVERYTHING, newest_first=False)
        return (to_batch(chunk, paths) for chunk in chunks)

    def info(self) -> JournalInfo:
        """The journal's segments, generations, readers and sizes, as of now."""
        return collect_info(self.directory, self._segments)

    def close(self) -> None:
        """Close every file. What is being iterated fails."""
        for segments in self._opened:
            segments.close()
        self._opened.clear()

    def __enter__(self) -> Journal:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def _segments(self) -> Segments:
        segments: Segments | None = getattr(self._local, "segments", None)
        if segments is None:
            segments = self._local.segments = Segments(self.directory)
            self._opened.append(segments)
        return segments

    def _check(self, start: int, stop: int | None) -> int:
        first, end = self.first_offset, self.next_offset
        if start < first:
            raise PositionExpired(f"offset {start:,} was dropped; the journal begins at {first:,}")
        if start > end or (stop is not None and stop > end):
            beyond = start if start > end else stop
            raise PositionBeyondEnd(f"offset {beyond:,} lies beyond the journal's end at {end:,}")
        return end if stop is None else stop

    def _parts(self, start: int, stop: int) -> Iterator[tuple[SegmentFile, int, int]]:
        """The segments that offsets in [start, stop) may be in, and which part of the range each may have."""
        files = self._segments.ready()
        ends = [following.first_offset for _, following in pairwise(files)]
        for file, end in zip(files, [*ends, stop], strict=True):
            first, end = max(start, file.first_offset), min(stop, end)
            if first < end:
                yield file, first, end

    def _chunks(self, start: int, stop: int, selection: Selection, newest_first: bool) -> Iterator[Chunk]:
        parts = list(self._parts(start, stop))
        for file, first, end in reversed(parts) if newest_first else parts:
            yield from self._chunks_in(file, first, end, selection, newest_first)

    def _chunks_in(
        self, file: SegmentFile, first: int, end: int, selection: Selection, newest_first: bool
    ) -> Iterator[Chunk]:
        try:
            reader = self._segments.reader(file)
        except JournalCorrupt as damage:
            self._met(self._unreadable(file, first, end, damage))
            return
        chunks = reader.chunks_newest_first if newest_first else reader.chunks
        for part in chunks(first, end, selection):
            if isinstance(part, CorruptChunk):
                self._met(part)
            else:
                yield part

    def _headers(self, file: SegmentFile, first: int, end: int) -> Iterator[ChunkHeader]:
        try:
            parts = self._segments.reader(file).headers(first, end)
        except JournalCorrupt as damage:
            self._met(self._unreadable(file, first, end, damage))
            return
        for part in parts:
            if isinstance(part, CorruptChunk):
                self._met(part)
            else:
                yield part

    def _unreadable(self, file: SegmentFile, first: int, end: int, damage: JournalCorrupt) -> CorruptChunk:
        if first < self.first_offset:
            raise PositionExpired(f"offset {first:,} was dropped while it was read") from damage
        return CorruptChunk(file.path.name, first, end, str(damage))

    def _met(self, corrupt: CorruptChunk) -> None:
        if self._on_corrupt == "raise":
            raise JournalCorrupt(f"offset {corrupt.first_offset:,} in {corrupt.segment}: {corrupt.reason}")
        if corrupt not in self.corrupt and len(self.corrupt) < CORRUPT_MAX:
            self.corrupt.append(corrupt)
            _log.error(
                "corrupt chunk skipped segment=%s first_offset=%d stop=%s reason=%s",
                corrupt.segment,
                corrupt.first_offset,
                corrupt.stop,
                corrupt.reason,
            )


def _timestamp_ms(event: dict[str, Any]) -> int | None:
    try:
        return epoch_ms(event["timestamp"])
    except (KeyError, AttributeError, TypeError):
        return None


def _has_id(data: bytes, wanted: bytes) -> bool:
    """Whether a BSON event has `_id` as wanted; it is nearly always the first field."""
    if data.startswith(wanted, 4):
        return True
    return wanted in data and getattr(decode(data).get("_id"), "binary", None) == wanted[5:]
