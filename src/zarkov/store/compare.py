"""BSON's order of values: how two values compare, and what an operand of a filter may be.

Values of different types are ordered by type (their *rank*); within a type by value. Numbers of all types are one
rank and compare exactly, `True` is not `1`, and documents compare field by field in their order, so
`{a: 1, b: 2}` is not `{b: 2, a: 1}`. Source: https://www.mongodb.com/docs/manual/reference/bson-type-comparison-order/

`sort_key` turns any BSON value into nested tuples that Python orders and hashes the same way; it is what sorting,
`distinct` and the comparison of compound values use. It is total: NaN is the lowest number.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any, Final

from bson import Binary, Code, Decimal128, Int64, MaxKey, MinKey, ObjectId, Regex, Timestamp
from bson.datetime_ms import DatetimeMS
from bson.dbref import DBRef

from zarkov.batch import epoch_ms
from zarkov.errors import FilterInvalid
from zarkov.event import DEPTH_MAX

Key = tuple[int, Any]

#: Characters of a regular expression in a filter or update; Python's matcher has no time limit of its own.
REGEX_CHARS_MAX = 1000


class _Missing:
    __slots__ = ()

    def __repr__(self) -> str:
        return "MISSING"


#: What a path leads to where a document has nothing.
MISSING: Final = _Missing()

NULL, NUMBER, STRING, OBJECT, ARRAY, BINARY, OBJECT_ID, BOOLEAN, DATE = 5, 10, 15, 20, 25, 30, 35, 40, 45
_MIN_KEY, _EMPTY_ARRAY, _TIMESTAMP, _REGEX, _CODE, _MAX_KEY = 0, 4, 47, 50, 60, 127

_RANKS: dict[type, int] = {
    MinKey: _MIN_KEY,
    _Missing: NULL,
    type(None): NULL,
    int: NUMBER,
    float: NUMBER,
    Int64: NUMBER,
    Decimal128: NUMBER,
    Decimal: NUMBER,
    str: STRING,
    dict: OBJECT,
    DBRef: OBJECT,
    list: ARRAY,
    bytes: BINARY,
    Binary: BINARY,
    ObjectId: OBJECT_ID,
    bool: BOOLEAN,
    datetime: DATE,
    DatetimeMS: DATE,
    Timestamp: _TIMESTAMP,
    Regex: _REGEX,
    Code: _CODE,
    MaxKey: _MAX_KEY,
}


def rank(value: Any) -> int:
    """The place of the value's type in BSON's order of types; MISSING ranks as null."""
    found = _RANKS.get(type(value))
    if found is not None:
        return found
    for kind in type(value).__mro__:
        if kind in _RANKS:
            return _RANKS[kind]
    raise FilterInvalid(f"BSON has no type for a {type(value).__name__}")


def sort_key(value: Any) -> Key:
    """The value as nested tuples that order, compare equal and hash as BSON orders and compares the value."""
    kind = type(value)
    if kind is str:
        return STRING, value
    if kind is int:
        return NUMBER, (1, value)
    place = rank(value)
    if place == STRING:
        return STRING, str(value)
    if place == NUMBER:
        number = value.to_decimal() if isinstance(value, Decimal128) else value
        return NUMBER, (0, 0) if number != number else (1, number)
    if place == DATE:
        return DATE, epoch_ms(value)
    if place == OBJECT:
        document = value.as_doc() if isinstance(value, DBRef) else value
        return OBJECT, tuple((rank(item), name, sort_key(item)[1]) for name, item in document.items())
    if place == ARRAY:
        return ARRAY, tuple(sort_key(item) for item in value)
    return place, _plain_key(place, value)


def _plain_key(place: int, value: Any) -> Any:
    if place == BINARY:
        return len(value), getattr(value, "subtype", 0), bytes(value)
    if place == OBJECT_ID:
        return value.binary
    if place == BOOLEAN:
        return value
    if place == _TIMESTAMP:
        return value.time, value.inc
    if place == _REGEX:
        return value.pattern, value.flags
    if place == _CODE:
        return str(value), sort_key(value.scope or {})
    return ()


def order_key(values: list[Any], *, descending: bool) -> Key:
    """What a document is sorted by, from the values its path leads to.

    An array counts as its lowest element ascending and as its highest descending; an empty one comes before null.
    """
    if len(values) == 1 and type(values[0]) is not list:
        return sort_key(values[0])
    keys: list[Key] = []
    for value in values:
        if type(value) is not list:
            keys.append(sort_key(value))
        elif value:
            keys.extend(map(sort_key, value))
        else:
            keys.append((_EMPTY_ARRAY, ()))
    if not keys:
        return NULL, ()
    return max(keys) if descending else min(keys)


def operand(value: Any, depth: int = 0) -> Any:
    """The value as it would read back from BSON, so that stored values compare with it.

    Aware datetimes become naive UTC, microseconds are cut to milliseconds, tuples become lists.
    Raises: FilterInvalid: BSON cannot hold the value, or it is nested beyond DEPTH_MAX levels.
    """
    if depth > DEPTH_MAX:
        raise FilterInvalid(f"the filter is nested deeper than {DEPTH_MAX} levels")
    kind = type(value)
    if kind in (type(None), bool, float, ObjectId):
        return value
    if isinstance(value, datetime | DatetimeMS):
        return _stored_date(value)
    if isinstance(value, Code | Regex | Decimal128 | MinKey | MaxKey | Timestamp | DBRef):
        return value
    if isinstance(value, str):
        return _stored_text(value)
    if isinstance(value, int):
        if not -(2**63) <= value < 2**63:
            raise FilterInvalid(f"the integer {value} does not fit into 64 bits")
        return value
    if isinstance(value, float):
        return float(value)
    if isinstance(value, bytes):
        return bytes(value) if getattr(value, "subtype", 0) == 0 else value
    if isinstance(value, Mapping):
        return {_name(name): operand(item, depth + 1) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [operand(item, depth + 1) for item in value]
    if isinstance(value, re.Pattern):
        return Regex.from_native(value)
    raise FilterInvalid(f"BSON has no type for a {kind.__name__}", hint=_hint_for(value))


def regex(pattern: Any, options: str = "") -> re.Pattern[str]:
    """A regular expression of a filter, compiled; `options` are MongoDB's: any of `imsxu`.

    Raises: FilterInvalid: not a string or regular expression, too long, or Python cannot compile it.
    """
    flags = pattern.flags if isinstance(pattern, Regex | re.Pattern) else 0
    text = pattern.pattern if isinstance(pattern, Regex | re.Pattern) else pattern
    if not isinstance(text, str):
        raise FilterInvalid(f"$regex takes a string or a regular expression, not a {type(pattern).__name__}")
    if len(text) > REGEX_CHARS_MAX:
        raise FilterInvalid(f"the regular expression is longer than {REGEX_CHARS_MAX:,} characters")
    for option in options:
        if option not in "imsxu":
            raise FilterInvalid(f"$options has no {option!r}", hint="$options takes any of i, m, s, x and u.")
        flags |= getattr(re, option.upper())
    try:
        return re.compile(text, flags)
    except (re.error, OverflowError, RecursionError, ValueError) as error:
        raise FilterInvalid(f"the regular expression {text[:40]!r} is not valid: {error}") from error


def is_nan(value: Any) -> bool:
    """Whether the value is a number that is not one."""
    if isinstance(value, Decimal128):
        return bool(value.to_decimal().is_nan())
    return isinstance(value, float) and math.isnan(value)


def _stored_date(value: datetime | DatetimeMS) -> datetime | DatetimeMS:
    if isinstance(value, DatetimeMS):
        try:
            return value.as_datetime().replace(tzinfo=None)
        except (OverflowError, ValueError):
            return value
    if value.tzinfo is not None:
        value = value.astimezone(UTC).replace(tzinfo=None)
    return value.replace(microsecond=value.microsecond // 1000 * 1000)


def _stored_text(value: str) -> str:
    try:
        value.encode("utf-8")
    except UnicodeEncodeError as error:
        raise FilterInvalid("a string of the filter holds a lone surrogate") from error
    return str(value)


def _name(name: Any) -> str:
    if not isinstance(name, str):
        raise FilterInvalid(f"a field's name must be a string, not {name!r}")
    return name


def _hint_for(value: Any) -> str | None:
    return "Give a datetime.datetime, in UTC." if isinstance(value, date) else None
