"""The work that waits until the writer has time: one bounded step at a time, between commits, on its thread.

In this order: merge and recompress the active segment, give its freed pages back, empty its WAL; then the same for
each earlier segment that is not sealed yet, and seal it. A sealed segment is never written again. A segment that
was set aside as damaged is left as it is. Under load only the newest small chunks are merged, in small steps.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import apsw

from zarkov.config.journal import JournalSettings
from zarkov.errors import JournalCorrupt, JournalError
from zarkov.journal.catalog import Catalog
from zarkov.journal.checkpoints import CHECKPOINT_PAGES
from zarkov.journal.compaction import Compaction
from zarkov.journal.directory import list_segments
from zarkov.journal.format import ChunkRow, Packer
from zarkov.journal.segment import Segment

_log = logging.getLogger(__name__)

#: Under load a merge makes a chunk of a quarter of `chunk_events_max`, at most: some milliseconds of work.
LOAD_SHARE = 4
LOAD_FAN_IN = 8


class Upkeep:
    """Not thread-safe: the writer calls it."""

    def __init__(self, directory: Path, catalog: Catalog, settings: JournalSettings, vfs: str | None) -> None:
        self._directory = directory
        self._catalog = catalog
        self._settings = settings
        self._vfs = vfs
        self._fast = Packer(settings.compress_level)
        self._dense = Packer(settings.compact_level)
        self._active: Compaction | None = None
        self._sealing: Compaction | None = None
        self._sealed_before = 0
        self._small = 0

    def appended(self, rows: Sequence[ChunkRow]) -> None:
        """Chunks were added to the active segment."""
        small = self._settings.chunk_events_max // LOAD_SHARE
        self._small += sum(row.header.count < small for row in rows)

    def merge_under_load(self, active: Segment) -> bool:
        """One small merge, if enough small chunks came; true when another may follow."""
        if self._small < self._settings.small_chunks_max:
            return False
        events_max = max(LOAD_FAN_IN, self._settings.chunk_events_max // LOAD_SHARE)
        if self._of(active).merge_newest(self._fast, events_max=events_max, fan_in=LOAD_FAN_IN):
            return True
        self._small = 0
        return False

    def step(self, active: Segment) -> bool:
        """One step of everything; true when there is more. Raises: JournalFull, JournalFailed."""
        if self._of(active).step():
            self._limit_wal(active)
            return True
        self._small = 0
        if active.wal_pages:
            active.checkpoint(apsw.SQLITE_CHECKPOINT_TRUNCATE)
            active.wal_pages = 0
        return self._seal_step(active)

    def close(self) -> None:
        """Close the segment that is being sealed."""
        if self._sealing is not None:
            self._sealing.segment.close()
            self._sealing = None

    def _of(self, active: Segment) -> Compaction:
        if self._active is None or self._active.segment is not active:
            self._active = self._compaction(active)
        return self._active

    def _compaction(self, segment: Segment) -> Compaction:
        return Compaction(
            segment,
            self._dense,
            events_max=self._settings.chunk_events_max,
            bytes_max=self._settings.chunk_bytes_max,
        )

    def _seal_step(self, active: Segment) -> bool:
        if self._sealing is None:
            segment = self._next_to_seal(active.first_offset)
            if segment is None:
                return False
            self._sealing = self._compaction(segment)
        segment = self._sealing.segment
        if self._sealing.step():
            self._limit_wal(segment)
            return True
        with segment.transaction() as execute:
            execute("UPDATE meta SET value = 1 WHERE key = 'sealed'")
        segment.checkpoint(apsw.SQLITE_CHECKPOINT_TRUNCATE)
        _log.info("segment sealed segment=%s bytes=%d", segment.path.name, segment.data_bytes)
        self._sealed_before = segment.next_offset
        self.close()
        return True

    def _next_to_seal(self, active_first: int) -> Segment | None:
        candidates = [
            each for each in list_segments(self._directory) if self._sealed_before <= each.first_offset < active_first
        ]
        if not candidates:
            return None
        set_aside = {each.segment for each in self._catalog.quarantined() if each.count == 0}
        for each in candidates:
            self._sealed_before = each.first_offset + 1
            if each.path.name in set_aside:
                continue
            try:
                segment = Segment.open(each.path, journal_id=self._catalog.journal_id, vfs=self._vfs)
            except JournalCorrupt as damage:
                _log.error("damaged segment left alone segment=%s reason=%s", each.path.name, damage)
                continue
            except JournalError as error:
                _log.error("segment not sealed segment=%s reason=%s", each.path.name, error)
                continue
            if segment is not None and not segment.meta("sealed"):
                return segment
            if segment is not None:
                segment.close()
        return None

    def _limit_wal(self, segment: Segment) -> None:
        if segment.wal_pages > CHECKPOINT_PAGES:
            segment.checkpoint()
