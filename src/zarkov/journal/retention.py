"""Removing whole segments from the journal's beginning.

A segment may go when a rule says so (its generation was dropped; it is older than `retention_age_s`; the journal is
larger than `retention_bytes`) and every reader in the catalog is past it. The active segment never goes. First the
catalog's first offset is raised, then the files are unlinked: what a crash leaves in between is below the first
offset, so nobody reads it, and the next start removes it.

A segment's age is counted from when the next one was begun, by the clock of the server: the dates in the events do
not matter. Where age counts, a segment that receives few events is ended after a quarter of that time.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import apsw

from zarkov.config.journal import JournalSettings
from zarkov.crash import crash_point
from zarkov.journal.catalog import Catalog
from zarkov.journal.database import connect
from zarkov.journal.directory import list_segments, remove_segment
from zarkov.journal.segment import Segment

_log = logging.getLogger(__name__)

INTERVAL_MS = 10_000
ROLL_SHARE = 4


@dataclass(frozen=True, slots=True)
class Kept:
    """What retention knows of a segment; `ended_ms` is None when it cannot be read."""

    path: Path
    first_offset: int
    stop_offset: int
    ended_ms: int | None
    bytes: int


def removable(
    segments: Sequence[Kept], *, drop_before: int, readers_at: int | None, age_ms: float, bytes_max: int, now_ms: int
) -> list[Kept]:
    """The segments to remove, oldest first: pure. `segments` are in order, without the active one.

    Args: readers_at: where the last reader is; None without readers. age_ms, bytes_max: 0 sets no limit.
    """
    excess = sum(each.bytes for each in segments) - bytes_max if bytes_max else 0
    chosen: list[Kept] = []
    for each in segments:
        too_old = bool(age_ms) and each.ended_ms is not None and each.ended_ms + age_ms <= now_ms
        if not (each.stop_offset <= drop_before or too_old or excess > 0):
            break
        if readers_at is not None and readers_at < each.stop_offset:
            break
        chosen.append(each)
        excess -= each.bytes
    return chosen


class Retention:
    """Not thread-safe: the writer calls it."""

    def __init__(self, directory: Path, catalog: Catalog, settings: JournalSettings) -> None:
        self._directory = directory
        self._catalog = catalog
        self._settings = settings
        self._checked_ms: int | None = None
        self._created_ms: dict[str, int] = {}

    def is_due(self, now_ms: int) -> bool:
        """Whether the last look is long enough ago; also when the clock went back."""
        return self._checked_ms is None or not 0 <= now_ms - self._checked_ms < INTERVAL_MS

    def wants_new_segment(self, active: Segment, now_ms: int) -> bool:
        """Whether the active segment should end so that its age can count."""
        age_ms = self._settings.retention_age_s * 1000
        held = active.next_offset > active.first_offset
        return bool(age_ms and held and active.meta("created_ms") + age_ms / ROLL_SHARE <= now_ms)

    def remove(self, active_first: int, now_ms: int) -> bool:
        """Remove what may go; returns whether everything before `drop_before` is gone.

        Raises: JournalFull, JournalFailed: the catalog could not be written, nothing was removed.
        """
        self._checked_ms = now_ms
        drop_before = self._catalog.drop_before
        settings = self._settings
        if not (drop_before > self._catalog.first_offset or settings.retention_age_s or settings.retention_bytes):
            return True
        kept = self._kept(active_first)
        gone = removable(
            kept,
            drop_before=drop_before,
            readers_at=min((each.next_offset for each in self._catalog.readers()), default=None),
            age_ms=settings.retention_age_s * 1000,
            bytes_max=settings.retention_bytes,
            now_ms=now_ms,
        )
        if gone:
            self._catalog.raise_first_offset(gone[-1].stop_offset)
        for each in gone:
            remove_segment(each.path)
            self._created_ms.pop(each.path.name, None)
            crash_point("in_retention")
            _log.info("segment removed segment=%s bytes=%d", each.path.name, each.bytes)
        return self._catalog.first_offset >= min(drop_before, active_first)

    def _kept(self, active_first: int) -> list[Kept]:
        segments = [each for each in list_segments(self._directory) if each.first_offset <= active_first]
        return [
            Kept(each.path, each.first_offset, following.first_offset, self._created(following.path), each.bytes)
            for each, following in itertools.pairwise(segments)
        ]

    def _created(self, path: Path) -> int | None:
        """When a segment was begun; None when it cannot be read, and where it does not matter."""
        if not self._settings.retention_age_s:
            return None
        if path.name not in self._created_ms:
            found = _created_ms(path)
            if found is None:
                return None
            self._created_ms[path.name] = found
        return self._created_ms[path.name]


def _created_ms(path: Path) -> int | None:
    try:
        connection = connect(path, "read")
        try:
            found: int | None = connection.execute("SELECT value FROM meta WHERE key = 'created_ms'").get
            return found
        finally:
            connection.close()
    except apsw.Error as error:
        _log.warning("segment unreadable segment=%s reason=%s", path.name, error)
        return None
