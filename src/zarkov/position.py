"""Where something is in the event log.

An *offset* is the ordinal number of an event in its journal: it starts at 0, grows by one an event, and is
never reused. A *position* names, for each journal, the next offset to read; it is the type of every cursor and
checkpoint, so that several journals need no change in readers.
"""

from __future__ import annotations

from dataclasses import dataclass

#: {journal id: the next offset to read}
Position = dict[str, int]


@dataclass(frozen=True, slots=True)
class OffsetRange:
    """`count` consecutive offsets from `first`; empty when `count` is 0."""

    first: int
    count: int

    @property
    def last(self) -> int:
        """The last offset of the range; meaningless for an empty range."""
        return self.first + self.count - 1

    @property
    def stop(self) -> int:
        """The offset after the last one."""
        return self.first + self.count

    def __contains__(self, offset: int) -> bool:
        return self.first <= offset < self.stop
