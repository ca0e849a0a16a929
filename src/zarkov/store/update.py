"""MongoDB's update operators on one document.

`compile_update` reads an update once; the function it gives takes a document and returns the changed one, the
original untouched. The operators: $set $unset $setOnInsert $inc $mul $min $max $rename $push ($each $slice $position)
$addToSet ($each) $pull $pullAll $pop. Positional paths (`$`, `$[]`) are refused.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import Any

from zarkov.errors import UpdateInvalid
from zarkov.event import Document
from zarkov.store import array_update
from zarkov.store.compare import MISSING, operand, sort_key
from zarkov.store.paths import index_of, parts_of

Update = Callable[[Document, bool], Document]
Change = Callable[[Any], Any]
Path = tuple[str, ...]

#: How far an array may be filled with null by setting an element beyond its end.
PADDING_COUNT_MAX = 1_000_000


def compile_update(update: Mapping[str, Any]) -> Update:
    """The update as a function of a document and whether it is being inserted (by an upsert).

    The function raises UpdateInvalid where an operator does not fit what is stored, or would change the `_id`.
    Raises: UpdateInvalid: not operators, an unknown one, an operand of the wrong kind, or two on overlapping paths.
    """
    if not update or not all(isinstance(name, str) and name.startswith("$") for name in update):
        raise UpdateInvalid("an update takes operators such as $set", hint="To replace a document use replace_one.")
    steps: list[tuple[str, Path, Any]] = []
    for name, fields in update.items():
        if name not in _OPERATORS and name not in ("$unset", "$rename", "$setOnInsert"):
            raise UpdateInvalid(f"the store has no update operator {name!r}", hint="It has " + _names() + ".")
        if not isinstance(fields, Mapping):
            raise UpdateInvalid(f"{name} takes a document of paths and values")
        steps += [(name, _path(path), value) for path, value in fields.items()]
    _refuse_overlaps([path for _, path, _ in steps])
    changes = [_change(name, path, value) for name, path, value in steps]

    def apply(document: Document, inserting: bool) -> Document:
        changed = copy.deepcopy(document)
        for change in changes:
            change(changed, inserting)
        if not inserting and "_id" in document and _id_differs(document, changed):
            raise UpdateInvalid("an update cannot change the `_id`", hint="Insert a new one, delete the old one.")
        return changed

    return apply


def _change(name: str, path: Path, value: Any) -> Callable[[Document, bool], None]:
    if name == "$unset":
        return lambda document, inserting: _remove(document, path)
    if name == "$rename":
        target = _path(value)
        return lambda document, inserting: _rename(document, path, target)
    change = _OPERATORS["$set" if name == "$setOnInsert" else name](operand_of(name, value))
    if name == "$setOnInsert":
        return lambda document, inserting: _write(document, path, change) if inserting else None
    return lambda document, inserting: _write(document, path, change)


def operand_of(name: str, value: Any) -> Any:
    """The operand as stored; `$pull` reads its own, which may hold patterns."""
    return value if name == "$pull" else operand(value)


def _write(document: Document, path: Path, change: Change) -> None:
    """Put what `change` makes of the value at the path in its place, making the documents on the way."""
    holder: Any = document
    for part in path[:-1]:
        inner = _get(holder, part)
        if inner is MISSING:
            inner = {}
            _put(holder, part, inner)
        holder = inner
    new = change(_get(holder, path[-1]))
    if new is not MISSING:
        _put(holder, path[-1], new)


def _get(holder: Any, part: str) -> Any:
    if isinstance(holder, dict):
        return holder.get(part, MISSING)
    index = index_of(part)
    if not isinstance(holder, list) or index < 0:
        raise UpdateInvalid(f"the update needs a document at {part!r}, where a {type(holder).__name__} is stored")
    return holder[index] if index < len(holder) else MISSING


def _put(holder: Any, part: str, value: Any) -> None:
    if isinstance(holder, dict):
        holder[part] = value
        return
    index = index_of(part)
    if index > len(holder) + PADDING_COUNT_MAX:
        raise UpdateInvalid(f"element {index:,} lies too far beyond the array's end")
    holder.extend([None] * (index + 1 - len(holder)))
    holder[index] = value


def _remove(document: Document, path: Path) -> Any:
    holder: Any = document
    for part in path[:-1]:
        if isinstance(holder, list):
            index = index_of(part)
            holder = holder[index] if 0 <= index < len(holder) else None
        else:
            holder = holder.get(part) if isinstance(holder, dict) else None
    if isinstance(holder, dict):
        return holder.pop(path[-1], MISSING)
    index = index_of(path[-1])
    if isinstance(holder, list) and 0 <= index < len(holder):
        holder[index] = None
    return MISSING


def _rename(document: Document, path: Path, target: Path) -> None:
    value = _remove(document, path)
    if value is not MISSING:
        _write(document, target, lambda _: value)


def _numeric(name: str, amount: Any, combine: Callable[[Any, Any], Any], start: Any) -> Change:
    if type(amount) is bool or not isinstance(amount, int | float):
        raise UpdateInvalid(f"{name} takes an int or a float, not {amount!r}")

    def change(old: Any) -> Any:
        if old is MISSING:
            return start if start is not None else amount
        if type(old) is bool or not isinstance(old, int | float):
            raise UpdateInvalid(f"{name} needs a number, where a {type(old).__name__} is stored")
        new = combine(old, amount)
        if isinstance(new, int) and not -(2**63) <= new < 2**63:
            raise UpdateInvalid(f"{name} would make an integer beyond 64 bits")
        return new

    return change


def _extreme(wanted: int) -> Callable[[Any], Change]:
    """$min and $max: the operand replaces what is stored if it is lower (-1) or higher (1) in BSON's order."""

    def operator(value: Any) -> Change:
        key = sort_key(value)

        def change(old: Any) -> Any:
            if old is MISSING:
                return value
            stored = sort_key(old)
            return value if (key > stored) - (key < stored) == wanted else old

        return change

    return operator


def _zero_like(amount: Any) -> Any:
    return 0.0 if isinstance(amount, float) else 0


_OPERATORS: dict[str, Callable[[Any], Change]] = {
    "$set": lambda value: lambda old: copy.deepcopy(value),
    "$inc": lambda value: _numeric("$inc", value, lambda old, amount: old + amount, None),
    "$mul": lambda value: _numeric("$mul", value, lambda old, amount: old * amount, _zero_like(value)),
    "$min": _extreme(-1),
    "$max": _extreme(1),
    "$push": array_update.push,
    "$addToSet": array_update.add_to_set,
    "$pull": array_update.pull,
    "$pullAll": array_update.pull_all,
    "$pop": array_update.pop,
}


def _names() -> str:
    return ", ".join(sorted([*_OPERATORS, "$unset", "$rename", "$setOnInsert"]))


def _path(path: Any) -> Path:
    if not isinstance(path, str):
        raise UpdateInvalid(f"a path must be a string, not {path!r}")
    parts = parts_of(path)
    if any(part.startswith("$") for part in parts):
        raise UpdateInvalid(f"the path {path!r} is positional, which updates here are not", hint="Name the element.")
    return parts


def _refuse_overlaps(paths: list[Path]) -> None:
    ordered = sorted(paths)
    for first, second in pairwise(ordered):
        if second[: len(first)] == first:
            raise UpdateInvalid(f"the update changes {'.'.join(first)!r} and {'.'.join(second)!r} at once")


def _id_differs(before: Document, after: Document) -> bool:
    return "_id" not in after or sort_key(before["_id"]) != sort_key(after["_id"])
