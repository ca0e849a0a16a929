"""The latest `_id`s with a print of each event's content, to tell a retry from a conflict.

Two generations of a dict: ids are added to the younger; when it holds `window_max`, it becomes the older one and
what was older is forgotten. So between `window_max` and twice as many events are remembered, at about 150 bytes
each, whatever the traffic. The window is in memory: it starts empty with each start of the server.

Ids are remembered when their events are handed to the journal, and are *open* until the journal has answered:
`settle` when they are synced, `forget` when they are not stored after all. A duplicate of an open event must not be
answered as stored.
"""

from __future__ import annotations

from collections.abc import Mapping


class RecentIds:
    """12-byte ids -> print of the event as it was sent. `window_max` 0 remembers nothing."""

    def __init__(self, window_max: int) -> None:
        self._window_max = window_max
        self._young: dict[bytes, int] = {}
        self._old: dict[bytes, int] = {}
        self._open: dict[int, Mapping[bytes, int]] = {}

    def __len__(self) -> int:
        return len(self._young) + len(self._old)

    @property
    def open_count(self) -> int:
        """Groups of ids whose events the journal has not answered for yet."""
        return len(self._open)

    def has_none_of(self, prints: Mapping[bytes, int]) -> bool:
        return self._young.keys().isdisjoint(prints) and self._old.keys().isdisjoint(prints)

    def print_of(self, oid: bytes) -> int | None:
        found = self._young.get(oid)
        return self._old.get(oid) if found is None else found

    def is_open(self, oid: bytes) -> bool:
        return any(oid in prints for prints in self._open.values())

    def add(self, prints: Mapping[bytes, int]) -> None:
        """Remember these, as open. The caller keeps the very object, and settles or forgets it once."""
        if not self._window_max or not prints:
            return
        self._open[id(prints)] = prints
        if len(self._young) >= self._window_max:
            self._young, self._old = {}, self._young
        self._young.update(prints)

    def settle(self, prints: Mapping[bytes, int]) -> None:
        """The events are synced."""
        self._open.pop(id(prints), None)

    def forget(self, prints: Mapping[bytes, int]) -> None:
        """The events were not stored: sent again, they are new."""
        if self._open.pop(id(prints), None) is None:
            return
        for oid in prints:
            self._young.pop(oid, None)
            self._old.pop(oid, None)
