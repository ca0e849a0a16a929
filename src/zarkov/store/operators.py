"""Each test of a filter as a function of one value.

A test gets a value that a path led to, or MISSING; whether an array's elements are tried too is the caller's part.
The functions are closures over their operand, specialised by its type where the common case gains by it: equality
with a string is one `==`.
"""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable
from datetime import datetime
from typing import Any

from bson import Decimal128, Int64, ObjectId, Regex
from bson.datetime_ms import DatetimeMS

from zarkov.store.compare import MISSING, NULL, NUMBER, is_nan, rank, sort_key

Single = Callable[[Any], bool]

#: The tests that look at an array as a whole and never at its elements.
WHOLE = frozenset({"$size", "$elemMatch", "$exists"})

_PLAIN_NUMBERS = frozenset({int, float, Int64})
_ORDER: dict[str, Callable[[Any, Any], bool]] = {
    "$gt": operator.gt,
    "$gte": operator.ge,
    "$lt": operator.lt,
    "$lte": operator.le,
}


def is_plain(value: Any) -> bool:
    """Whether `==` alone says what BSON's equality says about the value."""
    return type(value) in (str, ObjectId, datetime)


def equals(value: Any) -> Single:
    """Equal to a stored value; null also equals what is missing."""
    if value is None:
        return lambda found: found is None or found is MISSING
    if is_plain(value):
        return lambda found: bool(found == value)
    if isinstance(value, bool):
        return lambda found: found is value
    if type(value) in _PLAIN_NUMBERS and not is_nan(value):
        return _equals_number(value)
    place, key = rank(value), sort_key(value)
    return lambda found: found is not MISSING and rank(found) == place and sort_key(found) == key


def _equals_number(value: int | float) -> Single:
    def test(found: Any) -> bool:
        if type(found) is Decimal128:
            return bool(found.to_decimal() == value)
        return bool(found == value) and found is not True and found is not False

    return test


def compares(name: str, value: Any) -> Single:
    """Ordered against a stored value of the same type ("type bracketing"); other types never match."""
    place, key, compare = rank(value), sort_key(value), _ORDER[name]
    if place == NULL or is_nan(value):
        equal = equals(value)
        return equal if name in ("$gte", "$lte") else lambda found: False
    if place == NUMBER and type(value) in _PLAIN_NUMBERS:
        return _compares_number(name, value)
    if type(value) is str:
        return lambda found: type(found) is str and compare(found, value)
    if type(value) is datetime:
        return _compares_date(compare, value, key[1])
    return lambda found: found is not MISSING and rank(found) == place and compare(sort_key(found), key)


def _compares_number(name: str, value: int | float) -> Single:
    """NaN is the lowest number: less than every other, so `<` is asked as `not >=`."""
    inverse = {"$lt": operator.ge, "$lte": operator.gt}.get(name)
    compare = _ORDER[name]

    def test(found: Any) -> bool:
        if type(found) in _PLAIN_NUMBERS:
            return compare(found, value) if inverse is None else not inverse(found, value)
        return type(found) is Decimal128 and compare(sort_key(found), sort_key(value))

    return test


def _compares_date(compare: Callable[[Any, Any], bool], value: datetime, milliseconds: int) -> Single:
    def test(found: Any) -> bool:
        if type(found) is datetime:
            return compare(found, value)
        return type(found) is DatetimeMS and compare(int(found), milliseconds)

    return test


def one_of(values: tuple[Any, ...]) -> Single:
    """Equal to any of the values; a compiled pattern among them matches strings."""
    patterns = [matches(value) for value in values if isinstance(value, re.Pattern)]
    stored = [value for value in values if not isinstance(value, re.Pattern)]
    strings = frozenset(value for value in stored if type(value) is str)
    others = [equals(value) for value in stored if type(value) is not str]
    if not patterns and not others:
        return lambda found: type(found) is str and found in strings
    tests = [*others, *patterns]
    return lambda found: (type(found) is str and found in strings) or any(test(found) for test in tests)


def matches(pattern: re.Pattern[str]) -> Single:
    """A string in which the pattern is found, or the same regular expression stored as a value."""
    search = pattern.search

    def test(found: Any) -> bool:
        if type(found) is str:
            return search(found) is not None
        return isinstance(found, Regex) and (found.pattern, found.flags) == (pattern.pattern, _stored_flags(pattern))

    return test


def _stored_flags(pattern: re.Pattern[str]) -> int:
    return pattern.flags & ~re.UNICODE


def exists(found: Any) -> bool:
    """Anything stored, null too."""
    return found is not MISSING


def has_size(count: int) -> Single:
    """An array of so many elements."""
    return lambda found: type(found) is list and len(found) == count


def leaves(divisor: int, remainder: int) -> Single:
    """A number that leaves the remainder when divided; fractions are cut off, the sign is the dividend's, as in C."""

    def test(found: Any) -> bool:
        if type(found) is Decimal128:
            number = found.to_decimal()
            found = int(number) if number.is_finite() else None
        if type(found) is float:
            found = int(found) if math.isfinite(found) else None
        if type(found) is not int and type(found) is not Int64:
            return False
        left = abs(found) % abs(divisor)
        return bool((left if found >= 0 else -left) == remainder)

    return test


def of_type(names: frozenset[str]) -> Single:
    """A stored value whose BSON type is one of the names."""
    return lambda found: found is not MISSING and type_name(found) in names


_TYPE_NAMES = {
    0: "minKey",
    5: "null",
    15: "string",
    20: "object",
    25: "array",
    30: "binData",
    35: "objectId",
    40: "bool",
    45: "date",
    47: "timestamp",
    50: "regex",
    60: "javascript",
    127: "maxKey",
}


def type_name(value: Any) -> str:
    """The BSON type's name; a Python int is `int` when it fits into 32 bits and was not stored as 64."""
    place = rank(value)
    if place != NUMBER:
        return _TYPE_NAMES[place]
    if isinstance(value, float):
        return "double"
    if isinstance(value, Decimal128):
        return "decimal"
    return "long" if type(value) is Int64 or not -(2**31) <= value < 2**31 else "int"
