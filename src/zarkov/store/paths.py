"""Where a dotted path leads in a document, by MongoDB's rules.

`a.b` goes through documents by name. An array on the way is gone through: every document in it is followed, and a
number in the path also names an element. A path that ends at an array leads to the array and to each of its
elements, unless the path names an element by its number: then to that element alone.
Source: MongoDB's src/mongo/db/matcher/path.cpp (ElementPath, BSONElementIterator).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from zarkov.errors import FilterInvalid
from zarkov.event import DEPTH_MAX
from zarkov.store.compare import MISSING


def parts_of(path: str) -> tuple[str, ...]:
    """The names of a dotted path. Raises: FilterInvalid: longer than DEPTH_MAX names, or an empty name in it."""
    parts = tuple(path.split("."))
    if len(parts) > DEPTH_MAX:
        raise FilterInvalid(f"the path {path[:40]!r} has more than {DEPTH_MAX} names")
    if len(parts) > 1 and "" in parts:
        raise FilterInvalid(f"the path {path[:40]!r} has an empty name")
    return parts


def values_at(document: Any, parts: Sequence[str], *, elements: bool = True) -> list[Any]:
    """Every value the path leads to; MISSING stands for each document on the way that has nothing there.

    `elements`: whether an array at the end also counts as each of its elements. The list is empty where the path
    ends in an array without documents.
    """
    value = document
    for at, part in enumerate(parts):
        if type(value) is list:
            return _through(value, parts[at:], elements)
        value = value.get(part, MISSING) if isinstance(value, dict) else MISSING
        if value is MISSING:
            return [MISSING]
    if elements and type(value) is list:
        return [*value, value]
    return [value]


def _through(array: list[Any], parts: Sequence[str], elements: bool) -> list[Any]:
    found: list[Any] = []
    index, rest = index_of(parts[0]), parts[1:]
    for at, element in enumerate(array):
        if isinstance(element, dict):
            found += values_at(element, parts, elements=elements)
        if at != index:
            continue
        if not rest:
            found.append(element)
        elif isinstance(element, dict):
            found += values_at(element, rest, elements=elements)
        elif type(element) is list:
            found += _through(element, rest, elements)
    return found


def index_of(part: str) -> int:
    """The array index that a part of a path names, or -1."""
    plain = part.isascii() and part.isdecimal() and len(part) < 10 and (part == "0" or part[0] != "0")
    return int(part) if plain else -1
