"""What a filter says about time, type and `_id`, so that whole chunks are passed over unread.

`bounds_of` reads a filter's conjunction (and the branches of an `$or`, if each of them is bounded) and gives limits
that every matching event keeps: never too narrow, sometimes too wide. `covers` says that every event within the
limits matches, so that whole chunks are counted undecoded. `needles` are byte strings that the BSON of every
matching event holds: a chunk without one has no match, and in a chunk with few of them only those events are
decoded.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from bson import ObjectId
from bson.datetime_ms import DatetimeMS

from zarkov.batch import Summary, epoch_ms
from zarkov.store.nodes import And, Node, Or, Test, required

#: Shorter needles are found in nearly every event by chance.
NEEDLE_BYTES_MIN = 3

_INT64_MIN = -(2**63)
_milliseconds = struct.Struct("<q")


@dataclass(frozen=True, slots=True)
class Bounds:
    """Limits, all inclusive; None: unbounded. `ts_*_ms` are epoch milliseconds, `id_*` 12 bytes.

    `exact`: the filter asks for nothing but these limits.
    """

    ts_from_ms: int | None = None
    ts_to_ms: int | None = None
    types: frozenset[str] | None = None
    id_from: bytes | None = None
    id_to: bytes | None = None
    needles: tuple[bytes, ...] = ()
    exact: bool = False

    @property
    def everything(self) -> bool:
        """Whether every event matches."""
        return self.exact and self == Bounds(exact=True)

    def covers(self, summary: Summary) -> bool:
        """Whether every event of a run with this summary matches the filter."""
        return (
            self.exact
            and (self.ts_from_ms is None or _INT64_MIN < summary.ts_min_ms >= self.ts_from_ms)
            and (self.ts_to_ms is None or (summary.ts_min_ms > _INT64_MIN and summary.ts_max_ms <= self.ts_to_ms))
            and (self.types is None or (summary.types is not None and summary.types <= self.types))
            and (self.id_from is None or summary.id_min >= self.id_from)
            and (self.id_to is None or summary.id_max <= self.id_to)
        )

    def both(self, other: Bounds) -> Bounds:
        """The limits of two filters that must both hold."""
        return Bounds(
            _narrow(max, self.ts_from_ms, other.ts_from_ms),
            _narrow(min, self.ts_to_ms, other.ts_to_ms),
            self.types if other.types is None else other.types if self.types is None else self.types & other.types,
            _narrow(max, self.id_from, other.id_from),
            _narrow(min, self.id_to, other.id_to),
            self.needles + other.needles,
            self.exact and other.exact,
        )

    def either(self, other: Bounds) -> Bounds:
        """The limits of two filters of which one must hold."""
        return Bounds(
            _widen(min, self.ts_from_ms, other.ts_from_ms),
            _widen(max, self.ts_to_ms, other.ts_to_ms),
            None if self.types is None or other.types is None else self.types | other.types,
            _widen(min, self.id_from, other.id_from),
            _widen(max, self.id_to, other.id_to),
        )


def bounds_of(node: Node) -> Bounds:
    """The limits that a filter's matches keep."""
    if isinstance(node, Or) and node.nodes:
        found = bounds_of(node.nodes[0])
        for branch in node.nodes[1:]:
            found = found.either(bounds_of(branch))
        return replace(found, needles=(), exact=False)
    if isinstance(node, And):
        found = Bounds(exact=True)
        for inner in required(node):
            found = found.both(bounds_of(inner))
        return found
    if isinstance(node, Test):
        return _of_test(node)
    return Bounds()


def _of_test(test: Test) -> Bounds:
    name, operand, path = test.operator, test.operand, test.path
    if name == "$elemMatch":
        return Bounds(needles=bounds_of(operand[0]).needles)
    if name == "$in":
        return _of_choices(path, operand)
    needles = _needles(operand) if name == "$eq" else ()
    if path == ("timestamp",) and isinstance(operand, datetime | DatetimeMS):
        return replace(_of_time(name, epoch_ms(operand)), needles=needles)
    if path == ("_id",) and isinstance(operand, ObjectId):
        return replace(_of_id(name, operand.binary), needles=needles)
    if path == ("type",) and name == "$eq" and isinstance(operand, str):
        return Bounds(types=frozenset({operand}), needles=needles, exact=True)
    return Bounds(needles=needles)


def _of_choices(path: tuple[str, ...], values: tuple[Any, ...]) -> Bounds:
    if not values:
        return Bounds()
    if path == ("type",) and all(type(value) is str for value in values):
        return Bounds(types=frozenset(values), exact=True)
    if path == ("_id",) and all(isinstance(value, ObjectId) for value in values):
        return Bounds(id_from=min(values).binary, id_to=max(values).binary)
    if path == ("timestamp",) and all(isinstance(value, datetime) for value in values):
        return Bounds(ts_from_ms=epoch_ms(min(values)), ts_to_ms=epoch_ms(max(values)))
    return Bounds()


def _of_time(name: str, at_ms: int) -> Bounds:
    if name == "$eq":
        return Bounds(ts_from_ms=at_ms, ts_to_ms=at_ms, exact=True)
    if name in ("$gt", "$gte"):
        return Bounds(ts_from_ms=at_ms + (name == "$gt"), exact=True)
    if name in ("$lt", "$lte"):
        return Bounds(ts_to_ms=at_ms - (name == "$lt"), exact=True)
    return Bounds()


def _of_id(name: str, oid: bytes) -> Bounds:
    if name == "$eq":
        return Bounds(id_from=oid, id_to=oid, exact=True)
    if name in ("$gt", "$gte"):
        return Bounds(id_from=oid, exact=name == "$gte")
    if name in ("$lt", "$lte"):
        return Bounds(id_to=oid, exact=name == "$lte")
    return Bounds()


def _needles(value: Any) -> tuple[bytes, ...]:
    """What the BSON of a document that holds the value somewhere must hold; nothing if there are several forms."""
    needle = b""
    if type(value) is str:
        needle = value.encode("utf-8") + b"\x00"
    elif isinstance(value, ObjectId):
        needle = value.binary
    elif type(value) is datetime:
        needle = _milliseconds.pack(epoch_ms(value))
    return (needle,) if len(needle) >= NEEDLE_BYTES_MIN else ()


def _narrow(choose: Any, first: Any, second: Any) -> Any:
    return second if first is None else first if second is None else choose(first, second)


def _widen(choose: Any, first: Any, second: Any) -> Any:
    return None if first is None or second is None else choose(first, second)
