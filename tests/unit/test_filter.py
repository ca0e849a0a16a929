"""Filters by example: what matches, what does not, and what is refused."""

import re
from datetime import UTC, datetime
from typing import Any

import pytest
from bson import Binary, Code, Decimal128, Int64, MaxKey, ObjectId, Regex, Timestamp
from bson.datetime_ms import DatetimeMS

from zarkov.errors import FilterInvalid
from zarkov.store.filter import compile_filter

NAN = float("nan")
DAY = datetime(2011, 7, 20)


def matches(filter: Any, document: dict[str, Any]) -> bool:
    return bool(compile_filter(filter)(document))


@pytest.mark.parametrize(
    ("filter", "document"),
    [
        (None, {"a": 1}),
        ({}, {}),
        ({"$comment": "why"}, {}),
        ({"a": 1}, {"a": 1.0}),
        ({"a": 1}, {"a": Decimal128("1.00")}),
        ({"a": Decimal128("0.1")}, {"a": Decimal128("0.10")}),
        ({"a": {"$gt": 1}}, {"a": Decimal128("1.5")}),
        ({"a": {"$lt": Decimal128("1.5")}}, {"a": 1}),
        ({"a": 2**62 + 1}, {"a": Int64(2**62 + 1)}),
        ({"a": True}, {"a": True}),
        ({"a": None}, {"b": 1}),
        ({"a": NAN}, {"a": NAN}),
        ({"a": {"$lt": 5}}, {"a": NAN}),
        ({"a": {"$gte": NAN}}, {"a": NAN}),
        ({"a.b": "x"}, {"a": [{"b": "y"}, {"b": "x"}]}),
        ({"a.1.b": "x"}, {"a": [{"b": "y"}, {"b": "x"}]}),
        ({"a": [1, 2]}, {"a": [[1, 2], 3]}),
        ({"a": {"b": 1, "c": 2}}, {"a": {"b": 1.0, "c": 2}}),
        ({"a": {"$gt": 1, "$lt": 5}}, {"a": [0, 6]}),
        ({"a": {"$in": [re.compile("^x"), 3]}}, {"a": "xy"}),
        ({"a": {"$in": [None]}}, {}),
        ({"a": {"$nin": ["x", 2]}}, {"a": ["y", 3]}),
        ({"a": re.compile("B", re.IGNORECASE)}, {"a": "abc"}),
        ({"a": Regex("^b", "m")}, {"a": "a\nb"}),
        ({"a": re.compile("x")}, {"a": Regex("x")}),
        ({"a": {"$regex": "b . c", "$options": "xs"}}, {"a": "ab\nc"}),
        ({"a": {"$not": re.compile("^x")}}, {"a": 5}),
        ({"a": {"$not": {"$gt": 3}}}, {}),
        ({"a": {"$all": ["x", re.compile("^y")]}}, {"a": ["yes", "x"]}),
        ({"a": {"$all": [{"$elemMatch": {"b": 1}}, {"$elemMatch": {"b": 2}}]}}, {"a": [{"b": 2}, {"b": 1}]}),
        ({"a": {"$elemMatch": {"$gt": 1, "$lt": 3}}}, {"a": [0, 2, 6]}),
        ({"a": {"$elemMatch": {"b": 1, "c": 2}}}, {"a": [{"b": 1}, {"b": 1, "c": 2}]}),
        ({"a": {"$elemMatch": {"$or": [{"b": 1}, {"c": 1}]}}}, {"a": [{"c": 1}]}),
        ({"a": {"$elemMatch": {"0": "x"}}}, {"a": [["x"]]}),
        ({"a": {"$size": 2.0}}, {"a": [1, 2]}),
        ({"a": {"$mod": [4, 1]}}, {"a": 5.9}),
        ({"a": {"$mod": [4, -1]}}, {"a": -5}),
        ({"a": {"$mod": [4, 1]}}, {"a": Decimal128("5")}),
        ({"a": {"$type": "number"}}, {"a": 5}),
        ({"a": {"$type": ["string", 16]}}, {"a": 5}),
        ({"a": {"$type": "long"}}, {"a": Int64(5)}),
        ({"a": {"$type": "decimal"}}, {"a": Decimal128("5")}),
        ({"a": {"$type": "null"}}, {"a": None}),
        ({"a": {"$exists": True}}, {"a": None}),
        ({"a": {"$exists": 0}}, {}),
        ({"a": datetime(2011, 7, 20, 2, tzinfo=UTC)}, {"a": datetime(2011, 7, 20, 2)}),
        ({"a": datetime(2011, 7, 20, 2, 0, 0, 1999)}, {"a": datetime(2011, 7, 20, 2, 0, 0, 1000)}),
        ({"a": {"$gt": DAY}}, {"a": DatetimeMS(2**60)}),
        ({"a": DatetimeMS(0)}, {"a": datetime(1970, 1, 1)}),
        ({"a": b"x"}, {"a": b"x"}),
        ({"a": Binary(b"x", 0)}, {"a": b"x"}),
        ({"a": {"$gt": Timestamp(1, 1)}}, {"a": Timestamp(1, 2)}),
        ({"a": Code("x")}, {"a": Code("x")}),
        ({"a": MaxKey()}, {"a": MaxKey()}),
        ({"a": ("x", "y")}, {"a": ["x", "y"]}),
        ({"$nor": [{"a": 1}, {"b": 1}]}, {"c": 1}),
        ({"$or": [{"a": 1}, {"$and": [{"b": 1}, {"c": 1}]}]}, {"b": 1, "c": 1}),
    ],
)
def test_a_filter_matches(filter: Any, document: dict[str, Any]) -> None:
    assert matches(filter, document)


@pytest.mark.parametrize(
    ("filter", "document"),
    [
        ({"a": 1}, {"a": True}),
        ({"a": False}, {"a": 0}),
        ({"a": "5"}, {"a": 5}),
        ({"a": "x"}, {"a": Code("x")}),
        ({"a": {"$gt": "1"}}, {"a": 5}),
        ({"a": {"$lt": 5}}, {"a": None}),
        ({"a": {"$gt": 0}}, {"a": True}),
        ({"a": {"$gt": NAN}}, {"a": 5}),
        ({"a": {"b": 1, "c": 2}}, {"a": {"c": 2, "b": 1}}),
        ({"a": {"b": 1}}, {"a": {"b": 1, "c": 2}}),
        ({"a.b": None}, {"a": [1, 2]}),
        ({"a": {"$ne": "x"}}, {"a": ["x", "y"]}),
        ({"a": {"$elemMatch": {"$gt": 1, "$lt": 3}}}, {"a": [0, 6]}),
        ({"a": {"$elemMatch": {"$gt": 1}}}, {"a": 5}),
        ({"a": {"$all": []}}, {"a": []}),
        ({"a": {"$size": 1}}, {"a": "x"}),
        ({"a": {"$mod": [2, 0]}}, {"a": NAN}),
        ({"a": {"$mod": [2, 1]}}, {"a": True}),
        ({"a": {"$type": "string"}}, {}),
        ({"a": {"$type": "double"}}, {"a": 5}),
        ({"a": ObjectId("0" * 24)}, {"a": "0" * 24}),
        ({"a": b"x"}, {"a": Binary(b"x", 5)}),
        ({"a": {"$in": []}}, {"a": 1}),
    ],
)
def test_a_filter_does_not_match(filter: Any, document: dict[str, Any]) -> None:
    assert not matches(filter, document)


@pytest.mark.parametrize(
    ("filter", "named"),
    [
        ("type", "a filter must be a document"),
        ({"a": {"$near": 1}}, "'$near'"),
        ({"$where": "1"}, "'$where'"),
        ({"$expr": {}}, "'$expr'"),
        ({"a": {"$gt": 1, "b": 2}}, "'b'"),
        ({1: 2}, "must be a string"),
        ({"$and": []}, "one or more"),
        ({"$or": {"a": 1}}, "one or more"),
        ({"$and": [1]}, "must be a document"),
        ({"a": {"$in": "x"}}, "takes a list"),
        ({"a": {"$in": [{"$gt": 1}]}}, "not operators"),
        ({"a": {"$not": 5}}, "$not takes operators"),
        ({"a": {"$size": -1}}, "$size"),
        ({"a": {"$size": 1.5}}, "$size"),
        ({"a": {"$size": NAN}}, "$size"),
        ({"a": {"$mod": [0, 1]}}, "$mod"),
        ({"a": {"$mod": [2]}}, "$mod"),
        ({"a": {"$mod": [NAN, 1]}}, "$mod"),
        ({"a": {"$type": "text"}}, "$type"),
        ({"a": {"$type": {}}}, "$type"),
        ({"a": {"$elemMatch": 1}}, "$elemMatch"),
        ({"a": {"$options": "i"}}, "$options needs a $regex"),
        ({"a": {"$regex": "a", "$options": "q"}}, "'q'"),
        ({"a": {"$regex": "a", "$options": 1}}, "$options must be a string"),
        ({"a": {"$regex": "("}}, "not valid"),
        ({"a": {"$regex": "a" * 1001}}, "longer than 1,000"),
        ({"a": {"$regex": 5}}, "$regex takes a string"),
        ({"a": re.compile(b"x")}, "$regex takes a string"),
        ({"a": {"$gt": re.compile("x")}}, "regular expression"),
        ({"a": 2**63}, "64 bits"),
        ({"a": "\ud800"}, "surrogate"),
        ({"a": {1, 2}}, "no type for a set"),
        ({"a": DAY.date()}, "no type for a date"),
        ({"a..b": 1}, "empty name"),
        ({".".join("a" * 101): 1}, "more than 100 names"),
    ],
)
def test_a_filter_is_refused_and_what_is_wrong_is_named(filter: Any, named: str) -> None:
    with pytest.raises(FilterInvalid, match=re.escape(named)) as refused:
        compile_filter(filter)
    assert refused.value.code == "filter_invalid"
    assert refused.value.hint


def test_a_filter_nested_without_end_is_refused_and_not_followed() -> None:
    logical: dict[str, Any] = {"a": 1}
    negated: dict[str, Any] = {"$gt": 1}
    value: Any = 1
    for _ in range(5000):
        logical, negated, value = {"$or": [logical]}, {"$not": negated}, [value]
    for filter in (logical, {"a": negated}, {"a": value}):
        with pytest.raises(FilterInvalid, match="deeper than 100 levels"):
            compile_filter(filter)
