"""A filter once read: what `parse` makes of MongoDB's syntax, and what `filter` and `bounds` work on.

`$ne`, `$nin`, `$nor` and `$exists: false` are a Not of their opposite and `$all` is an And, as MongoDB defines them,
so only twelve tests are left to evaluate.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

Operator = Literal[
    "$eq", "$gt", "$gte", "$lt", "$lte", "$in", "$exists", "$regex", "$size", "$mod", "$type", "$elemMatch"
]


@dataclass(frozen=True, slots=True)
class Test:
    """One operator on the values that a path leads to; an empty path is the value itself (inside `$elemMatch`).

    `operand`: a stored value ($eq and the comparisons), a tuple of stored values and compiled patterns ($in), a
    compiled pattern ($regex), an int ($size), two ints ($mod), a frozenset of type names ($type), a Node and whether
    it is a filter on documents ($elemMatch), nothing ($exists).
    """

    path: tuple[str, ...]
    operator: Operator
    operand: Any = None


@dataclass(frozen=True, slots=True)
class And:
    """All of them; an empty one is always true."""

    nodes: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Or:
    """Any of them; an empty one is never true."""

    nodes: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Not:
    """Not so."""

    node: Node


Node = Test | And | Or | Not


def required(node: Node) -> Iterator[Test | Or | Not]:
    """What must hold for the filter to hold: its conjunction, flattened."""
    if isinstance(node, And):
        for inner in node.nodes:
            yield from required(inner)
    else:
        yield node
