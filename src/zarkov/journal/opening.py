"""What happens when a journal is opened for writing: finish what a crash interrupted, find where to go on.

After a crash the directory may hold: a catalog without tables (the journal was being created: nothing is lost), a
segment without tables (it was being begun: it holds nothing, it is removed), segments below the catalog's first
offset (retention was removing them: they are removed), a repaired copy beside or in place of its original (a
copy that is complete takes its place, another is removed). A segment that must be trusted and cannot be is set
aside: it stays where it is, readable as far as it is sound, and is never written again; events go on in a new
segment at an offset beyond all that were ever given.
"""

from __future__ import annotations

import itertools
import logging
from dataclasses import dataclass
from pathlib import Path

import apsw

from zarkov.config.journal import JournalSettings
from zarkov.errors import JournalCorrupt, JournalError
from zarkov.journal import producers
from zarkov.journal.catalog import CATALOG_NAME, Catalog, Quarantined, identity
from zarkov.journal.database import connect
from zarkov.journal.directory import (
    BUILDING_SUFFIX,
    SegmentFile,
    list_segments,
    remove_orphans,
    remove_segment,
    segment_path,
)
from zarkov.journal.producers import ProducerWindows, Remembered
from zarkov.journal.segment import Segment
from zarkov.journal.wal import lost_commits

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Opened:
    """Where writing goes on."""

    catalog: Catalog
    active: Segment
    windows: ProducerWindows


def open_for_writing(directory: Path, settings: JournalSettings, now_ms: int, vfs: str | None) -> Opened:
    """Recover and open; the caller holds the directory's lock.

    Raises: JournalCorrupt: the catalog is damaged or missing. JournalVersion. JournalFull. JournalFailed.
    """
    catalog = _open_catalog(directory, now_ms, vfs)
    try:
        finish_interrupted(directory, catalog)
        windows = ProducerWindows(settings.window_max, settings.producers_max)
        active = _open_active(directory, catalog, windows, settings, now_ms, vfs)
    except BaseException:
        catalog.close()
        raise
    return Opened(catalog, active, windows)


def begin_segment(
    directory: Path,
    catalog: Catalog,
    first_offset: int,
    remembered: list[Remembered],
    settings: JournalSettings,
    now_ms: int,
    vfs: str | None,
) -> Segment:
    """A new active segment at `first_offset`. Raises: JournalFull, JournalFailed: there is none."""
    catalog.reserve(first_offset + settings.segment_events_max)
    path = segment_path(directory, first_offset)
    segment = Segment.create(path, catalog.journal_id, now_ms, remembered, settings.window_max, vfs)
    try:
        catalog.begin(first_offset)
    except JournalError:
        segment.close()
        remove_segment(path)
        raise
    return segment


def set_aside(catalog: Catalog, path: Path, first_offset: int, reason: str, now_ms: int) -> None:
    """Record that a segment is damaged and will not be written again."""
    _log.error("segment set aside segment=%s reason=%s", path.name, reason)
    catalog.quarantine(Quarantined(first_offset, 0, path.name, reason, None, now_ms))


def _open_catalog(directory: Path, now_ms: int, vfs: str | None) -> Catalog:
    catalog = Catalog.open(directory, "write", vfs)
    if catalog is not None:
        return catalog
    if list_segments(directory):
        raise JournalCorrupt(f"{directory} has segments but no {CATALOG_NAME}")
    remove_segment(directory / CATALOG_NAME)
    return Catalog.create(directory, identity(), now_ms, vfs=vfs)


def finish_interrupted(directory: Path, catalog: Catalog) -> None:
    """Finish the repair and the retention that a crash interrupted."""
    for copy in directory.glob(f"*{BUILDING_SUFFIX}"):
        place = copy.with_name(copy.name.removesuffix(BUILDING_SUFFIX) + ".segment")
        # A repair moves the original away only once its copy is complete and synced.
        if place.exists():
            remove_segment(copy)
        else:
            copy.rename(place)
            _log.warning("repair finished segment=%s", place.name)
    segments = list_segments(directory)
    for segment, following in itertools.pairwise(segments):
        if following.first_offset <= catalog.first_offset:
            remove_segment(segment.path)
    remove_orphans(directory)


def _open_active(
    directory: Path,
    catalog: Catalog,
    windows: ProducerWindows,
    settings: JournalSettings,
    now_ms: int,
    vfs: str | None,
) -> Segment:
    segments = list_segments(directory)
    while segments and segments[-1].first_offset > catalog.begun and _is_unfinished(segments[-1].path, vfs):
        remove_segment(segments.pop().path)
    first_offset = catalog.first_offset
    try:
        active = _trusted(segments, catalog, vfs)
    except JournalCorrupt as damage:
        first_offset = catalog.reserved
        path = segments[-1].path if segments else segment_path(directory, catalog.begun)
        set_aside(catalog, path, segments[-1].first_offset if segments else catalog.begun, str(damage), now_ms)
        active = None
    if active is not None:
        catalog.begin(active.first_offset)
        _load_windows(active, windows, settings.window_max)
        return active
    remembered = windows.load(salvage(segments))
    return begin_segment(directory, catalog, first_offset, remembered, settings, now_ms, vfs)


def _is_unfinished(path: Path, vfs: str | None) -> bool:
    """Whether a segment has no tables yet; a file that cannot be read is not of that kind."""
    try:
        # For writing: the crash may have left a journal that SQLite must roll back first.
        connection = connect(path, "write", vfs)
        try:
            return not connection.table_exists("main", "meta")
        finally:
            connection.close()
    except apsw.Error:
        return False


def _trusted(segments: list[SegmentFile], catalog: Catalog, vfs: str | None) -> Segment | None:
    """The last segment, open; None when the journal has none yet. Raises: JournalCorrupt: events may be lost."""
    if not segments or segments[-1].first_offset < catalog.begun:
        if catalog.begun < 0:
            return None
        raise JournalCorrupt(f"the segment of offset {catalog.begun:,} is missing")
    last = segments[-1]
    active = Segment.open(last.path, journal_id=catalog.journal_id, vfs=vfs)
    if active is None:
        raise JournalCorrupt(f"{last.path.name} has lost its tables")
    lost = lost_commits(active.connection, last.path)
    if lost:
        active.close(checkpoint=False)
        raise JournalCorrupt(f"the WAL of {last.path.name} is damaged before its last {lost} commits")
    return active


def _load_windows(active: Segment, windows: ProducerWindows, window_max: int) -> None:
    current = windows.load(list(producers.read_records(active.connection)))
    if active.meta("window_max") == window_max:
        return
    # A batch's slot depends on the size of the window.
    with active.transaction() as execute:
        execute("DELETE FROM producer")
        producers.store(execute, current, window_max)
        execute("UPDATE meta SET value = ? WHERE key = 'window_max'", (window_max,))


def salvage(segments: list[SegmentFile]) -> list[Remembered]:
    """The producers' batches as far as they can be read, from the newest segment that still knows them."""
    for segment in reversed(segments):
        try:
            connection = connect(segment.path, "read")
        except apsw.Error:
            continue
        found: list[Remembered] = []
        try:
            found.extend(producers.read_records(connection))
        except apsw.Error as error:
            _log.warning("producers' windows unreadable segment=%s reason=%s", segment.path.name, error)
        finally:
            connection.close()
        if found:
            return found
    return []
