"""Where a job's intermediate data waits between map and reduce: in memory, and beyond a budget in files.

Theory of operation. Every result of a task is immutable bytes. They are kept in memory up to `memory_bytes_max` over
all jobs; what comes after that is appended to one file a job below `job_root`, and read back from there. A job's
bytes go all at once, when it has ended; its folder with them. Nothing here is synced: after a crash a job is run
again from its input, and `zcmd zmr-clean` removes what was left behind.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import threading
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

#: The name that a job's folder begins with: `zmr-clean` touches no other.
FOLDER_PREFIX = "job-"
#: The file in it, locked as long as somebody needs it.
KEPT_NAME = "kept"


@dataclass(frozen=True, slots=True, eq=False)
class Kept:
    """A mark of some bytes of a job; `at` is None where they are in memory."""

    job: str
    size: int
    at: int | None
    data: bytes | None


class Spill:
    """Thread safe; a context manager. `spilled_bytes`: what was written to files so far."""

    def __init__(self, job_root: Path, *, memory_bytes_max: int) -> None:
        self.spilled_bytes = 0
        self._root = job_root
        self._memory_bytes_max = memory_bytes_max
        self._memory_bytes = 0
        self._in_memory: dict[str, int] = {}
        self._files: dict[str, int] = {}
        self._lock = threading.Lock()

    @property
    def memory_bytes(self) -> int:
        """Bytes in memory now."""
        return self._memory_bytes

    def put(self, job: str, data: bytes) -> Kept:
        """Keep bytes until `drop`. Raises: OSError: they belong into a file, which cannot be written."""
        with self._lock:
            if self._memory_bytes + len(data) <= self._memory_bytes_max:
                self._memory_bytes += len(data)
                self._in_memory[job] = self._in_memory.get(job, 0) + len(data)
                return Kept(job, len(data), None, data)
            file = self._file(job)
            at = os.lseek(file, 0, os.SEEK_END)
            _write_all(file, data)
            self.spilled_bytes += len(data)
            return Kept(job, len(data), at, None)

    def get(self, kept: Kept) -> bytes:
        """The bytes. Raises: OSError: they cannot be read, or their job was dropped."""
        return self.read(kept, 0, kept.size)

    def read(self, kept: Kept, start: int, size: int) -> bytes:
        """`size` of the bytes from `start`, which must be there. Raises: as `get`."""
        if kept.data is not None:
            return kept.data[start : start + size]
        with self._lock:
            file = self._files.get(kept.job)
            data = b"" if file is None or kept.at is None else os.pread(file, size, kept.at + start)
        if len(data) != size:
            raise OSError(f"{kept.size:,} bytes of job {kept.job} are not there any more")
        return data

    def drop(self, job: str) -> None:
        """Forget what a job kept, and remove its folder."""
        with self._lock:
            self._memory_bytes -= self._in_memory.pop(job, 0)
            file = self._files.pop(job, None)
            if file is not None:
                os.close(file)
                shutil.rmtree(self._folder(job), ignore_errors=True)

    def close(self) -> None:
        for job in {*self._files, *self._in_memory}:
            self.drop(job)

    def __enter__(self) -> Spill:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _folder(self, job: str) -> Path:
        return self._root / f"{FOLDER_PREFIX}{job}"

    def _file(self, job: str) -> int:
        file = self._files.get(job)
        if file is None:
            folder = self._folder(job)
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            flags = os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
            file = self._files[job] = os.open(folder / KEPT_NAME, flags, 0o600)
            fcntl.flock(file, fcntl.LOCK_EX)
        return file


def leftovers(job_root: Path) -> list[Path]:
    """The folders below `job_root` of jobs that nobody drives any more, whichever router made them."""
    folders = sorted(path for path in job_root.glob(f"{FOLDER_PREFIX}*") if path.is_dir() and not path.is_symlink())
    return [folder for folder in folders if not _is_in_use(folder)]


def _is_in_use(folder: Path) -> bool:
    try:
        file = os.open(folder / KEPT_NAME, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(file)
    return False


def _write_all(file: int, data: bytes) -> None:
    left = memoryview(data)
    while left:
        left = left[os.write(file, left) :]
