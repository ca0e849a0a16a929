"""The update operators on arrays: $push, $addToSet, $pull, $pullAll, $pop.

Each reads its operand once and gives a function from the stored value (or MISSING) to the new one, or to MISSING
where nothing is to be written.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from zarkov.errors import UpdateInvalid
from zarkov.store.compare import MISSING, sort_key
from zarkov.store.filter import compile_node
from zarkov.store.parse import parse_element

Change = Callable[[Any], Any]

_PUSH_MODIFIERS = ("$each", "$slice", "$position")


def push(value: Any) -> Change:
    """Append a value, or the values of `$each`; `$position` says where, `$slice` how many are kept."""
    values, modifiers = _each("$push", value, _PUSH_MODIFIERS)
    position, kept = modifiers.get("$position"), modifiers.get("$slice")
    for number in (position, kept):
        if number is not None and (isinstance(number, bool) or not isinstance(number, int)):
            raise UpdateInvalid("$position and $slice take whole numbers")

    def change(old: Any) -> Any:
        array = _array("$push", old)
        at = len(array) if position is None else position
        array[at:at] = values
        if kept is None:
            return array
        return array[:kept] if kept >= 0 else array[kept:]

    return change


def add_to_set(value: Any) -> Change:
    """Append a value, or those of `$each`, unless an equal one is there."""
    values, _ = _each("$addToSet", value, ("$each",))

    def change(old: Any) -> Any:
        array = _array("$addToSet", old)
        present = {sort_key(item) for item in array}
        for item in values:
            key = sort_key(item)
            if key not in present:
                present.add(key)
                array.append(item)
        return array

    return change


def pull(condition: Any) -> Change:
    """Remove the elements that equal a value or pass a filter."""
    matches = compile_node(parse_element(condition))
    documents = isinstance(condition, Mapping)

    def gone(item: Any) -> bool:
        if documents and not next(iter(condition), "$").startswith("$") and not isinstance(item, dict):
            return False
        return matches(item)

    return lambda old: MISSING if old is MISSING else [item for item in _array("$pull", old) if not gone(item)]


def pull_all(values: Any) -> Change:
    """Remove the elements that equal any of the values."""
    if not isinstance(values, list):
        raise UpdateInvalid("$pullAll takes a list of values")
    keys = {sort_key(value) for value in values}
    return lambda old: (
        MISSING if old is MISSING else [item for item in _array("$pullAll", old) if sort_key(item) not in keys]
    )


def pop(end: Any) -> Change:
    """Remove the last element (1) or the first (-1)."""
    if isinstance(end, bool) or end not in (1, -1):
        raise UpdateInvalid("$pop takes 1 (the last element) or -1 (the first)")
    return lambda old: (
        MISSING if old is MISSING else _array("$pop", old)[slice(None, -1) if end == 1 else slice(1, None)]
    )


def _each(name: str, value: Any, modifiers: tuple[str, ...]) -> tuple[list[Any], Mapping[str, Any]]:
    if not isinstance(value, Mapping) or "$each" not in value:
        return [value], {}
    unknown = [key for key in value if key not in modifiers]
    if unknown:
        raise UpdateInvalid(f"{name} has no modifier {unknown[0]!r}", hint="It has " + ", ".join(modifiers) + ".")
    if not isinstance(value["$each"], list):
        raise UpdateInvalid(f"$each of {name} takes a list")
    return value["$each"], value


def _array(name: str, old: Any) -> list[Any]:
    if old is MISSING:
        return []
    if not isinstance(old, list):
        raise UpdateInvalid(f"{name} needs an array, where a {type(old).__name__} is stored")
    return list(old)
