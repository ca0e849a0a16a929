"""Filters against an independent implementation of MongoDB's: mongomock.

Where mongomock is known to differ, MongoDB's own behaviour decides; each such difference stands in DIFFERENCES with
its reason, a test of whether a case is touched by it, and an example on which the two do differ, so that the list
cannot grow stale.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import pytest
from bson import ObjectId
from hypothesis import event, given, settings
from hypothesis import strategies as st
from mongomock import OperationFailure
from mongomock.filtering import filter_applies, iter_key_candidates

from zarkov import codec
from zarkov.store.filter import compile_filter

NAMES = ["a", "b", "0", "1"]
PATHS = ["a", "b", "a.b", "a.0", "a.b.0", "a.0.b"]

# Neither 0 nor 1 stands beside True and False, nor do fields stand in different orders: see DIFFERENCES.
scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(2, 5),
    st.sampled_from([-1.5, 2.0, 2.5, 3.0]),
    st.sampled_from(["", "a", "ab", "b", "A"]),
    st.sampled_from([ObjectId("0" * 23 + digit) for digit in "123"]),
    st.sampled_from([datetime(2011, 7, 20), datetime(2011, 7, 20, 18, 52, 30, 272000), datetime(2026, 1, 1)]),
)


def in_order(document: dict[str, Any]) -> dict[str, Any]:
    return dict(sorted(document.items()))


values = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.sampled_from(NAMES), inner, min_size=1, max_size=2).map(in_order),
    ),
    max_leaves=5,
)
documents = st.dictionaries(st.sampled_from(["a", "b"]), values, max_size=2)

comparisons = st.tuples(st.sampled_from(["$eq", "$ne", "$gt", "$gte", "$lt", "$lte"]), values).map(
    lambda p: {p[0]: p[1]}
)
others = st.one_of(
    st.tuples(st.sampled_from(["$in", "$nin", "$all"]), st.lists(values, max_size=3)).map(lambda p: {p[0]: p[1]}),
    st.booleans().map(lambda flag: {"$exists": flag}),
    st.integers(0, 3).map(lambda size: {"$size": size}),
    st.sampled_from(["^a", "b$", "A", "^$"]).map(lambda pattern: {"$regex": pattern}),
    st.sampled_from(["^a", "B$"]).map(lambda pattern: {"$regex": pattern, "$options": "i"}),
)
operators = st.recursive(
    comparisons | others,
    lambda inner: st.one_of(
        inner.map(lambda operator: {"$not": operator}),
        inner.map(lambda operator: {"$elemMatch": operator}),
        st.tuples(st.sampled_from(NAMES), inner).map(lambda p: {"$elemMatch": {p[0]: p[1]}}),
    ),
    max_leaves=2,
)
fields = st.dictionaries(st.sampled_from(PATHS), values | operators, min_size=1, max_size=2)
filters = st.recursive(
    fields,
    lambda inner: st.tuples(st.sampled_from(["$and", "$or", "$nor"]), st.lists(inner, min_size=1, max_size=2)).map(
        lambda p: {p[0]: p[1]}
    ),
    max_leaves=3,
)


def mine(filter: dict[str, Any], document: dict[str, Any]) -> bool:
    return bool(compile_filter(filter)(document))


def theirs(filter: dict[str, Any], document: dict[str, Any]) -> bool:
    return bool(filter_applies(filter, document))


@dataclass(frozen=True)
class Leaf:
    """One operator of a filter: `operator` is "" for a plain value; `around` are the operators it stands in."""

    path: str
    operator: str
    operand: Any
    around: tuple[str, ...]


def leaves_of(filter: dict[str, Any], around: tuple[str, ...] = (), path: str = "") -> Iterator[Leaf]:
    for name, value in filter.items():
        if name in ("$and", "$or", "$nor"):
            for branch in value:
                yield from leaves_of(branch, (*around, name))
        elif name == "$not":
            yield from leaves_of(value, (*around, name), path)
        elif name == "$elemMatch":
            yield Leaf(path, name, value, around)
            yield from leaves_of(value, (*around, name), path)
        elif name.startswith("$"):
            yield Leaf(path, name, value, around)
        elif isinstance(value, dict) and value and next(iter(value)).startswith("$"):
            yield from leaves_of(value, around, name)
        else:
            yield Leaf(name, "", value, around)


def candidates(leaf: Leaf, document: dict[str, Any]) -> list[Any]:
    return list(iter_key_candidates(leaf.path, document))


def arrays_in(value: Any) -> Iterator[list[Any]]:
    if isinstance(value, list):
        yield value
    for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from arrays_in(inner)


def has_nested_array(document: dict[str, Any]) -> bool:
    return any(isinstance(item, list) for array in arrays_in(document) for item in array)


def has_unlike_elements(condition: dict[str, Any], document: dict[str, Any]) -> bool:
    """Whether an array holds other than what the condition of an `$elemMatch` is for: documents, or scalars."""
    operators = next(iter(condition)).startswith("$")
    if "$not" in condition or "$size" in condition:
        return True
    elements = [item for array in arrays_in(document) for item in array]
    return any(isinstance(item, dict | list) if operators else not isinstance(item, dict) for item in elements)


@dataclass(frozen=True)
class Difference:
    """`touches(leaf, document)`: whether the two may disagree; on `example` MongoDB (and Zarkov) say `right`."""

    reason: str
    touches: Callable[[Leaf, dict[str, Any]], bool]
    example: tuple[dict[str, Any], dict[str, Any], bool]


DIFFERENCES = [
    Difference(
        "MongoDB compares an empty document as a value; mongomock takes it for no condition at all",
        lambda leaf, document: leaf.operand == {} and leaf.operator == "",
        ({"a": {}}, {}, False),
    ),
    Difference(
        "BSON's true is not 1; Python's is",
        lambda leaf, document: False,  # The strategies have neither 0 nor 1.
        ({"a": 1}, {"a": True}, False),
    ),
    Difference(
        "the order of fields is part of a document's value; Python's dicts compare without it",
        lambda leaf, document: False,  # The strategies have fields in one order.
        ({"a": {"b": 2, "c": 3}}, {"a": {"c": 3, "b": 2}}, False),
    ),
    Difference(
        "where a path ends in a scalar or an array without documents, mongomock evaluates nothing, so that even $not "
        "and null fail",
        lambda leaf, document: "." in leaf.path and not candidates(leaf, document),
        ({"a.b": None}, {"a": 2}, True),
    ),
    Difference(
        "mongomock refuses $options inside $not",
        lambda leaf, document: leaf.operator == "$options" and "$not" in leaf.around,
        ({"a": {"$not": {"$regex": "B", "$options": "i"}}}, {"a": "b"}, False),
    ),
    Difference(
        "$all of nothing matches nothing; mongomock's matches everything",
        lambda leaf, document: leaf.operator == "$all" and not leaf.operand,
        ({"a": {"$all": []}}, {"a": [2]}, False),
    ),
    Difference(
        "$size is of arrays; mongomock counts a document's fields, and a scalar as one",
        lambda leaf, document: (
            leaf.operator == "$size" and not all(isinstance(value, list) for value in candidates(leaf, document))
        ),
        ({"a": {"$size": 1}}, {"a": {"b": 2}}, False),
    ),
    Difference(
        "$gte and $lte null match what is missing, as null itself does",
        lambda leaf, document: leaf.operator in ("$gt", "$gte", "$lt", "$lte") and leaf.operand is None,
        ({"a": {"$gte": None}}, {}, True),
    ),
    Difference(
        "$elemMatch takes elements as they are, and arrays as documents by number; mongomock tries operators on an "
        "inner array's elements and on documents as if they were a filter, and a filter on scalars",
        lambda leaf, document: leaf.operator == "$elemMatch" and has_unlike_elements(leaf.operand, document),
        ({"a": {"$elemMatch": {"$gt": 2}}}, {"a": [[3]]}, False),
    ),
    Difference(
        "an array as operand is compared with the elements, too; mongomock compares it with the whole array only",
        lambda leaf, document: (
            (has_nested_array(document) and (isinstance(leaf.operand, list) or leaf.operator == ""))
            or (leaf.operator in ("$in", "$nin", "$all") and any(isinstance(item, list) for item in leaf.operand))
        ),
        ({"a": {"$eq": [2]}}, {"a": [[2]]}, True),
    ),
    Difference(
        "null in $all matches what is missing, as null itself does",
        lambda leaf, document: leaf.operator == "$all" and None in leaf.operand,
        ({"a": {"$all": [None]}}, {}, True),
    ),
    Difference(
        "a number in a path also names a field of the documents in an array; mongomock takes it for an index only",
        lambda leaf, document: (
            bool(re.search(r"\d", leaf.path))
            and any(isinstance(item, dict) for array in arrays_in(document) for item in array)
        ),
        ({"a.0": 2}, {"a": [5, {"0": 2}]}, True),
    ),
    Difference(
        "an element named by its number is compared as it is; mongomock also tries its elements",
        lambda leaf, document: bool(re.search(r"\d$", leaf.path)) and has_nested_array(document),
        ({"a.0": 2}, {"a": [[2]]}, False),
    ),
]


def known(filter: dict[str, Any], document: dict[str, Any]) -> bool:
    return any(difference.touches(leaf, document) for leaf in leaves_of(filter) for difference in DIFFERENCES)


@settings(max_examples=1_500, deadline=None)
@given(filters, documents)
def test_a_filter_says_what_mongomock_says_where_that_says_what_mongodb_does(
    filter: dict[str, Any], document: dict[str, Any]
) -> None:
    if known(filter, document):
        event("a known difference")
        mine(filter, document)
        return
    event("compared")
    assert mine(filter, document) == theirs(filter, document)


@pytest.mark.parametrize("difference", DIFFERENCES, ids=lambda difference: difference.reason[:60])
def test_a_known_difference_is_still_one(difference: Difference) -> None:
    filter, document, right = difference.example
    assert mine(filter, document) is right
    try:
        assert theirs(filter, document) is not right
    except OperationFailure:
        assert "$options" in str(filter)


@given(filters, documents)
def test_what_a_filter_says_of_a_document_it_says_of_the_document_read_back(
    filter: dict[str, Any], document: dict[str, Any]
) -> None:
    assert mine(filter, document) == mine(filter, codec.decode(codec.encode(document)))


@given(filters, documents)
def test_nor_is_the_opposite_of_the_filter(filter: dict[str, Any], document: dict[str, Any]) -> None:
    assert mine({"$nor": [filter]}, document) is not mine(filter, document)


@given(values, values)
def test_of_two_values_of_one_type_exactly_one_is_lower_or_they_are_equal(first: Any, second: Any) -> None:
    if isinstance(first, list) or type(first) is not type(second) or first is None:
        return
    document = {"a": first}
    said = [mine({"a": {operator: second}}, document) for operator in ("$lt", "$eq", "$gt")]
    assert said.count(True) == 1
    assert mine({"a": {"$lte": second}}, document) is (said[0] or said[1])
    assert mine({"a": {"$gte": second}}, document) is (said[2] or said[1])
