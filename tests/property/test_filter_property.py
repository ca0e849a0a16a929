"""Filters against an independent implementation of MongoDB's: mongomock.

Where mongomock is known to differ, MongoDB's own behaviour decides; each such difference stands in DIFFERENCES with
its reason and an example on which the two do differ, so that the list cannot grow stale.
"""

import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import pytest
from bson import ObjectId
from hypothesis import assume, event, given, settings
from hypothesis import strategies as st
from mongomock import OperationFailure
from mongomock.filtering import filter_applies

from zarkov import codec
from zarkov.store.filter import compile_filter

NAMES = ["a", "b", "0", "1"]
PATHS = ["a", "b", "a.b", "a.0", "a.b.0", "a.0.b"]

scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 3),
    st.sampled_from([-1.5, 0.0, 0.5, 1.0, 2.0]),
    st.sampled_from(["", "a", "ab", "b", "A"]),
    st.sampled_from([ObjectId("0" * 23 + digit) for digit in "123"]),
    st.sampled_from([datetime(2011, 7, 20), datetime(2011, 7, 20, 18, 52, 30, 272000), datetime(2026, 1, 1)]),
)
values = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.sampled_from(NAMES), inner, max_size=2)
    ),
    max_leaves=5,
)
documents = st.dictionaries(st.sampled_from(["a", "b"]), values, max_size=2)

comparisons = st.tuples(st.sampled_from(["$eq", "$ne", "$gt", "$gte", "$lt", "$lte"]), values).map(lambda p: {p[0]: p[1]})
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
