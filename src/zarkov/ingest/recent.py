"""The latest `_id`s with a print of each event's content, to tell a retry from a conflict.

Two generations of a dict: ids are added to the younger; when it holds `window_max`, it becomes the older one and
what was older is forgotten. So between `window_max` and twice as many events are remembered, at about 150 bytes
each, whatever the traffic. The window is in memory: it starts empty with each start of the server.

Ids are remembered when their events are handed to the journal, and are *open* until the journal has answered:
`settle` when they are synced, `forget` when they are not stored after all. A duplicate of an open event must not be
answered as stored.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping


class RecentIds:
    """12-byte ids -> print of the event as it was sent. `window_max` 0 remembers nothing."""

    def __init__(self, window_max: int) -> None:
        self._window_max = window_max
        self._young: dict[bytes, int] = {}
        self._old: dict[bytes, int] = {}
        self._open: dict[int, Collection[bytes]] = {}

    def __len__(self) -> int:
        return len(self._young) + len(self._old)

    @property
    def open_count(self) -> int:
        """Groups of ids whose events the journal has not answered for yet."""
        return len(self._open)

    def print_of(self, oid: bytes) -> int | None:
        found = self._young.get(oid)
        return self._old.get(oid) if found is None else found

    def any_open(self, oids: Collection[bytes]) -> bool:
        """Whether one of these is open."""
        asked = set(oids)
        return any(not asked.isdisjoint(group) for group in self._open.values())

    def add_new(self, oids: list[bytes], prints: Iterable[int]) -> bool:
        """Remember these, as `add` does, if all are new; False, with nothing done, if one is known or there twice."""
        if not (self._young.keys().isdisjoint(oids) and self._old.keys().isdisjoint(oids)):
            return False
        if not self._window_max:
            return len(set(oids)) == len(oids)
        self._turn()
        young = self._young
        before = len(young)
        young.update(zip(oids, prints, strict=True))
        if len(young) - before < len(oids):
            for oid in oids:
                young.pop(oid, None)
            return False
        self._open[id(oids)] = oids
        return True

    def add(self, prints: Mapping[bytes, int]) -> None:
        """Remember these, as open. The caller keeps the very object, and settles or forgets it once."""
        if not self._window_max or not prints:
            return
        self._open[id(prints)] = prints
        self._turn()
        self._young.update(prints)

    def settle(self, oids: Collection[bytes]) -> None:
        """The events are synced."""
        self._open.pop(id(oids), None)

    def forget(self, oids: Collection[bytes]) -> None:
        """The events were not stored: sent again, they are new."""
        if self._open.pop(id(oids), None) is None:
            return
        for oid in oids:
            self._young.pop(oid, None)
            self._old.pop(oid, None)

    def _turn(self) -> None:
        if len(self._young) >= self._window_max:
            self._young, self._old = {}, self._young
