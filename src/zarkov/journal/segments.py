"""The segments of a journal as one reader sees them: which there are, each open when it is needed.

The directory is listed again when it changed, so that a new, a removed and a repaired segment are noticed. Not
thread-safe: every thread of a `Journal` has its own.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from pathlib import Path

from zarkov.errors import JournalCorrupt, JournalError
from zarkov.journal.catalog import Catalog
from zarkov.journal.directory import SegmentFile, list_segments
from zarkov.journal.segment_reader import SegmentReader

#: Segments kept open, at most.
OPEN_MAX = 8
#: A directory changed less than this ago is listed again: its time has a coarse grain.
GRAIN_NS = 100_000_000


class Segments:
    """Raises, from every method: JournalCorrupt, JournalVersion."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        catalog = Catalog.open(directory)
        if catalog is None:
            raise JournalError(
                f"there is no journal in {directory}",
                hint="Start `zcmd serve` once, or check `data_dir` and `journal`.",
            )
        self.catalog = catalog
        self._files: list[SegmentFile] = []
        self._changed_ns: int | None = None
        self._readers: OrderedDict[tuple[int, int], SegmentReader] = OrderedDict()

    def files(self) -> list[SegmentFile]:
        """The segments, in order; the last one may still be in the making."""
        changed_ns = self._directory.stat().st_mtime_ns
        if changed_ns != self._changed_ns:
            self._files = list_segments(self._directory)
            self._changed_ns = changed_ns if time.time_ns() - changed_ns > GRAIN_NS else None
        return self._files

    def reader(self, file: SegmentFile) -> SegmentReader:
        """The segment, open. Raises: JournalCorrupt: it cannot be opened."""
        key = (file.first_offset, file.inode)
        reader = self._readers.pop(key, None) or SegmentReader(file)
        self._readers[key] = reader
        while len(self._readers) > OPEN_MAX:
            # Not closed: an iterator may still read it. It closes itself when nobody holds it.
            self._readers.popitem(last=False)
        return reader

    def ready(self) -> list[SegmentFile]:
        """The segments that are there for reading: all but one in the making."""
        files = self.files()
        if not files:
            return []
        try:
            is_ready = self.reader(files[-1]).is_ready
        except JournalCorrupt:
            is_ready = files[-1].path.exists()
        return files if is_ready else files[:-1]

    def next_offset(self) -> int:
        """The offset that the next event will get, as far as this reader can know."""
        for file in reversed(self.ready()):
            try:
                return self.reader(file).next_offset
            except JournalCorrupt:
                continue
        return self.first_offset()

    def first_offset(self) -> int:
        """The first offset that was not dropped."""
        files = self.files()
        return max(self.catalog.first_offset, files[0].first_offset if files else 0)

    def close(self) -> None:
        """Close every file."""
        for reader in self._readers.values():
            reader.close()
        self._readers.clear()
        self.catalog.close()
