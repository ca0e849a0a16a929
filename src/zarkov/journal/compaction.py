"""Rewriting chunks of one segment: neighbours into one, a fast compression into a dense one.

A rewrite replaces rows by an equivalent row in one transaction, so a reader sees the old ones or the new one, and
a crash leaves either. A chunk that is not what was written is left alone and reported.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

import apsw

from zarkov.crash import crash_point
from zarkov.errors import JournalCorrupt
from zarkov.journal.format import CODEC_GONE, ChunkHeader, ChunkRow, Packer, decode_gaps, unpack
from zarkov.journal.merging import plan_merge
from zarkov.journal.segment import Segment, insert_row

_log = logging.getLogger(__name__)

#: Chunks looked at in one step, and pages given back to the file system in one step.
HEADERS_MAX = 1024
VACUUM_PAGES = 1000


class Compaction:
    """The compaction of one segment; each `step` is bounded and leaves the segment whole."""

    def __init__(self, segment: Segment, packer: Packer, *, events_max: int, bytes_max: int) -> None:
        self.segment = segment
        self._packer = packer
        self._events_max = events_max
        self._bytes_max = bytes_max
        self._settled = segment.first_offset
        self._damaged: set[int] = set()

    def step(self) -> bool:
        """Rewrite one chunk or one run of neighbours; false when nothing is left to do."""
        headers = self._candidates()
        run = plan_merge(headers, events_max=self._events_max, bytes_max=self._bytes_max, fan_in=2)
        if run is None:
            wanted = self._packer.level
            run = next(([each] for each in headers if each.level != wanted and each.codec != CODEC_GONE), None)
        if run is not None:
            self._rewrite(run)
            return True
        if len(headers) < HEADERS_MAX:
            return self.give_back()
        self._settled = headers[-1].first_offset
        return True

    def merge_newest(self, packer: Packer, *, events_max: int, fan_in: int) -> bool:
        """Merge small chunks at the segment's end; false when there are not enough."""
        headers = [
            each for each in self.segment.newest_headers(HEADERS_MAX) if each.first_offset not in self._damaged
        ]
        run = plan_merge(headers, events_max=events_max, bytes_max=self._bytes_max, fan_in=fan_in)
        if run is None:
            return False
        self._rewrite(run, packer)
        return True

    def give_back(self) -> bool:
        """Shrink the file by some of the pages that rewriting freed; false when none are left."""
        return self.segment.give_back(VACUUM_PAGES)

    def _candidates(self) -> list[ChunkHeader]:
        headers = self.segment.headers(self._settled, HEADERS_MAX)
        # What is dense and too large to be merged with anything need not be looked at again.
        for header in headers:
            if header.level != self._packer.level or header.count * 2 <= self._events_max:
                break
            self._settled = header.stop
        return [each for each in headers if each.stop > self._settled and each.first_offset not in self._damaged]

    def _rewrite(self, run: Sequence[ChunkHeader], packer: Packer | None = None) -> None:
        raw: list[bytes] = []
        freed = 0
        for header in run:
            try:
                data = self.segment.data(header)
                raw.append(unpack(header, data))
                freed += len(data)
            except (JournalCorrupt, apsw.CorruptError) as damage:
                _log.error("damaged chunk left alone segment=%s reason=%s", self.segment.path.name, damage)
                self._damaged.add(header.first_offset)
                return
        row = _merged(run, b"".join(raw), packer or self._packer)
        with self.segment.transaction() as execute:
            execute(
                "DELETE FROM chunk WHERE first_offset >= ? AND first_offset < ?", (run[0].first_offset, run[-1].stop)
            )
            insert_row(execute, row)
            crash_point("in_merge")
        self.segment.data_bytes += len(row.data) - freed


def _merged(run: Sequence[ChunkHeader], raw: bytes, packer: Packer) -> ChunkRow:
    first = run[0].first_offset
    summary = run[0].summary
    for header in run[1:]:
        summary = summary.merge(header.summary)
    gaps = [gap for header in run for gap in decode_gaps(header)]
    return packer.pack(first, run[-1].stop - first, raw, summary, gaps)
