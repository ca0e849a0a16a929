"""Which chunks a reader wants: bounds on the events, answered by a chunk's header."""

from __future__ import annotations

import json
from dataclasses import dataclass

from zarkov.journal.format import ChunkHeader


@dataclass(frozen=True, slots=True)
class Selection:
    """Bounds on events, all inclusive; None bounds nothing."""

    ts_from_ms: int | None = None
    ts_to_ms: int | None = None
    types: frozenset[str] | None = None
    id_from: bytes | None = None
    id_to: bytes | None = None

    def may_match(self, header: ChunkHeader) -> bool:
        """False only when no event of the chunk can be within the bounds."""
        if self.ts_from_ms is not None and header.ts_max_ms < self.ts_from_ms:
            return False
        if self.ts_to_ms is not None and header.ts_min_ms > self.ts_to_ms:
            return False
        if self.id_from is not None and header.id_max < self.id_from:
            return False
        if self.id_to is not None and header.id_min > self.id_to:
            return False
        if self.types is None or header.types is None:
            return True
        return not self.types.isdisjoint(json.loads(header.types))


EVERYTHING = Selection()
