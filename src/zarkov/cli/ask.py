"""Asking before something is lost."""

from __future__ import annotations

import sys


def agreed(question: str) -> bool:
    """Ask on standard output and read the answer from standard input; only y or yes agrees."""
    print(question, end="", flush=True)
    answer = sys.stdin.readline().strip()
    if not sys.stdin.isatty():
        print(answer)
    return answer.lower() in ("y", "yes")
