"""The ids that events without one are given: ObjectIds, without the cost of the class."""

from __future__ import annotations

from collections.abc import Callable

_COUNTER_MAX = 0xFFFFFF


class NewIds:
    """Each call gives 12 bytes: seconds since 1970, five bytes of this process, a counter.

    Source: https://www.mongodb.com/docs/manual/reference/bson-types/#objectid. Ids repeat only if more than 16.7
    million are given in one second of the clock (or in the same second twice, when it jumps back).

    Args:   clock: seconds since 1970; unique: 5 random bytes; start: 0 to 2**24 - 1, random too.
    """

    def __init__(self, clock: Callable[[], float], unique: bytes, start: int) -> None:
        self._clock = clock
        self._unique = unique
        self._counter = start

    def __call__(self) -> bytes:
        self._counter = (self._counter + 1) & _COUNTER_MAX
        return int(self._clock()).to_bytes(4, "big") + self._unique + self._counter.to_bytes(3, "big")
