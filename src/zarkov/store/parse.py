"""Reading MongoDB's filter syntax into `nodes`, once, with every fault named.

Nothing of a filter is evaluated as code: `$where`, `$expr` and the like are refused. A nested filter is read to
DEPTH_MAX levels.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, NoReturn

from bson import Regex

from zarkov.errors import FilterInvalid
from zarkov.event import DEPTH_MAX
from zarkov.store.compare import operand, regex
from zarkov.store.nodes import And, Node, Not, Operator, Or, Test
from zarkov.store.paths import parts_of

Filter = Mapping[str, Any]
Path = tuple[str, ...]

#: Names that `$type` takes, and the numbers that MongoDB gives them.
TYPE_NAMES = {
    "double": 1,
    "string": 2,
    "object": 3,
    "array": 4,
    "binData": 5,
    "objectId": 7,
    "bool": 8,
    "date": 9,
    "null": 10,
    "regex": 11,
    "javascript": 13,
    "int": 16,
    "timestamp": 17,
    "long": 18,
    "decimal": 19,
    "minKey": -1,
    "maxKey": 127,
}
_TYPE_NUMBERS = {number: name for name, number in TYPE_NAMES.items()}


def parse(filter: Filter | None) -> Node:
    """A filter document as a tree; None is the empty filter, which everything passes.

    Raises: FilterInvalid: an unknown operator, an operand of the wrong kind, or too deep a nesting.
    """
    return _document({} if filter is None else filter, 0)


def is_operators(value: Any) -> bool:
    """Whether a field's value in a filter is operators (`{"$gt": 1}`) and not a value to equal."""
    return isinstance(value, Mapping) and bool(value) and str(next(iter(value))).startswith("$")


def parse_element(condition: Any) -> Node:
    """What `$pull` takes: a filter on documents, operators on the elements themselves, or a value to equal."""
    if is_operators(condition):
        return _operators((), condition, 0)
    if isinstance(condition, Mapping):
        return _document(condition, 0)
    return _equals((), condition)


def _document(filter: Any, depth: int) -> Node:
    if not isinstance(filter, Mapping):
        raise FilterInvalid(f"a filter must be a document, not a {type(filter).__name__}")
    if depth > DEPTH_MAX:
        raise FilterInvalid(f"the filter is nested deeper than {DEPTH_MAX} levels")
    nodes: list[Node] = []
    for name, value in filter.items():
        if not isinstance(name, str):
            raise FilterInvalid(f"a field's name must be a string, not {name!r}")
        if name in _LOGICAL:
            nodes.append(_LOGICAL[name](_branches(name, value, depth + 1)))
        elif name.startswith("$"):
            if name != "$comment":
                _unknown(name)
        else:
            nodes.append(_field(parts_of(name), value, depth + 1))
    return nodes[0] if len(nodes) == 1 else And(tuple(nodes))


_LOGICAL: dict[str, Callable[[tuple[Node, ...]], Node]] = {
    "$and": And,
    "$or": Or,
    "$nor": lambda nodes: Not(Or(nodes)),
}


def _branches(name: str, value: Any, depth: int) -> tuple[Node, ...]:
    if not isinstance(value, list | tuple) or not value:
        raise FilterInvalid(f"{name} takes a list of one or more filters")
    return tuple(_document(branch, depth) for branch in value)


def _field(path: Path, value: Any, depth: int) -> Node:
    return _operators(path, value, depth) if is_operators(value) else _equals(path, value)


def _equals(path: Path, value: Any) -> Node:
    if isinstance(value, re.Pattern | Regex):
        return Test(path, "$regex", regex(value))
    return Test(path, "$eq", operand(value))


def _operators(path: Path, operators: Any, depth: int) -> Node:
    if depth > DEPTH_MAX:
        raise FilterInvalid(f"the filter is nested deeper than {DEPTH_MAX} levels")
    if "$options" in operators and "$regex" not in operators:
        raise FilterInvalid("$options needs a $regex beside it")
    nodes: list[Node] = []
    for name, value in operators.items():
        if name == "$regex":
            nodes.append(Test(path, "$regex", regex(value, _options(operators))))
        elif name in _OPERATORS:
            nodes.append(_OPERATORS[name](path, value, depth + 1))
        elif name != "$options":
            _unknown(name)
    return nodes[0] if len(nodes) == 1 else And(tuple(nodes))


def _compares(name: Operator) -> Callable[[Path, Any, int], Node]:
    def node(path: Path, value: Any, depth: int) -> Node:
        if isinstance(value, re.Pattern | Regex):
            raise FilterInvalid(f"{name} does not take a regular expression", hint="Give it as the field's value.")
        return Test(path, name, operand(value))

    return node


def _inside(path: Path, value: Any, depth: int) -> Node:
    return Test(path, "$in", tuple(_choice(item) for item in _list("$in and $nin", value)))


def _choice(value: Any) -> Any:
    if isinstance(value, re.Pattern | Regex):
        return regex(value)
    if is_operators(value):
        raise FilterInvalid(f"$in takes values, not operators such as {next(iter(value))}")
    return operand(value)


def _options(beside: Filter) -> str:
    options = beside.get("$options", "")
    if not isinstance(options, str):
        raise FilterInvalid("$options must be a string")
    return options


def _negation(path: Path, value: Any, depth: int) -> Node:
    if isinstance(value, re.Pattern | Regex):
        return Not(Test(path, "$regex", regex(value)))
    if not is_operators(value):
        raise FilterInvalid("$not takes operators or a regular expression", hint="For a plain value use $ne.")
    return Not(_operators(path, value, depth))


def _all(path: Path, value: Any, depth: int) -> Node:
    nodes = tuple(_field(path, item, depth) for item in _list("$all", value))
    return And(nodes) if nodes else Or(())


def _element(value: Any, depth: int) -> tuple[Node, bool]:
    """Operators on an array's elements, or (then True) a filter on its documents."""
    if not isinstance(value, Mapping):
        raise FilterInvalid("$elemMatch takes a filter or operators")
    if is_operators(value) and next(iter(value)) not in _LOGICAL:
        return _operators((), value, depth), False
    return _document(value, depth), True


def _count(value: Any) -> int:
    whole = (isinstance(value, float) and value.is_integer()) or (isinstance(value, int) and value is not True)
    if not whole or value is False or value < 0:
        raise FilterInvalid(f"$size takes a whole number of 0 or more, not {value!r}")
    return int(value)


def _divisor(value: Any) -> tuple[int, int]:
    numbers = _list("$mod", value)
    whole = [int(n) for n in numbers if isinstance(n, int | float) and not isinstance(n, bool) and abs(n) < 2**63]
    if len(whole) != 2 or len(numbers) != 2 or whole[0] == 0:
        raise FilterInvalid("$mod takes [divisor, remainder]: two numbers, the divisor not 0")
    return whole[0], whole[1]


def _types(value: Any) -> frozenset[str]:
    names: set[str] = set()
    for item in value if isinstance(value, list | tuple) else [value]:
        name = _TYPE_NUMBERS.get(int(item)) if type(item) in (int, float) and item == item // 1 else item
        if name == "number":
            names |= {"double", "int", "long", "decimal"}
        elif isinstance(name, str) and name in TYPE_NAMES:
            names.add(name)
        else:
            raise FilterInvalid(f"$type has no {item!r}", hint="It takes: number, " + ", ".join(TYPE_NAMES) + ".")
    return frozenset(names)


def _list(name: str, value: Any) -> list[Any]:
    if not isinstance(value, list | tuple):
        raise FilterInvalid(f"{name} takes a list, not a {type(value).__name__}")
    return list(value)


_OPERATORS: dict[str, Callable[[Path, Any, int], Node]] = {
    "$eq": _compares("$eq"),
    "$ne": lambda path, value, depth: Not(_compares("$eq")(path, value, depth)),
    "$gt": _compares("$gt"),
    "$gte": _compares("$gte"),
    "$lt": _compares("$lt"),
    "$lte": _compares("$lte"),
    "$in": _inside,
    "$nin": lambda path, value, depth: Not(_inside(path, value, depth)),
    "$exists": lambda path, value, depth: Test(path, "$exists") if value else Not(Test(path, "$exists")),
    "$not": _negation,
    "$all": _all,
    "$elemMatch": lambda path, value, depth: Test(path, "$elemMatch", _element(value, depth)),
    "$size": lambda path, value, depth: Test(path, "$size", _count(value)),
    "$mod": lambda path, value, depth: Test(path, "$mod", _divisor(value)),
    "$type": lambda path, value, depth: Test(path, "$type", _types(value)),
}


def _unknown(name: str) -> NoReturn:
    raise FilterInvalid(
        f"the store has no operator {name!r}",
        hint="On a field: $eq $ne $gt $gte $lt $lte $in $nin $exists $regex $options $not $all $elemMatch $size $mod "
        "$type; between filters: $and $or $nor.",
    )
