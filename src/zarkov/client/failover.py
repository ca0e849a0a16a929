"""Several servers, one at a time: which one it is now. Pure: the clock is passed in.

The first address has the first turn. A server that owes an answer (to the greeting, or to a batch) and gives none for
`failover_s` loses its turn to the next one, round the list. An answer is any, also "not now". A server keeps its turn
for as long as it answers: there is no way back but by another failure, for each turn sends what is in flight again.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from zarkov.errors import ConfigError

NEVER = float("inf")
#: A comma that another address follows: the path of an ipc address may hold one as well.
_between = re.compile(r"\s*,\s*(?=[a-z]+://)")


def addresses_of(addr: str | Sequence[str]) -> tuple[str, ...]:
    """A list of addresses, or one string with commas between. Raises: ConfigError: one is empty or twice there."""
    found = tuple(_between.split(addr.strip()) if isinstance(addr, str) else addr)
    if not found or not all(found):
        raise ConfigError("an address is empty", hint="An address looks like tcp://localhost:6546.")
    if len(set(found)) < len(found):
        raise ConfigError(f"an address stands twice in {', '.join(found)}", hint="Name each server once.")
    return found


@dataclass(slots=True)
class Failover:
    """Whose turn it is."""

    addresses: tuple[str, ...]
    failover_s: float
    place: int = 0
    _owes: bool = False
    _answers: int = 0
    _since: float = NEVER

    @property
    def address(self) -> str:
        return self.addresses[self.place]

    def look(self, now: float, *, owes: bool, answers: int) -> bool:
        """Take note of what the server does; True: from now on it is the next one's turn.

        Args:   owes: whether it owes an answer; answers: how many there were, from any server.
        """
        if not owes or not self._owes or answers != self._answers:
            self._owes, self._answers, self._since = owes, answers, now
        if not owes or len(self.addresses) == 1 or now - self._since < self.failover_s:
            return False
        self.place = (self.place + 1) % len(self.addresses)
        self._since = now
        return True

    @property
    def due_at(self) -> float:
        """When to look again, if nothing happens before."""
        return self._since + self.failover_s if self._owes and len(self.addresses) > 1 else NEVER
