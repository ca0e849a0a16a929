"""A chunk as a reader gets it: still compressed, clipped to the offsets asked for."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import bson

from zarkov.codec import CODEC_OPTIONS
from zarkov.journal.format import ChunkHeader, decode_gaps, present, skip, unpack
from zarkov.position import OffsetRange

#: Documents decoded at a time. Dropped before the garbage collector's first threshold they cost it nothing; a
#: chunk's 10,000 at once keep it walking, and reading takes twice as long.
DECODE_RUN = 100


@dataclass(frozen=True, slots=True)
class Chunk:
    """Offsets `start` to `stop` (excluded) of a stored chunk, whose checksums were found right.

    The stored chunk may begin earlier and end later; `header` describes all of it, `stored` is its data as it
    lies in the file (so it can be sent on as it is), and everything else here speaks of the clipped part.
    """

    header: ChunkHeader
    stored: bytes
    start: int
    stop: int

    @property
    def first_offset(self) -> int:
        """The first offset of the part asked for."""
        return self.start

    @property
    def count(self) -> int:
        """How many events the part has, without the gaps."""
        return sum(run.count for run in self.runs())

    @property
    def gaps(self) -> tuple[OffsetRange, ...]:
        """The gaps of the stored chunk, in order."""
        return decode_gaps(self.header)

    def runs(self) -> list[OffsetRange]:
        """The runs of offsets that have events, in order: one, unless there are gaps."""
        return list(present(self.start, self.stop, self.gaps))

    def offsets(self) -> Iterator[int]:
        """The offset of each event, in order."""
        for run in self.runs():
            yield from range(run.first, run.stop)

    def documents_bytes(self) -> bytes:
        """The BSON of the part's events, concatenated, in order. Raises: JournalCorrupt."""
        raw = unpack(self.header, self.stored)
        if self.start <= self.header.first_offset and self.stop >= self.header.stop:
            return raw
        before = present(self.header.first_offset, self.start, self.gaps)
        begin = skip(raw, sum(run.count for run in before))
        if self.stop >= self.header.stop:
            return raw[begin:]
        return raw[begin : skip(raw, self.count, begin)]

    def documents(self) -> list[dict[str, Any]]:
        """The part's events, decoded: naive UTC dates. Raises: JournalCorrupt."""
        return bson.decode_all(self.documents_bytes(), CODEC_OPTIONS)

    def decoded(self) -> Iterator[tuple[int, list[dict[str, Any]]]]:
        """The events DECODE_RUN at a time, each run with the offset of its first. Raises: JournalCorrupt."""
        raw, at = self.documents_bytes(), 0
        for run in self.runs():
            for first in range(run.first, run.stop, DECODE_RUN):
                end = skip(raw, min(DECODE_RUN, run.stop - first), at)
                yield first, bson.decode_all(raw[at:end], CODEC_OPTIONS)
                at = end

    def events(self) -> Iterator[tuple[int, dict[str, Any]]]:
        """Each event with its offset, decoded."""
        for first, events in self.decoded():
            yield from enumerate(events, first)

    def events_bytes(self) -> Iterator[tuple[int, bytes]]:
        """Each event with its offset, as BSON."""
        raw, at = self.documents_bytes(), 0
        for offset in self.offsets():
            end = skip(raw, 1, at)
            yield offset, raw[at:end]
            at = end
