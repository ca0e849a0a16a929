"""One writer at a time: an exclusive flock(2) on a file in the journal's directory.

The kernel frees the lock when the process ends, however it ends; the file itself stays and names the holder.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from zarkov.errors import JournalLocked

LOCK_NAME = "writer.lock"


class DirectoryLock:
    """Holds the directory until `release`. Raises: JournalLocked: another process (or object) holds it."""

    def __init__(self, directory: Path) -> None:
        self._descriptor = os.open(directory / LOCK_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = os.read(self._descriptor, 32).decode("ascii", "replace").strip()
            os.close(self._descriptor)
            raise JournalLocked(f"the journal in {directory} is held by process {holder or 'unknown'}") from error
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, f"{os.getpid()}\n".encode(), 0)

    def release(self) -> None:
        """Let the next one in; a second call does nothing."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
