"""What the functions of a task write to standard output, kept up to a limit. Pure."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator


class Printed(io.TextIOBase):
    """A standard output that keeps its first `chars_max` characters and counts the rest."""

    def __init__(self, chars_max: int) -> None:
        super().__init__()
        self._chars_max = chars_max
        self._parts: list[str] = []
        self._kept = 0
        self._dropped = 0

    @property
    def text(self) -> str:
        """What was kept, and how much was not."""
        kept = "".join(self._parts)
        return f"{kept}\n... {self._dropped:,} more characters were printed\n" if self._dropped else kept

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        room = self._chars_max - self._kept
        part = text[:room] if len(text) > room else text
        if part:
            self._parts.append(part)
            self._kept += len(part)
        self._dropped += len(text) - len(part)
        return len(text)


@contextlib.contextmanager
def capturing(chars_max: int | None) -> Iterator[Printed]:
    """Standard output goes into what this gives; None leaves it alone. It is the process's: one task at a time."""
    printed = Printed(chars_max or 0)
    if chars_max is None:
        yield printed
        return
    with contextlib.redirect_stdout(printed):
        yield printed
