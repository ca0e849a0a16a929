"""What a worker process may use: memory, and CPU time for each task (setrlimit(2))."""

from __future__ import annotations

import os
import resource
import signal
from pathlib import Path
from types import FrameType

_PAGE_BYTES = os.sysconf("SC_PAGESIZE")


class CpuTimeOver(Exception):
    """A function used more CPU time than a task has."""


def limit_process(memory_bytes_max: int) -> None:
    """Let this process ask for so much memory, and write no core files, which may be as large."""
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    most = memory_bytes_max if hard < 0 else min(memory_bytes_max, hard)
    resource.setrlimit(resource.RLIMIT_DATA, (most, hard))
    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
    signal.signal(signal.SIGXCPU, _cpu_time_over)


class cpu_limited:  # noqa: N801  # used as `with cpu_limited(...)`
    """Within it the process may use this much more CPU time; then CpuTimeOver is raised, and again each second."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    def __enter__(self) -> None:
        used = resource.getrusage(resource.RUSAGE_SELF)
        _, self._hard = resource.getrlimit(resource.RLIMIT_CPU)
        soft = int(used.ru_utime + used.ru_stime + self._seconds) + 1
        resource.setrlimit(resource.RLIMIT_CPU, (soft if self._hard < 0 else min(soft, self._hard), self._hard))

    def __exit__(self, *_: object) -> None:
        resource.setrlimit(resource.RLIMIT_CPU, (self._hard, self._hard))


def _cpu_time_over(number: int, frame: FrameType | None) -> None:
    raise CpuTimeOver("it used more CPU time than a task has (task_timeout_s)")


def resident_bytes() -> int:
    """Bytes of memory that the process has now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * _PAGE_BYTES
