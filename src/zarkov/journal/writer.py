"""The only writer of a journal.

Theory of operation. The writer holds the directory's lock and one open segment, the *active* one, which is the
last. `commit` puts the events of many entries, as chunks, and the producers' batches into one transaction of the
active segment and returns after its sync: a crash before the sync leaves nothing of it, a crash after it
everything. Offsets are given at the commit, consecutively. When the active segment is large enough the next one is
begun (its name is its first offset) before the commit; a crash in between leaves an empty segment, which is then
the active one. `rotate` begins a segment too, so that generations end where segments end.

Errors: JournalFull leaves everything as it was. After JournalFailed (a failed sync; nobody can know what the disk
holds) the writer refuses every commit; the next start recovers from the WAL. A segment found damaged while it is
written is set aside, and the commit goes into a new one.

Between commits `upkeep` does a bounded piece of work: see `upkeep`.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import TracebackType

import apsw

from zarkov.batch import Entry, ProducerRecord
from zarkov.config.journal import JournalSettings
from zarkov.crash import crash_point
from zarkov.errors import JournalCorrupt, JournalFailed, JournalFull
from zarkov.journal import producers
from zarkov.journal.catalog import Generation
from zarkov.journal.checkpoints import CHECKPOINT_PAGES, WAL_PAGES_MAX, Checkpointer
from zarkov.journal.database import require_sound_sqlite
from zarkov.journal.format import ChunkRow, Packer
from zarkov.journal.lock import DirectoryLock
from zarkov.journal.opening import Opened, begin_segment, open_for_writing, set_aside
from zarkov.journal.packing import plan_runs
from zarkov.journal.producers import Remembered
from zarkov.journal.retention import Retention
from zarkov.journal.segment import insert_row
from zarkov.journal.upkeep import Upkeep
from zarkov.position import OffsetRange

_log = logging.getLogger(__name__)


class JournalWriter:
    """Appends to a journal. Not thread-safe: one thread at a time. A context manager."""

    def __init__(
        self,
        directory: Path,
        settings: JournalSettings,
        lock: DirectoryLock,
        opened: Opened,
        clock: Callable[[], float],
        vfs: str | None,
    ) -> None:
        self._directory = directory
        self._settings = settings
        self._lock = lock
        self._catalog = opened.catalog
        self._active = opened.active
        self._windows = opened.windows
        self._clock = clock
        self._vfs = vfs
        self._reserved = opened.catalog.reserved
        self._packer = Packer(settings.compress_level)
        self._checkpointer = Checkpointer(vfs)
        self._retention = Retention(directory, opened.catalog, settings)
        self._upkeep = Upkeep(directory, opened.catalog, settings, vfs)
        self._failed: JournalFailed | None = None
        self._closed = False

    @classmethod
    def open(
        cls,
        directory: Path,
        settings: JournalSettings,
        *,
        clock: Callable[[], float] = time.time,
        vfs: str | None = None,
    ) -> JournalWriter:
        """Open the journal in `directory`, making it if there is none, and recover what a crash left.

        Args: clock: seconds since 1970. vfs: the name of a SQLite VFS, for tests.
        Raises: JournalLocked: another process writes here. JournalVersion. JournalCorrupt: the catalog is damaged.
        """
        require_sound_sqlite()
        directory.mkdir(parents=True, exist_ok=True)
        lock = DirectoryLock(directory)
        try:
            opened = open_for_writing(directory, settings, int(clock() * 1000), vfs)
        except BaseException:
            lock.release()
            raise
        return cls(directory, settings, lock, opened, clock, vfs)

    @property
    def journal_id(self) -> str:
        """The name of this journal in positions."""
        return self._catalog.journal_id

    @property
    def next_offset(self) -> int:
        """The offset that the next event will get."""
        return self._active.next_offset

    @property
    def directory(self) -> Path:
        """Where the journal lies."""
        return self._directory

    def commit(self, entries: Sequence[Entry]) -> list[OffsetRange]:
        """Append the entries' events in order, and record their producers' batches, in one synced transaction.

        Returns: the offsets of each entry's events; `OffsetRange(-1, 0)` for an entry without events.
        Raises: JournalFull: nothing was written; retry when there is space. JournalFailed: nothing may be
            written here any more; what was not acknowledged may or may not be stored.
        Durability: survives power loss once this returns.
        """
        self._require_usable()
        self._require_space()
        count = sum(entry.count for entry in entries)
        if self._is_full(count):
            self._roll()
            self._retention.remove(self._active.first_offset, self._now_ms())  # a busy writer is never idle
        try:
            ranges = self._append(entries, count)
        except JournalCorrupt as damage:
            self._replace_active(str(damage))
            ranges = self._append(entries, count)
        crash_point("after_commit")
        if self._active.wal_pages > CHECKPOINT_PAGES:
            self._checkpointer.request(self._active.path)
        return ranges

    def producer_records(self) -> Iterator[ProducerRecord]:
        """Every batch that a retry may still name, the longest idle first."""
        for record, _ in self._remembered():
            yield record

    def generations(self) -> list[Generation]:
        """Newest first: `event`, `event.0`, ..."""
        return self._catalog.generations()

    def rotate(self) -> Generation:
        """End the current generation and begin the next; returns the one that ended (now `event.0`)."""
        self._require_usable()
        if self._active.next_offset > self._active.first_offset:
            self._roll()
        crash_point("in_rotate")
        return self._catalog.rotate(self.next_offset, self._now_ms())

    def drop_generation(self, ordinal: int) -> bool:
        """Give this ended generation and all before it to retention, and remove what no reader waits for.

        Returns: whether all of it is removed now; otherwise upkeep removes the rest behind the readers.
        """
        self._catalog.drop_generation(ordinal)
        return self._retention.remove(self._active.first_offset, self._now_ms())

    def upkeep(self, idle: bool) -> bool:
        """Do a bounded piece (some 20 ms) of the work that waits; true when there is more.

        Under load (`idle` false) retention runs, and small chunks are merged when there are many; the rest waits.
        Raises: JournalFailed. A full disk postpones the work.
        """
        self._require_usable()
        now_ms = self._now_ms()
        try:
            if self._retention.is_due(now_ms):
                if self._retention.wants_new_segment(self._active, now_ms):
                    self._roll()
                self._retention.remove(self._active.first_offset, now_ms)
            return self._upkeep.step(self._active) if idle else self._upkeep.merge_under_load(self._active)
        except JournalFull as full:
            _log.warning("upkeep postponed reason=%s", full)
            return False

    def close(self) -> None:
        """Close every file and free the lock; a second call does nothing."""
        if self._closed:
            return
        self._closed = True
        self._checkpointer.stop()
        sound = self._failed is None and self._checkpointer.failed is None
        self._upkeep.close()
        self._active.close(checkpoint=sound)
        self._catalog.close()
        self._lock.release()

    def __enter__(self) -> JournalWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _append(self, entries: Sequence[Entry], count: int) -> list[OffsetRange]:
        offset = self._active.next_offset
        self._reserve(offset + count)
        rows: list[ChunkRow] = []
        for run in plan_runs(entries, self._settings.chunk_events_max, self._settings.chunk_bytes_max):
            rows.append(self._packer.pack(offset, run.count, run.data, run.summary))
            offset += run.count
        ranges = _ranges(entries, self._active.next_offset)
        records = _records(entries, ranges)
        crash_point("before_write")
        try:
            with self._active.transaction() as execute:
                for row in rows:
                    insert_row(execute, row)
                if records:
                    self._windows.write(execute, records)
                crash_point("before_commit")
        except JournalFailed as failure:
            self._failed = failure
            raise
        self._windows.committed(records)
        self._active.next_offset = offset
        self._active.data_bytes += sum(len(row.data) for row in rows)
        self._upkeep.appended(rows)
        if self._active.wal_pages > WAL_PAGES_MAX:
            self._active.checkpoint()
        return ranges

    def _is_full(self, count: int) -> bool:
        held = self._active.next_offset - self._active.first_offset
        return held > 0 and (
            self._active.data_bytes >= self._settings.segment_bytes_max
            or held + count > self._settings.segment_events_max
        )

    def _roll(self) -> None:
        """Begin the next segment where the active one ends."""
        self._begin(self._active.next_offset, list(self._remembered()))

    def _replace_active(self, reason: str) -> None:
        """Never write the damaged active segment again; go on beyond every offset that it may hold."""
        set_aside(self._catalog, self._active.path, self._active.first_offset, reason, self._now_ms())
        try:
            remembered = list(self._remembered())
        except apsw.Error:
            remembered = []
        self._begin(self._catalog.reserved, remembered)

    def _begin(self, first_offset: int, remembered: list[Remembered]) -> None:
        old = self._active
        self._active = begin_segment(
            self._directory, self._catalog, first_offset, remembered, self._settings, self._now_ms(), self._vfs
        )
        self._reserved = self._catalog.reserved
        crash_point("in_roll")
        # Copying what is left in its WAL would keep the commit waiting.
        old.close(checkpoint=False)
        self._checkpointer.request(old.path)

    def _reserve(self, stop: int) -> None:
        if stop > self._reserved:
            self._catalog.reserve(stop + self._settings.segment_events_max)
            self._reserved = self._catalog.reserved

    def _remembered(self) -> Iterator[Remembered]:
        for record, at in producers.read_records(self._active.connection):
            if self._windows.is_current(record):
                yield record, at

    def _require_usable(self) -> None:
        if self._closed:
            raise JournalFailed("the journal is closed", hint="Open it again.")
        failed = self._failed or self._checkpointer.failed
        if failed is not None:
            raise JournalFailed(f"the journal stopped after an error: {failed}") from failed

    def _require_space(self) -> None:
        if self._settings.free_bytes_min:
            disk = os.statvfs(self._directory)
            if disk.f_bavail * disk.f_frsize < self._settings.free_bytes_min:
                raise JournalFull(f"less than free_bytes_min={self._settings.free_bytes_min:,} bytes are free")

    def _now_ms(self) -> int:
        return int(self._clock() * 1000)


def _ranges(entries: Sequence[Entry], offset: int) -> list[OffsetRange]:
    ranges = []
    for entry in entries:
        ranges.append(OffsetRange(offset, entry.count) if entry.count else OffsetRange(-1, 0))
        offset += entry.count
    return ranges


def _records(entries: Sequence[Entry], ranges: Sequence[OffsetRange]) -> list[ProducerRecord]:
    return [
        ProducerRecord(batch.producer, batch.sequence, given.first, given.count, batch.note)
        for entry, given in zip(entries, ranges, strict=True)
        if (batch := entry.producer) is not None
    ]
