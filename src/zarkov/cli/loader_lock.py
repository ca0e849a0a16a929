"""One loader at a time for a data directory, and what it last said of itself.

`data_dir/loader.lock`: an exclusive flock(2), which the kernel frees however the holder ends. `data_dir/loader.json`:
its status, replaced as a whole, at each change of state and about once a second.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from zarkov.cli.output import plain
from zarkov.config import Settings
from zarkov.store.load_status import LoadStatus

REPORT_S = 1.0


@contextmanager
def try_lock(path: Path) -> Iterator[bool]:
    """Hold the lock while the context lasts; false when another process holds it."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        yield True
    finally:
        os.close(descriptor)


def lock_path(settings: Settings) -> Path:
    """The lock of the data directory's loader."""
    return settings.data_dir / "loader.lock"


def holder(path: Path) -> int | None:
    """The process that holds the lock; None when nobody does."""
    if not path.exists():
        return None
    with try_lock(path) as free:
        return None if free else int(path.read_text().strip() or 0)


class StatusFile:
    """Writes a loader's status, and reads the last one written."""

    def __init__(self, settings: Settings) -> None:
        self._path = settings.data_dir / "loader.json"
        self._written_at_s = 0.0
        self._state = ""

    def write(self, status: LoadStatus) -> None:
        """Replace the file, if the state is new or the last time is REPORT_S ago."""
        now_s = time.monotonic()
        if status.state == self._state and now_s - self._written_at_s < REPORT_S:
            return
        self._state, self._written_at_s = status.state, now_s
        building = self._path.with_name(self._path.name + ".part")
        # On a full disk the status is old, and the loader goes on.
        with suppress(OSError):
            building.write_text(json.dumps({"pid": os.getpid(), **plain(status)}))
            building.replace(self._path)

    def read(self) -> dict[str, Any]:
        """What was last written; empty where no loader ever ran."""
        try:
            found: dict[str, Any] = json.loads(self._path.read_text())
        except (FileNotFoundError, ValueError):
            return {}
        return found
