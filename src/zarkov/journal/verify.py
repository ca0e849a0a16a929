"""Checking every byte of a journal, without changing anything; also while a writer runs.

Of every file SQLite's own integrity check; of every WAL whether it lost commits; of every chunk both checksums, that
it decompresses to as many BSON documents as it says, that each decodes, and that its bounds hold for them; and that
chunks and segments follow each other without holes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import apsw
import bson
from bson import ObjectId
from bson.datetime_ms import DatetimeMS
from bson.errors import BSONError

from zarkov.batch import Summary, epoch_ms
from zarkov.codec import CODEC_OPTIONS
from zarkov.errors import JournalCorrupt
from zarkov.journal.catalog import CATALOG_NAME, Catalog
from zarkov.journal.chunk import Chunk
from zarkov.journal.directory import SegmentFile, list_segments, segment_path
from zarkov.journal.format import CODEC_GONE, OFFSET_MAX
from zarkov.journal.segment_reader import CorruptChunk, SegmentReader
from zarkov.journal.selection import EVERYTHING
from zarkov.journal.wal import lost_commits

Kind = Literal["catalog", "file", "wal", "chunk", "hole"]

#: Progress(segments checked, segments in all).
Progress = Callable[[int, int], object]


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is not as it was written. Offsets are None where they do not apply or are unknown."""

    kind: Kind
    file: str
    reason: str
    first_offset: int | None = None
    stop_offset: int | None = None


@dataclass(slots=True)
class VerifyReport:
    """`lost_events`: those that an earlier repair found lost; they are known and no finding."""

    segments: int = 0
    chunks: int = 0
    events: int = 0
    lost_events: int = 0
    findings: list[Finding] = field(default_factory=list)

    @property
    def is_sound(self) -> bool:
        """Whether everything is as it was written."""
        return not self.findings


def verify(directory: Path, *, progress: Progress | None = None) -> VerifyReport:
    """Check the journal in `directory`. Raises: OSError: the directory cannot be read."""
    report = VerifyReport()
    known: set[str] = set()
    begun = -1
    try:
        catalog = Catalog.open(directory)
        if catalog is None:
            report.findings.append(Finding("catalog", CATALOG_NAME, "there is none"))
        else:
            known = {each.segment for each in catalog.quarantined() if each.count == 0}
            begun = catalog.begun
            report.findings.extend(_catalog_findings(catalog))
            catalog.close()
    except JournalCorrupt as damage:
        report.findings.append(Finding("catalog", CATALOG_NAME, str(damage)))
    files = list_segments(directory)
    stops: dict[str, int] = {}
    for done, file in enumerate(files):
        if progress is not None:
            progress(done, len(files))
        stops[file.path.name] = check_segment(file, report, begun)
    for file, following in pairwise(files):
        stop = stops[file.path.name]
        if stop < following.first_offset and file.path.name not in known:
            reason = "the next segment begins later than this one ends"
            report.findings.append(Finding("hole", file.path.name, reason, stop, following.first_offset))
    if begun >= 0 and (not files or files[-1].first_offset < begun):
        report.findings.append(Finding("hole", segment_path(directory, begun).name, "the segment is missing", begun))
    if progress is not None:
        progress(len(files), len(files))
    return report


def check_segment(file: SegmentFile, report: VerifyReport, begun: int) -> int:
    """Check one segment into `report`; returns the offset after its last chunk, sound or not.

    Args: begun: segments up to this first offset took events, or may have (see Catalog).
    """
    report.segments += 1
    name = file.path.name
    try:
        reader = SegmentReader(file)
    except JournalCorrupt as damage:
        report.findings.append(Finding("file", name, str(damage), file.first_offset))
        return file.first_offset
    try:
        lost = lost_commits(reader.connection, file.path)
        if lost:
            reason = f"its WAL is damaged before its last {lost} commits"
            report.findings.append(Finding("wal", name, reason, reader.next_offset))
        for reason in integrity_faults(reader.connection):
            report.findings.append(Finding("file", name, reason, file.first_offset))
        if not reader.is_ready:
            if file.first_offset <= begun:
                report.findings.append(Finding("file", name, "it has lost its tables", file.first_offset))
            return file.first_offset
        return _check_chunks(reader, report)
    except (JournalCorrupt, apsw.Error) as damage:
        report.findings.append(Finding("file", name, f"it cannot be read: {damage}", file.first_offset))
        return file.first_offset
    finally:
        reader.close()


def integrity_faults(connection: apsw.Connection) -> list[str]:
    """What SQLite's integrity check says, up to 10 lines; empty when it is content."""
    try:
        rows = [str(text) for (text,) in connection.execute("PRAGMA integrity_check(10)")]
    except apsw.Error as error:
        return [f"SQLite cannot check it: {error}"]
    return [] if rows == ["ok"] else rows


def chunk_fault(chunk: Chunk) -> str | None:
    """What is wrong with a chunk whose checksums are right; None when nothing is."""
    try:
        documents = bson.decode_all(chunk.documents_bytes(), CODEC_OPTIONS)
    except (JournalCorrupt, BSONError, ValueError) as error:
        return f"it does not decode: {error}"
    if len(documents) != chunk.count:
        return f"it says {chunk.count:,} events and holds {len(documents):,}"
    if not _covers(chunk.header.summary, documents):
        return "its bounds do not cover its events"
    return None


def _check_chunks(reader: SegmentReader, report: VerifyReport) -> int:
    name, stop = reader.file.path.name, reader.file.first_offset
    for part in reader.chunks(reader.file.first_offset, OFFSET_MAX, EVERYTHING):
        if isinstance(part, CorruptChunk):
            report.findings.append(Finding("chunk", name, part.reason, part.first_offset, part.stop))
            stop = part.stop or part.first_offset
            continue
        header = part.header
        report.chunks += 1
        if header.first_offset != stop:
            report.findings.append(Finding("hole", name, "chunks are missing", stop, header.first_offset))
        stop = header.stop
        if header.codec == CODEC_GONE:
            report.lost_events += header.count
            continue
        fault = chunk_fault(part)
        if fault is not None:
            report.findings.append(Finding("chunk", name, fault, header.first_offset, header.stop))
        else:
            report.events += part.count
    return stop


def _covers(bounds: Summary, documents: list[dict[str, Any]]) -> bool:
    """Whether a reader that trusts the bounds misses none of the events. What an event lacks has no bounds."""
    for document in documents:
        stamp, ident, kind = document.get("timestamp"), document.get("_id"), document.get("type")
        if isinstance(stamp, datetime | DatetimeMS) and not bounds.ts_min_ms <= epoch_ms(stamp) <= bounds.ts_max_ms:
            return False
        if isinstance(ident, ObjectId) and not bounds.id_min <= ident.binary <= bounds.id_max:
            return False
        if isinstance(kind, str) and bounds.types is not None and kind not in bounds.types:
            return False
    return True


def _catalog_findings(catalog: Catalog) -> Iterator[Finding]:
    for reason in integrity_faults(catalog.connection):
        yield Finding("catalog", CATALOG_NAME, reason)
