"""Which fields of a document a `find` returns: `{"context.project": 1}`, `{"extra": 0}`, or a list of names."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from zarkov.errors import FilterInvalid
from zarkov.event import Document
from zarkov.store.paths import parts_of

Projection = Mapping[str, Any] | list[str] | tuple[str, ...]
Tree = dict[str, Any]


def compile_projection(projection: Projection | None) -> Callable[[Document], Document] | None:
    """The projection as a function, or None when it changes nothing.

    Naming fields to include leaves out all others but `_id`; naming fields to exclude keeps all others; the two do
    not mix, except that `_id` may be excluded beside fields included. The order of fields stays the document's.
    Raises: FilterInvalid: both kinds at once, or an operator such as $slice.
    """
    if not projection:
        return None
    if not isinstance(projection, Mapping):
        projection = dict.fromkeys(projection, 1)
    for name, value in projection.items():
        if not isinstance(value, bool | int | float):
            raise FilterInvalid(f"the projection of {name!r} must be 1 or 0", hint="Operators are not taken here.")
    fields = {name: bool(value) for name, value in projection.items() if name != "_id"}
    with_id = bool(projection.get("_id", True))
    if len(set(fields.values())) > 1:
        raise FilterInvalid("a projection either includes fields or excludes them")
    including = next(iter(fields.values()), with_id)
    if not including:
        excluded = _tree([*fields, *([] if with_id else ["_id"])])
        return lambda document: _exclude(document, excluded)
    included = _tree([*fields, *(["_id"] if with_id else [])])
    return lambda document: _include(document, included)


def _tree(names: list[str]) -> Tree:
    """Paths as nested dicts; an empty dict is the whole of what is there."""
    tree: Tree = {}
    for name in sorted(names, key=len):
        branch, parts = tree, parts_of(name)
        for part in parts[:-1]:
            branch = branch.setdefault(part, {})
        branch[parts[-1]] = {}
    return tree


def _include(document: Document, tree: Tree) -> Document:
    found = {}
    for name, value in document.items():
        if name not in tree:
            continue
        inner = tree[name]
        if not inner:
            found[name] = value
        elif isinstance(value, dict):
            found[name] = _include(value, inner)
        elif isinstance(value, list):
            found[name] = [_include(item, inner) for item in value if isinstance(item, dict)]
    return found


def _exclude(document: Document, tree: Tree) -> Document:
    found = {}
    for name, value in document.items():
        inner = tree.get(name)
        if inner is None:
            found[name] = value
        elif not inner:
            continue
        elif isinstance(value, dict):
            found[name] = _exclude(value, inner)
        elif isinstance(value, list):
            found[name] = [_exclude(item, inner) if isinstance(item, dict) else item for item in value]
        else:
            found[name] = value
    return found
