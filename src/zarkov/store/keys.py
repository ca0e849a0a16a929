"""An `_id` as bytes that sort as BSON sorts the `_id`s, so that SQLite's own order is the store's.

    rank (1 byte), then by type:
    number      the nearest double, order-preserving (8 bytes), and what is left of it (absent, or 8 bytes more)
    string      UTF-8, 0x00 as 0x00 0xff, ended by 0x00 0x00
    document    of each field: 0x01, the rank of the value, the name as a string, the value; ended by 0x00
    array       (only inside a document) of each element: 0x01, the element; ended by 0x00
    binary      length (4 bytes), subtype, bytes
    ObjectId    12 bytes; bool 1 byte; date 8 bytes

Equal `_id`s have equal keys and unequal ones differ, so `1`, `1.0` and the 64-bit `1` are one `_id`, and `True` is
another.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from bson import ObjectId

from zarkov.batch import epoch_ms
from zarkov.errors import StoreFailed
from zarkov.store.compare import (
    ARRAY,
    BINARY,
    BOOLEAN,
    DATE,
    NULL,
    NUMBER,
    OBJECT,
    OBJECT_ID,
    STRING,
    is_nan,
    rank,
)
from zarkov.store.nodes import Node, Test, required

#: Bytes of a key; MongoDB's limit on an index entry was 1,024.
KEY_BYTES_MAX = 8_192

_double = struct.Struct(">d")
_uint64 = struct.Struct(">Q")
_SIGN = 1 << 63
_RANGED = ("$eq", "$in", "$gt", "$gte", "$lt", "$lte")
_LEFT = {-1: b"\x01", 0: b"\x02", 1: b"\x03"}  # what is left of a number beside its double: less, none, more


def id_key(value: Any) -> bytes:
    """The key of an `_id`.

    Raises: StoreFailed: an array, a value of a rare type (Decimal128, regular expression, code, timestamp ...), or
    a key longer than KEY_BYTES_MAX.
    """
    if rank(value) == ARRAY:
        raise StoreFailed("an array cannot be an `_id`", hint="Make it a document, as {'0': ..., '1': ...}.")
    key = _encode(value)
    if len(key) > KEY_BYTES_MAX:
        raise StoreFailed(f"the `_id` is longer than {KEY_BYTES_MAX:,} bytes", hint="Use a shorter `_id`.")
    return key


@dataclass(frozen=True, slots=True)
class KeyRange:
    """Keys from `first` (included) to `stop` (excluded)."""

    first: bytes = b""
    stop: bytes = b"\xff"

    def both(self, other: KeyRange) -> KeyRange:
        """What lies in both."""
        return KeyRange(max(self.first, other.first), min(self.stop, other.stop))


def key_range(node: Node) -> KeyRange:
    """The keys that every match of a filter lies within, by what it asks of `_id`."""
    found = KeyRange()
    for test in required(node):
        if isinstance(test, Test) and test.path == ("_id",):
            found = found.both(_range_of(test))
    return found


def _range_of(test: Test) -> KeyRange:
    values = test.operand if test.operator == "$in" else (test.operand,)
    if test.operator not in _RANGED or not values or not all(_is_scalar(value) for value in values):
        return KeyRange()
    keys = sorted(_encode(value) for value in values)
    place, after = keys[0][0], keys[-1] + b"\x00"
    if test.operator in ("$eq", "$in"):
        return KeyRange(keys[0], after)
    if test.operator in ("$gt", "$gte"):
        return KeyRange(keys[0] if test.operator == "$gte" else after, bytes([place + 1]))
    return KeyRange(bytes([place]), keys[0] if test.operator == "$lt" else after)


def _is_scalar(value: Any) -> bool:
    return isinstance(value, bool | int | float | str | ObjectId | datetime) and not is_nan(value)


def _encode(value: Any) -> bytes:
    place = rank(value)
    head = bytes([place])
    if place == NULL:
        return head
    if place == NUMBER and isinstance(value, int | float):
        return head + _number(value)
    if place == STRING and type(value) is str:
        return head + _text(value)
    if place == OBJECT and isinstance(value, dict):
        fields = (b"\x01" + bytes([rank(item)]) + _text(name) + _encode(item) for name, item in value.items())
        return head + b"".join(fields) + b"\x00"
    if place == ARRAY:
        return head + b"".join(b"\x01" + _encode(item) for item in value) + b"\x00"
    if place == BINARY:
        return head + struct.pack(">IB", len(value), getattr(value, "subtype", 0)) + bytes(value)
    if place == OBJECT_ID:
        return head + bytes(value.binary)
    if place == BOOLEAN:
        return head + bytes([value])
    if place == DATE:
        return head + _uint64.pack(epoch_ms(value) + _SIGN)
    raise StoreFailed(f"a {type(value).__name__} cannot be an `_id`", hint="Use a string, number, date or document.")


def _text(text: str) -> bytes:
    return text.encode("utf-8").replace(b"\x00", b"\x00\xff") + b"\x00\x00"


def _number(value: int | float) -> bytes:
    """NaN comes first; -0.0 is 0."""
    if is_nan(value):
        return b"\x00" * 8
    nearest = float(value) + 0.0
    left = int(value) - int(nearest) if isinstance(value, int) else 0
    sign = (left > 0) - (left < 0)
    return _ordered(nearest) + _LEFT[sign] + (_ordered(float(left)) if left else b"")


def _ordered(number: float) -> bytes:
    """A double's bits so that they order as unsigned bytes."""
    bits = _uint64.unpack(_double.pack(number))[0]
    return _uint64.pack(~bits & (2 * _SIGN - 1) if bits & _SIGN else bits | _SIGN)
