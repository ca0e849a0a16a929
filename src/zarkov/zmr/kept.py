"""What a task gave, as it is kept until the job needs it: parts with pieces of partitions, and sources made of them.

A part is what came from a task at one time: the pieces, of any partitions, in one run of bytes in the spill. The
pieces of a partition are in order within a part, the parts in the order in which they came.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate

from zarkov.zmr.spill import Kept, Spill

#: (partition, piece)
Piece = tuple[int, bytes]


@dataclass(frozen=True, slots=True, eq=False)
class KeptPart:
    """Pieces next to each other: the partition and the size of each."""

    kept: Kept
    partitions: array[int]
    sizes: array[int]

    def slices(self) -> Iterator[tuple[int, Slice]]:
        """Each piece's partition and place."""
        at = 0
        for partition, size in zip(self.partitions, self.sizes, strict=True):
            yield partition, (self.kept, at, size)
            at += size


#: Some bytes of what is kept: of it, from there, so many.
Slice = tuple[Kept, int, int]
#: Everything that one task gave.
Mark = tuple[KeptPart, ...]


def keep_pieces(spill: Spill, job: str, pieces: Sequence[Piece]) -> KeptPart:
    """Keep pieces of a job. Raises: OSError: the disk."""
    kept = spill.put(job, b"".join(data for _, data in pieces))
    return KeptPart(kept, array("L", (at for at, _ in pieces)), array("Q", (len(data) for _, data in pieces)))


def by_partition(marks: Iterable[Mark]) -> dict[int, list[Slice]]:
    """The pieces of each partition that has any, mark by mark."""
    found: dict[int, list[Slice]] = {}
    for mark in marks:
        for part in mark:
            for partition, place in part.slices():
                found.setdefault(partition, []).append(place)
    return dict(sorted(found.items()))


class KeptSource:
    """Pieces one after another, as a `runs.RunSource`. Any thread may read."""

    def __init__(self, spill: Spill, slices: Sequence[Slice]) -> None:
        self._spill = spill
        self._slices = slices
        self._stops = [*accumulate(size for _, _, size in slices)]

    @property
    def size(self) -> int:
        return self._stops[-1] if self._stops else 0

    def read_at(self, start: int, size: int) -> bytes:
        """These bytes, or fewer at the end. Raises: OSError: they are gone."""
        found: list[bytes] = []
        at = bisect_right(self._stops, start)
        while size > 0 and at < len(self._slices):
            kept, first, length = self._slices[at]
            within = start - (self._stops[at] - length)
            taken = min(size, length - within)
            found.append(self._spill.read(kept, first + within, taken))
            start, size, at = start + taken, size - taken, at + 1
        return found[0] if len(found) == 1 else b"".join(found)
