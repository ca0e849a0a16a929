"""Making a damaged journal whole again, with no server running.

Every sound chunk stays; what cannot be read is recorded in the catalog's quarantine, and its offsets become a chunk
without events, so that readers pass over it and no offset is given twice. A damaged segment is replaced by a copy of
what is sound: the copy is written and synced beside it, the original moves to `damaged/` with its WAL, the copy takes
its name (a crash in between is finished at the next start). Where the last segment may have lost its end, a new one
begins at an offset beyond all that were ever given. A damaged catalog is made anew from the segments: its
generations and its readers' positions are lost, which is said.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import apsw
from bson.errors import BSONError

from zarkov.batch import Summary
from zarkov.errors import JournalCorrupt
from zarkov.journal.catalog import CATALOG_NAME, Catalog, Quarantined, identity
from zarkov.journal.chunk import Chunk
from zarkov.journal.database import sync_directory
from zarkov.journal.directory import (
    BUILDING_SUFFIX,
    DAMAGED_DIRECTORY,
    SUFFIX,
    SegmentFile,
    list_segments,
    remove_segment,
    segment_path,
    side_files,
)
from zarkov.journal.format import CODEC_GONE, OFFSET_MAX, ChunkRow, Packer, pack_gone
from zarkov.journal.lock import DirectoryLock
from zarkov.journal.opening import finish_interrupted, salvage
from zarkov.journal.segment import Segment, insert_row
from zarkov.journal.segment_reader import CorruptChunk, SegmentReader
from zarkov.journal.selection import EVERYTHING
from zarkov.journal.verify import Finding, VerifyReport, check_segment, chunk_fault, integrity_faults

_log = logging.getLogger(__name__)

#: Where offsets go on when nobody knows which were given: the step is the largest `segment_events_max`.
UNKNOWN_STEP = 10**12
#: The window of a segment that cannot say its own.
WINDOW_DEFAULT = 64
#: Bounds of a chunk that holds nothing.
_NO_EVENTS = Summary(OFFSET_MAX, -OFFSET_MAX - 1, b"\xff" * 12, b"\x00" * 12, frozenset())


@dataclass(slots=True)
class RepairReport:
    """What was done, a sentence each; `lost` are the ranges of offsets (stop excluded) without events now."""

    actions: list[str] = field(default_factory=list)
    lost: list[tuple[int, int]] = field(default_factory=list)

    @property
    def changed(self) -> bool:
        """Whether anything had to be done."""
        return bool(self.actions)


def repair(directory: Path, *, clock: Callable[[], float]) -> RepairReport:
    """Repair the journal in `directory`; afterwards `verify` finds nothing.

    Raises: JournalLocked: a server runs. JournalFull, JournalFailed: what was done until then stays done.
    """
    lock = DirectoryLock(directory)
    try:
        return _Repair(directory, int(clock() * 1000)).run()
    finally:
        lock.release()


class _Repair:
    def __init__(self, directory: Path, now_ms: int) -> None:
        self._directory = directory
        self._now_ms = now_ms
        self._report = RepairReport()
        self._catalog: Catalog

    def run(self) -> RepairReport:
        files = list_segments(self._directory)
        catalog = _sound_catalog(self._directory)
        is_new = catalog is None
        self._catalog = catalog or self._new_catalog(files)
        try:
            finish_interrupted(self._directory, self._catalog)
            files = list_segments(self._directory)
            stop, end_is_known = self._segments(files)
            if is_new:
                self._catalog.reserve(stop if end_is_known else stop + UNKNOWN_STEP)
            if not end_is_known:
                self._begin_anew(files)
        finally:
            self._catalog.close()
        return self._report

    def _segments(self, files: list[SegmentFile]) -> tuple[int, bool]:
        """Mend each; returns the offset after the last event, and whether none can have come after it."""
        stop, end_is_known = 0, True
        for index, file in enumerate(files):
            following = files[index + 1].first_offset if index + 1 < len(files) else None
            checked = VerifyReport()
            stop = check_segment(file, checked, self._catalog.begun)
            is_short = following is not None and stop < following and not self._was_set_aside(file)
            if checked.findings or is_short:
                stop = self._replace(file, following)
            if following is None:
                end_is_known = not any(_may_hide_the_end(finding) for finding in checked.findings)
        missing = not files or files[-1].first_offset < self._catalog.begun
        return stop, end_is_known and not (missing and self._catalog.begun >= 0)

    def _replace(self, file: SegmentFile, following: int | None) -> int:
        copy = file.path.with_name(file.path.name.removesuffix(SUFFIX) + BUILDING_SUFFIX)
        remove_segment(copy)
        segment = Segment.create(copy, self._catalog.journal_id, self._now_ms, salvage([file]), _window_max(file))
        try:
            at = self._copy(file, segment)
            if following is not None and at < following and not self._was_set_aside(file):
                at = self._lose(file, segment, at, following, "nothing can be read up to the next segment")
            segment.checkpoint(apsw.SQLITE_CHECKPOINT_TRUNCATE)
        finally:
            segment.close()
        move_to_damaged(file.path)
        copy.rename(file.path)
        sync_directory(self._directory)
        self._did(f"{file.path.name} was replaced by what of it is sound; the original is in {DAMAGED_DIRECTORY}/")
        return at

    def _copy(self, file: SegmentFile, segment: Segment) -> int:
        """Copy what is sound; returns the offset after it."""
        at = file.first_offset
        try:
            reader = SegmentReader(file)
        except JournalCorrupt:
            return at
        try:
            for part in reader.chunks(file.first_offset, OFFSET_MAX, EVERYTHING):
                if isinstance(part, CorruptChunk):
                    if part.stop is not None:
                        data = _stored(reader.connection, part.first_offset)
                        at = self._lose(file, segment, part.first_offset, part.stop, part.reason, data)
                    continue
                header = part.header
                if header.first_offset > at:
                    at = self._lose(file, segment, at, header.first_offset, "chunks are missing")
                row, fault = mended(part)
                if row is None:
                    at = self._lose(file, segment, header.first_offset, header.stop, fault, part.stored)
                    continue
                with segment.transaction() as execute:
                    insert_row(execute, row)
                at = header.stop
        finally:
            reader.close()
        return at

    def _lose(
        self, file: SegmentFile, segment: Segment, first: int, stop: int, reason: str, data: bytes | None = None
    ) -> int:
        found = Quarantined(first, stop - first, file.path.name, reason, data, self._now_ms)
        self._catalog.quarantine(found)
        with segment.transaction() as execute:
            insert_row(execute, pack_gone(first, stop - first, _NO_EVENTS))
        self._report.lost.append((first, stop))
        self._did(f"offsets {first:,} to {stop - 1:,} are lost: {reason}")
        return stop

    def _begin_anew(self, files: list[SegmentFile]) -> None:
        """End the last segment, whose end may be lost, and begin one at an offset never given."""
        for last in files[-1:]:
            reason = "what came after it may be lost"
            self._catalog.quarantine(Quarantined(last.first_offset, 0, last.path.name, reason, None, self._now_ms))
        first = self._catalog.reserved
        self._catalog.reserve(first + 1)
        path = segment_path(self._directory, first)
        window_max = _window_max(files[-1]) if files else WINDOW_DEFAULT
        Segment.create(path, self._catalog.journal_id, self._now_ms, salvage(files), window_max).close()
        self._catalog.begin(first)
        self._did(f"events after the last that can be read may be lost; new ones begin at offset {first:,}")

    def _new_catalog(self, files: list[SegmentFile]) -> Catalog:
        move_to_damaged(self._directory / CATALOG_NAME)
        found = [journal_id for file in files if (journal_id := _meta(file, "journal_id"))]
        first = files[0].first_offset if files else 0
        catalog = Catalog.create(
            self._directory, str(found[0]) if found else identity(), self._now_ms, first_offset=first
        )
        if files:
            catalog.begin(files[-1].first_offset)
        self._did("the catalog was made anew: one generation, no readers; register the readers before retention runs")
        return catalog

    def _was_set_aside(self, file: SegmentFile) -> bool:
        return any(each.segment == file.path.name and each.count == 0 for each in self._catalog.quarantined())

    def _did(self, action: str) -> None:
        _log.warning("journal repaired: %s", action)
        self._report.actions.append(action)


def move_to_damaged(path: Path) -> None:
    """Move a database and its side files out of the way, beside what was moved there before."""
    directory = path.parent / DAMAGED_DIRECTORY
    directory.mkdir(exist_ok=True)
    number = 0
    while (directory / f"{path.name}.{number}").exists():
        number += 1
    for each in (*side_files(path), path):
        if each.exists():
            suffix = each.name.removeprefix(path.name)
            each.rename(directory / f"{path.name}.{number}{suffix}")
    sync_directory(directory)
    sync_directory(path.parent)


def mended(chunk: Chunk) -> tuple[ChunkRow | None, str]:
    """The chunk's row, with right bounds if only those were wrong; None and the reason when its events are lost."""
    header = chunk.header
    fault = None if header.codec == CODEC_GONE else chunk_fault(chunk)
    if fault is None:
        return ChunkRow(header, chunk.stored), ""
    try:
        documents = chunk.documents()
        if len(documents) == chunk.count and documents:
            packer = Packer(header.level)
            summary = Summary.of(documents)
            return packer.pack(header.first_offset, header.count, chunk.documents_bytes(), summary, chunk.gaps), ""
    except (JournalCorrupt, BSONError, ValueError):
        return None, fault
    return None, fault


def _sound_catalog(directory: Path) -> Catalog | None:
    try:
        catalog = Catalog.open(directory, "write")
        if catalog is not None and integrity_faults(catalog.connection):
            catalog.close()
            return None
    except JournalCorrupt:
        return None
    return catalog


def _may_hide_the_end(finding: Finding) -> bool:
    return finding.kind in ("file", "wal") or (finding.kind == "chunk" and finding.stop_offset is None)


def _meta(file: SegmentFile, key: str) -> object:
    try:
        reader = SegmentReader(file)
    except JournalCorrupt:
        return None
    try:
        return reader.meta(key)
    finally:
        reader.close()


def _window_max(file: SegmentFile) -> int:
    found = _meta(file, "window_max")
    return found if isinstance(found, int) and found > 0 else WINDOW_DEFAULT


def _stored(connection: apsw.Connection, first_offset: int) -> bytes | None:
    try:
        found = connection.execute("SELECT data FROM chunk WHERE first_offset = ?", (first_offset,)).get
    except apsw.Error:
        return None
    return found if isinstance(found, bytes) else None
