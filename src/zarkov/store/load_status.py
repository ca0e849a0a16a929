"""What a loader says of itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class State(StrEnum):
    """What a loader is doing."""

    STARTING = "starting"
    LOADING = "loading"
    WAITING = "waiting"  # for MongoDB, or for space on the disk
    BEHIND = "behind"  # journal and database do not fit together: somebody has to decide
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True)
class LoadStatus:
    """A loader at one moment.

    state: since `since_ms` (epoch milliseconds); reason, code, hint: why it waits or is behind, else empty.
    next_offsets: journal id -> every event before this offset is in MongoDB, or rejected.
    loaded, retried, repeated, rejected: events since this loader started: stored; found stored by an earlier attempt;
        found stored as the same event sent twice; refused.
    rate: events stored in a second, over the last few.
    """

    state: State = State.STARTING
    since_ms: int = 0
    reason: str = ""
    code: str = ""
    hint: str = ""
    next_offsets: Mapping[str, int] = field(default_factory=dict)
    loaded: int = 0
    retried: int = 0
    repeated: int = 0
    rejected: int = 0
    rate: float = 0.0


class Rate:
    """Events a second, over the last whole window of `window_s`."""

    def __init__(self, now_s: float, window_s: float = 2.0) -> None:
        self._window_s = window_s
        self._since_s = now_s
        self._count = 0
        self._rate = 0.0

    def add(self, count: int, now_s: float) -> float:
        """Count events; returns the rate."""
        self._count += count
        if now_s - self._since_s >= self._window_s:
            self._rate = self._count / (now_s - self._since_s)
            self._since_s, self._count = now_s, 0
        return self._rate
