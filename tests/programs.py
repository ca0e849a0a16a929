"""Small Python programs of their own, for what only a whole process shows: its end, and its forks."""

import subprocess
import sys


def script(text: str, *arguments: str, forks: bool = False) -> subprocess.CompletedProcess[str]:
    """Run a program to its end, every warning an error; a forked child cannot close what is its parent's."""
    ignored = ["-W", "ignore::ResourceWarning"] if forks else []
    command = [sys.executable, "-W", "error", *ignored, "-c", text, *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
