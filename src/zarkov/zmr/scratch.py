"""A place for more bytes than memory should hold, in a file that has no name and so leaves nothing behind."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path


class Scratch:
    """Bytes in a file without a name, as a `runs.RunSource`; gone with the object."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._file = tempfile.TemporaryFile(dir=folder, buffering=0)  # noqa: SIM115  # closed with the object
        self.size = 0

    def write(self, data: bytes) -> None:
        """Append. Raises: OSError."""
        left = memoryview(data)
        while left:
            left = left[self._file.write(left) :]
        self.size += len(data)

    def read_at(self, start: int, size: int) -> bytes:
        return os.pread(self._file.fileno(), size, start)
