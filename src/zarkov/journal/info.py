"""What an operator asks of a journal, as values."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

from zarkov.errors import JournalCorrupt
from zarkov.journal.catalog import CATALOG_NAME, Generation, Quarantined, ReaderPosition
from zarkov.journal.directory import SegmentFile
from zarkov.journal.format import FORMAT, OFFSET_MAX, ChunkHeader, decode_gaps
from zarkov.journal.segments import Segments

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class SegmentInfo:
    """One segment. `bytes`: on disk, its WAL included; `chunks` and `events`: as far as they can be read."""

    name: str
    first_offset: int
    next_offset: int
    chunks: int
    events: int
    bytes: int
    created_ms: int | None
    sealed: bool


@dataclass(frozen=True, slots=True)
class JournalInfo:
    """A journal at one moment; `bytes` are all its files on disk."""

    directory: Path
    journal_id: str
    format: int
    first_offset: int
    next_offset: int
    events: int
    chunks: int
    bytes: int
    segments: tuple[SegmentInfo, ...]
    generations: tuple[Generation, ...]
    readers: tuple[ReaderPosition, ...]
    quarantined: tuple[Quarantined, ...]


def collect_info(directory: Path, segments: Segments) -> JournalInfo:
    """Ask every segment; what cannot be read counts nothing. Raises: JournalCorrupt: the catalog is damaged."""
    catalog = segments.catalog
    found = [_segment_info(segments, file) for file in segments.ready()]
    catalog_bytes = sum(path.stat().st_size for path in directory.glob(f"{CATALOG_NAME}*"))
    return JournalInfo(
        directory=directory,
        journal_id=catalog.journal_id,
        format=FORMAT,
        first_offset=segments.first_offset(),
        next_offset=segments.next_offset(),
        events=sum(each.events for each in found),
        chunks=sum(each.chunks for each in found),
        bytes=catalog_bytes + sum(each.bytes for each in found),
        segments=tuple(found),
        generations=tuple(catalog.generations()),
        readers=tuple(catalog.readers()),
        quarantined=tuple(catalog.quarantined()),
    )


def _segment_info(segments: Segments, file: SegmentFile) -> SegmentInfo:
    chunks = events = 0
    next_offset = file.first_offset
    created_ms, sealed = None, False
    try:
        reader = segments.reader(file)
        created_ms, sealed = reader.meta("created_ms"), bool(reader.meta("sealed"))
        for part in reader.headers(file.first_offset, OFFSET_MAX):
            if isinstance(part, ChunkHeader):
                chunks += 1
                events += part.count - sum(gap.count for gap in decode_gaps(part))
                next_offset = part.stop
    except JournalCorrupt as damage:
        _log.warning("segment unreadable segment=%s reason=%s", file.path.name, damage)
    name = file.path.name
    return SegmentInfo(name, file.first_offset, next_offset, chunks, events, file.bytes, created_ms, sealed)
