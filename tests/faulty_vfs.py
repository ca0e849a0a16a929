"""A disk for SQLite that fails on demand and can lose its power: an apsw VFS over the real files.

Writes go to the real file at once, and are remembered until the file is synced. `power_loss` makes a directory as a
disk might hold it after the power went: of every file what was synced, and any part of what was not, in any order,
the last of it perhaps torn. Shared memory (`-shm`) is gone, as it is after a restart.
"""

from __future__ import annotations

import itertools
import random
import threading
from collections.abc import Callable
from pathlib import Path

import apsw

_names = itertools.count()
SECTOR = 512

#: Fault(operation, file name) raises what the disk should fail with; operations: write, sync.
Fault = Callable[[str, str], None]


def no_space(operation: str, name: str) -> None:
    if operation == "write":
        raise apsw.FullError("no space left on the faulty disk")


def failed_sync(operation: str, name: str) -> None:
    if operation == "sync":
        error = apsw.IOError("the faulty disk does not sync")
        error.extendedresult = apsw.SQLITE_IOERR_FSYNC
        raise error


class FaultyDisk(apsw.VFS):
    """Registered as a VFS under `name` until it is closed."""

    def __init__(self) -> None:
        self.name = f"faulty-{next(_names)}"
        self.fault: Fault | None = None
        self.on_operation: Callable[[], None] | None = None
        self.lock = threading.RLock()
        self.synced: dict[str, bytes] = {}
        self.unsynced: dict[str, list[tuple[int, bytes | None]]] = {}
        super().__init__(self.name, "")

    def xOpen(self, name, flags):  # noqa: N802 - apsw's name
        return FaultyFile(self, name, flags)

    def xDelete(self, name, sync_directory):  # noqa: N802
        with self.lock:
            self.synced.pop(name, None)
            self.unsynced.pop(name, None)
        super().xDelete(name, sync_directory)

    def operate(self, operation: str, name: str) -> None:
        if self.on_operation is not None:
            self.on_operation()
        if self.fault is not None:
            self.fault(operation, Path(name).name)

    def power_loss(self, target: Path, chance: random.Random) -> None:
        """Write to `target` what the disk might hold if the power went now."""
        target.mkdir()
        with self.lock:
            for name, content in self.synced.items():
                kept = bytearray(content)
                for at, data in self.unsynced.get(name, []):
                    if chance.random() < 0.5:
                        continue
                    if data is None:
                        del kept[at:]
                        continue
                    if chance.random() < 0.2:
                        data = data[: chance.randrange(len(data) + 1) // SECTOR * SECTOR]
                    if data:
                        kept.extend(b"\x00" * (at - len(kept)))
                        kept[at : at + len(data)] = data
                (target / Path(name).name).write_bytes(kept)


class FaultyFile(apsw.VFSFile):
    def __init__(self, disk: FaultyDisk, name, flags) -> None:
        super().__init__("", name, flags)
        self._disk = disk
        self._name = name.filename() if isinstance(name, apsw.URIFilename) else str(name)
        with disk.lock:
            if self._name not in disk.synced:
                path = Path(self._name)
                disk.synced[self._name] = path.read_bytes() if path.exists() else b""
                disk.unsynced[self._name] = []

    def xWrite(self, data, at):  # noqa: N802
        with self._disk.lock:
            self._disk.operate("write", self._name)
            super().xWrite(data, at)
            self._disk.unsynced.setdefault(self._name, []).append((at, bytes(data)))

    def xTruncate(self, size):  # noqa: N802
        with self._disk.lock:
            super().xTruncate(size)
            self._disk.unsynced.setdefault(self._name, []).append((size, None))

    def xSync(self, flags):  # noqa: N802
        with self._disk.lock:
            self._disk.operate("sync", self._name)
            super().xSync(flags)
            self._disk.synced[self._name] = Path(self._name).read_bytes()
            self._disk.unsynced[self._name] = []
