"""A disk that can be caught at any moment, as a SQLite VFS.

A write that was not synced yet may be on the disk when the power fails, may not be, or may be there in part, each
independently of the others. The VFS remembers what every unsynced write overwrote, so that a *snapshot* of the
directory shows one of the disks that the power failure could have left.
"""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from pathlib import Path

import apsw

SECTOR_BYTES = 512


class FaultyDisk(apsw.VFS):
    """Passes everything on to the real disk; remembers, fails on demand, and can be photographed."""

    def __init__(self, name: str) -> None:
        super().__init__(name, "")
        self.name = name
        self.unsynced: dict[Path, list[tuple[int, bytes, int]]] = {}
        self.before_write: Callable[[Path], None] = lambda path: None
        self.before_sync: Callable[[Path], None] = lambda path: None

    def xOpen(self, name: apsw.URIFilename | str | None, flags: list[int]) -> apsw.VFSFile:  # noqa: N802
        return _File(self, name, flags)

    def snapshot(self, source: Path, target: Path, rng: random.Random) -> None:
        """Copy `source` as one power failure at this moment could leave it."""
        target.mkdir(parents=True)
        for path in source.iterdir():
            if path.name.endswith("-shm"):
                continue  # shared memory does not outlive the machine
            copy = target / path.name
            shutil.copyfile(path, copy)
            with copy.open("r+b") as file:
                for offset, before, size in reversed(self.unsynced.get(path, [])):
                    kept = rng.choice((0, size, rng.randrange(0, size + 1, SECTOR_BYTES) if size else 0))
                    file.seek(offset + kept)
                    file.write(before[kept:])
                    if len(before) < size and kept < size:
                        file.truncate(max(offset + kept, offset + len(before)))


class _File(apsw.VFSFile):
    def __init__(self, disk: FaultyDisk, name: apsw.URIFilename | str | None, flags: list[int]) -> None:
        super().__init__("", name, flags)
        self.disk = disk
        self.path = Path(name.filename() if isinstance(name, apsw.URIFilename) else name or "")

    def xWrite(self, data: bytes, offset: int) -> None:  # noqa: N802
        self.disk.before_write(self.path)
        try:
            with self.path.open("rb") as file:
                file.seek(offset)
                before = file.read(len(data))
        except FileNotFoundError:
            before = b""
        super().xWrite(data, offset)
        self.disk.unsynced.setdefault(self.path, []).append((offset, before, len(data)))

    def xSync(self, flags: int) -> None:  # noqa: N802
        self.disk.before_sync(self.path)
        super().xSync(flags)
        self.disk.unsynced.pop(self.path, None)
