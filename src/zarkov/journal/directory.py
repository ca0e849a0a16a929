"""The files of a journal: which segments there are, and taking them away.

A segment is named by its first offset and never renamed while it is in use. Beside it lie SQLite's `-wal` and
`-shm`. `damaged/` holds files that were set aside by a repair.
"""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from pathlib import Path

SUFFIX = ".segment"
BUILDING_SUFFIX = ".segment.new"  # a repaired copy that is not complete, or not in its place yet
SIDE_SUFFIXES = ("-wal", "-shm", "-journal")
DAMAGED_DIRECTORY = "damaged"
_DIGITS = 20


@dataclass(frozen=True, slots=True)
class SegmentFile:
    """A segment's file; the inode tells a repaired copy from what stood there before."""

    path: Path
    first_offset: int
    inode: int

    @property
    def bytes(self) -> int:
        """Its size on disk with its side files; 0 when it is gone."""
        return sum(_size(path) for path in (self.path, *side_files(self.path)))


def segment_path(directory: Path, first_offset: int) -> Path:
    """Where the segment that begins with this offset lies."""
    return directory / f"{first_offset:0{_DIGITS}d}{SUFFIX}"


def first_offset_of(name: str) -> int | None:
    """The first offset that a segment's file name says; None for every other name."""
    digits = name.removesuffix(SUFFIX)
    if name.endswith(SUFFIX) and len(digits) == _DIGITS and digits.isdecimal():
        return int(digits)
    return None


def list_segments(directory: Path) -> list[SegmentFile]:
    """The segments in order of their offsets."""
    found = []
    with os.scandir(directory) as entries:
        for entry in entries:
            first = first_offset_of(entry.name)
            if first is not None:
                found.append(SegmentFile(directory / entry.name, first, entry.inode()))
    return sorted(found, key=lambda segment: segment.first_offset)


def side_files(path: Path) -> list[Path]:
    """Where SQLite keeps what belongs to a database file."""
    return [path.with_name(path.name + suffix) for suffix in SIDE_SUFFIXES]


def remove_segment(path: Path) -> None:
    """Unlink a segment, itself first: what remains after a crash are orphans, which `remove_orphans` takes."""
    for each in (path, *side_files(path)):
        each.unlink(missing_ok=True)


def remove_orphans(directory: Path) -> None:
    """Unlink side files whose segment is gone."""
    with os.scandir(directory) as entries:
        names = {entry.name for entry in entries}
    for name in names:
        for suffix in SIDE_SUFFIXES:
            owner = name.removesuffix(suffix)
            if name.endswith(SUFFIX + suffix) and owner not in names:
                (directory / name).unlink(missing_ok=True)


def _size(path: Path) -> int:
    with contextlib.suppress(FileNotFoundError):
        return path.stat().st_size
    return 0
