"""What was measured on: facts for the head of the report."""

import os
import platform
import re
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

PACKAGES = ("zarkov", "pyzmq", "pymongo", "gevent", "apsw", "zstandard")
ROOT = Path(__file__).resolve().parent.parent


def facts() -> Iterator[str]:
    commit = _commit()
    yield f"Measured on {datetime.now(UTC):%Y-%m-%d %H:%M} UTC" + (f" at commit {commit}" if commit else "")
    system = f"{platform.system()} {platform.release()}"
    yield f"{os.cpu_count()} cores ({_cpu_model()}), {_memory_gib():.0f} GiB; {system}"
    yield f"Python {platform.python_version()}; " + ", ".join(f"{name} {_version(name)}" for name in PACKAGES)
    yield "Client and server share the cores, over loopback; Zarkov and the peers answer after the sync"


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "(not installed)"


def _commit() -> str:
    try:
        done = subprocess.run(
            ["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return ""
    return done.stdout.strip()


def _cpu_model() -> str:
    found = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return found.group(1).strip() if found else platform.machine()


def _memory_gib() -> float:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
