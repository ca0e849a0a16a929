"""Keys and values of map-reduce: when two keys are one, and how a key is stored and shown. Pure.

A key may be any value that BSON has a type for and that can be an `_id`: None, a number, a string, bytes, a date, an
ObjectId, a bool, a tuple, a document. A value may be any BSON value. The rules, the store's own (decision 12):

- Two keys are one exactly if the store takes them for the same `_id`: `1`, `1.0` and `Int64(1)` are one, `True` is
  another; NaN is one key; dates are naive UTC to the millisecond; documents are equal if their fields are, in order.
- A key that is a tuple (or a list) is stored as a document, `("allura", 9)` as `{"0": "allura", "1": 9}`, since
  `_id` may be no array. Functions get it as the tuple again, whether it came as a tuple, a list or that document.
- What lies within a key or a value is kept as BSON keeps it: tuples are arrays, a date loses its microseconds.
  Arrays within a key are shown as tuples, arrays within a value as lists.
- Of keys that are one, the first of the input is the one that is shown and stored.

`key_of` gives the key as bytes: the same that the embedded store files the `_id` under, so that the order of these
bytes is BSON's order of the keys, and a sorted result is stored without another look at its keys.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from itertools import chain
from operator import getitem
from typing import Any
from zlib import crc32

from bson import Int64, ObjectId

from zarkov.codec import decode, encode
from zarkov.errors import EventRefused, OutputInvalid, StoreFailed
from zarkov.store.keys import KEY_BYTES_MAX, id_key

#: Types of keys, and of what is in tuples, that hash and compare so that what is equal in Python is one key.
HASHED_KINDS: frozenset[type] = frozenset({str, int, Int64, float, type(None), bytes, ObjectId, datetime})
#: Those of them that are shown and stored as they are.
_PLAIN_KINDS = frozenset({str, int, Int64, float, type(None), bytes, ObjectId})

#: Parts of keys whose bytes are remembered, at each place of a tuple; when there are more all are forgotten.
MEMO_MAX = 20_000

#: Parts of a value that `weight_of` looks at.
WEIGHED_MAX = 1_000
_PART_BYTES, _CONTAINER_BYTES, _ENTRY_BYTES = 40, 50, 60

_SCALAR = ""  # the name of the field that holds a value on its way through BSON


def key_of(key: Any) -> bytes:
    """The key as bytes, equal for keys that are one, in BSON's order of keys; at most KEY_BYTES_MAX.

    About 0.5 us for a string or a short tuple of parts that were seen before, some 5 us for others.
    Raises: OutputInvalid: the value can be no key.
    """
    if type(key) is str:
        return _text_key(key)
    return _hashed_key(key) if are_hashed((key,)) else _any_key(key)


def keys_of(keys: Sequence[Any]) -> list[bytes]:
    """`key_of` each of the keys, of which `are_hashed` is true. Raises: OutputInvalid."""
    return [_text_key(key) if type(key) is str else _hashed_key(key) for key in keys]


def shown_key(key: Any) -> Any:
    """The key as functions get it: as BSON keeps it, and a tuple for an array and for {"0": ..., "1": ...}.

    Raises: OutputInvalid: BSON has no type for it.
    """
    kind = type(key)
    if kind in _PLAIN_KINDS or (kind is tuple and key and _PLAIN_KINDS.issuperset(map(type, key))):
        return key
    return shown_stored(through_bson(key, "the key"))


def shown_keys(keys: Sequence[Any]) -> Sequence[Any]:
    """`shown_key` of each of the keys."""
    return keys if _kinds(keys) <= _PLAIN_KINDS and () not in keys else [*map(shown_key, keys)]


def are_hashed(keys: Sequence[Any]) -> bool:
    """Whether each key, or each part of it if it is a tuple, is of HASHED_KINDS."""
    return _kinds(keys) <= HASHED_KINDS


def hide_bools(keys: Sequence[Any]) -> bool:
    """Whether one of the keys, of which `are_hashed` is true, equals in Python one with a bool: it has a 0 or a 1."""
    parts = set(chain.from_iterable([key if type(key) is tuple else (key,) for key in keys]))
    return 0 in parts or 1 in parts


def through_bson(value: Any, what: str = "the value") -> Any:
    """What BSON makes of a value. Raises: OutputInvalid: it has no type for it; `what` is how it is called."""
    try:
        return decode(encode({_SCALAR: value}))[_SCALAR]
    except EventRefused as refused:
        raise OutputInvalid(f"{what} {brief(value)} cannot be kept: {reason_of(refused)}") from refused


def reason_of(refused: EventRefused) -> str:
    """Why BSON could not hold a key or a value, of which the codec speaks as an event."""
    if refused.code == "too_deep":
        return "it is nested too deep"
    if refused.code == "bson_invalid" and refused.__cause__ is not None:
        return str(refused.__cause__).splitlines()[0][:200]
    return str(refused)


def shown_stored(stored: Any) -> Any:
    """As `shown_key`, of a key that came out of BSON: an `_id`, or a tuple that was written as an array."""
    kind = type(stored)
    if kind is dict:
        if stored and all(name == str(at) for at, name in enumerate(stored)):
            return tuple([_tupled(part) for part in stored.values()])
        return {name: _tupled(part) for name, part in stored.items()}
    if kind is list:
        return tuple([_tupled(part) for part in stored]) if stored else {}
    return stored


def stored_key(key: Any) -> Any:
    """The `_id` of a key that is shown: a document for a tuple."""
    if isinstance(key, tuple | list):
        return {str(at): part for at, part in enumerate(key)}
    return key


def partition_of(key: bytes, count: int) -> int:
    """The partition, from 0, of `count` that a key (as bytes) belongs to: the same in every process and release."""
    return crc32(key) % count


def weight_of(value: Any) -> int:
    """About how many bytes of memory a value takes; of a big one the first WEIGHED_MAX parts are looked at."""
    total, seen, pending = 0, 0, [value]
    while pending and seen < WEIGHED_MAX:
        part = pending.pop()
        seen += 1
        total += _PART_BYTES
        kind = type(part)
        if kind is str or kind is bytes:
            total += len(part)
        elif kind is dict:
            total += _CONTAINER_BYTES + _ENTRY_BYTES * len(part)
            pending.extend(part.values())
        elif kind is list or kind is tuple:
            total += _CONTAINER_BYTES
            pending.extend(part)
        elif isinstance(part, str | bytes):
            total += len(part)
    return total if not pending else total * (seen + len(pending)) // seen


def brief(value: Any) -> str:
    """The value in an error message: at most some 80 characters."""
    try:
        text = repr(value)
    except Exception:  # noqa: BLE001  # it is a user's class, and this is no place to fail
        text = f"a {type(value).__name__}"
    return text if len(text) <= 80 else text[:77] + "..."


class _Memo(dict[Any, bytes]):
    """Bytes by what they stand for: a key, or the n-th part of a tuple; of types in HASHED_KINDS alone."""

    def __init__(self, at: int | None = None) -> None:
        self._name = None if at is None else str(at).encode() + b"\x00\x00"

    def __missing__(self, part: Any) -> bytes:
        made = _any_key(part)
        if self._name is not None:
            made = b"".join([b"\x01", made[:1], self._name, made])
        if len(self) >= MEMO_MAX:
            self.clear()
        self[part] = made
        return made


_scalars = _Memo()
_fields = tuple([_Memo(at) for at in range(8)])


def _kinds(keys: Sequence[Any]) -> set[type]:
    """The types of the keys, of tuples those of their parts (`tuple` itself only within a tuple)."""
    kinds = set(map(type, keys))
    if tuple in kinds:
        kinds.discard(tuple)
        kinds.update(map(type, chain.from_iterable([key for key in keys if type(key) is tuple] if kinds else keys)))
    return kinds


def _text_key(key: str) -> bytes:
    encoded = _utf8(key)
    if len(encoded) > KEY_BYTES_MAX - 3 or b"\x00" in encoded:
        return _any_key(key)
    return b"\x0f%b\x00\x00" % encoded


def _hashed_key(key: Any) -> bytes:
    if type(key) is not tuple:
        return _scalars[key]
    if not 0 < len(key) <= len(_fields):
        return _any_key(key)
    made = b"\x14%b\x00" % b"".join(map(getitem, _fields, key))
    return made if len(made) <= KEY_BYTES_MAX else _any_key(key)  # which says what is wrong


def _any_key(key: Any) -> bytes:
    """The bytes of any key, as `stored_key` of what BSON makes of it is filed."""
    try:
        return id_key(stored_key(through_bson(key, "the key")))
    except StoreFailed as error:
        raise OutputInvalid(f"the key {brief(key)} cannot be stored: {error}", hint=_HINT) from error


_HINT = "A key is a string, number, date, ObjectId, bytes, bool or None, or a tuple or document of these."


def _tupled(part: Any) -> Any:
    kind = type(part)
    if kind is list:
        return tuple([_tupled(inner) for inner in part])
    if kind is dict:
        return {name: _tupled(inner) for name, inner in part.items()}
    return part


def _utf8(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError:
        raise OutputInvalid("a key holds a lone surrogate", hint="Keys are Unicode text.") from None
