"""BSON's order of values, and the keys that keep it in the document file."""

from datetime import datetime
from itertools import pairwise
from typing import Any

import pytest
from bson import Binary, Code, Decimal128, Int64, MaxKey, MinKey, ObjectId, Regex, Timestamp
from bson.datetime_ms import DatetimeMS
from bson.dbref import DBRef
from hypothesis import example, given
from hypothesis import strategies as st

from zarkov.errors import FilterInvalid, StoreFailed
from zarkov.store.compare import MISSING, operand, order_key, rank, sort_key
from zarkov.store.keys import id_key, key_range
from zarkov.store.parse import parse

ASCENDING: list[Any] = [
    MinKey(),
    None,
    float("nan"),
    float("-inf"),
    -(2**63),
    -0.5,
    0,
    Decimal128("0.1"),
    0.5,
    Int64(1),
    2**53,
    2**53 + 1,
    Decimal128("1E+400"),
    float("inf"),
    "",
    "a",
    "a\x00",
    "b",
    "é",
    {},
    {"b": 1},
    {"b": 2},
    {"b": 2, "a": 0},
    {"a": "x"},
    [],
    [1],
    [1, 0],
    [2],
    ["x"],
    b"",
    b"z",
    b"aa",
    Binary(b"aa", 5),
    ObjectId("0" * 24),
    ObjectId("f" * 24),
    False,
    True,
    DatetimeMS(-(2**62)),
    datetime(1970, 1, 1),
    datetime(2011, 7, 20),
    DatetimeMS(2**62),
    Timestamp(1, 1),
    Timestamp(1, 2),
    Regex("a"),
    Regex("b"),
    Code("x"),
    MaxKey(),
]


def test_values_of_every_type_stand_in_bsons_order() -> None:
    for lower, higher in pairwise(ASCENDING):
        assert sort_key(lower) < sort_key(higher), (lower, higher)


def test_equal_values_have_equal_keys_and_hashes() -> None:
    for same in ([1, 1.0, Int64(1), Decimal128("1.0")], [b"x", Binary(b"x", 0)], [0.0, -0.0], [None, MISSING]):
        assert len({sort_key(value) for value in same}) == 1
    assert sort_key(DBRef("c", 1)) == sort_key({"$ref": "c", "$id": 1})
    assert sort_key(True) != sort_key(1)


def test_a_type_that_bson_lacks_has_no_rank() -> None:
    with pytest.raises(FilterInvalid, match="no type for a set"):
        rank({1})


def test_an_array_sorts_by_its_lowest_element_and_downwards_by_its_highest() -> None:
    assert order_key([[3, 1, 2]], descending=False) == sort_key(1)
    assert order_key([[3, 1, 2]], descending=True) == sort_key(3)
    assert order_key([[]], descending=False) < sort_key(None)
    assert order_key([], descending=False) == sort_key(None)


def test_an_operand_is_checked_quickly_however_large_the_number() -> None:
    assert operand(Int64(5)) == 5
    with pytest.raises(FilterInvalid):
        operand(-(2**63) - 1)


scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    st.integers(2**53 - 3, 2**53 + 3),
    st.floats(),
    st.text(st.characters(codec="utf-8"), max_size=4),
    st.text("ab\x00\x01\xff", max_size=4),
    st.binary(max_size=3),
    st.binary(min_size=12, max_size=12).map(ObjectId),
    st.datetimes(datetime(1, 1, 1), datetime(9999, 12, 31)).map(lambda d: d.replace(microsecond=0)),
)
idents = st.recursive(
    scalars,
    lambda inner: st.dictionaries(st.text("ab\x00", max_size=2), inner | st.lists(inner, max_size=2)),
    max_leaves=4,
)


@given(idents, idents)
@example(2**53, float(2**53))
@example(2**63 - 1, float(2**63))
@example({"a": 1}, {"a": 1.0})
def test_keys_order_as_the_values_do(first: Any, second: Any) -> None:
    lower, equal = sort_key(first) < sort_key(second), sort_key(first) == sort_key(second)
    assert (id_key(first) < id_key(second)) is lower
    assert (id_key(first) == id_key(second)) is equal


@given(st.sampled_from(["$eq", "$gt", "$gte", "$lt", "$lte"]), scalars, scalars)
def test_the_keys_of_a_range_hold_every_match(operator: str, bound: Any, ident: Any) -> None:
    from zarkov.store.filter import compile_filter

    filter = {"_id": {operator: bound}}
    if compile_filter(filter)({"_id": ident}):
        keys = key_range(parse(filter))
        assert keys.first <= id_key(ident) < keys.stop


@pytest.mark.parametrize(
    "value", [[1], Decimal128("1"), Timestamp(1, 1), Code("x"), Regex("x"), MinKey(), "x" * 9000]
)
def test_a_value_that_makes_no_key_is_refused(value: Any) -> None:
    with pytest.raises(StoreFailed):
        id_key(value)
