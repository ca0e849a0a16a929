"""Which of several event servers a producer belongs to: always the same one. Pure.

Exactly-once rests on it: a retry must meet the journal that has the first answer. Rendezvous hashing (each server
scores each producer, the highest score wins) depends on nothing but the producer's bytes and the number of servers,
so it holds over restarts; and where one server is added to N, only one producer in N + 1 moves, to the new one.
Source: Thaler and Ravishankar, "Using name-based mappings to increase hit rates", 1998.
"""

from __future__ import annotations

from hashlib import blake2b

#: Producers whose home is remembered; beyond it all are worked out anew (some microseconds each).
REMEMBERED_MAX = 10_000
_SCORE_BYTES = 8


def home_of(producer: bytes, servers: int) -> int:
    """The number of the event server that takes this producer's batches, of `servers` servers."""
    scores = (
        blake2b(producer, digest_size=_SCORE_BYTES, salt=number.to_bytes(_SCORE_BYTES, "big")).digest()
        for number in range(servers)
    )
    return max(enumerate(scores), key=lambda each: each[1])[0]


class Homes:
    """`home_of` for a fixed number of servers, remembered."""

    def __init__(self, servers: int) -> None:
        self._servers = servers
        self._known: dict[bytes, int] = {}

    def of(self, producer: bytes) -> int:
        found = self._known.get(producer)
        if found is None:
            if len(self._known) >= REMEMBERED_MAX:
                self._known.clear()
            found = self._known[producer] = home_of(producer, self._servers)
        return found
