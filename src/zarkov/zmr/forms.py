"""The two forms of a job: one output collection, or several filled in one pass. Pure.

    mapreduce     map yields (key, value)                        reduce(key, values)
    xmapreduce    map yields {"c": collection, "k": key, "v": value}   reduce(collection, key, values)

A form takes apart what maps yield, and calls reduces. To all other modules a key is bytes (its *row key*): in the
second form the collection's name and a zero byte stand before them, so that runs are sorted by collection first.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from operator import itemgetter
from typing import Any, Literal, Protocol

from zarkov.codec import encode
from zarkov.errors import AppendOnly, EventRefused, FilterInvalid, OutputInvalid
from zarkov.store.names import check_target
from zarkov.zmr.failure import FAULTS, function_failed
from zarkov.zmr.values import brief, key_of, keys_of

FormName = Literal["mapreduce", "xmapreduce"]
Groups = dict[bytes, list[Any]]

_first = itemgetter(0)


class Form(Protocol):
    """How a job's functions are called."""

    def keys(self, items: Sequence[Any]) -> list[Any]:
        """What stands for the key of each item that map yielded. Raises: OutputInvalid: one is no such item."""

    def values(self, items: Sequence[Any]) -> list[Any]:
        """The value of each. Raises: as `keys`."""

    def inner(self, keys: Sequence[Any]) -> Sequence[Any]:
        """The keys themselves of what `keys` gave for them."""

    def token(self, key: Any) -> Hashable:
        """Something that is equal only for keys that are one. Raises: OutputInvalid."""

    def row_key(self, key: Any) -> bytes:
        """The row key. Raises: OutputInvalid: it can be none."""

    def row_keys(self, keys: Sequence[Any]) -> list[bytes]:
        """The row key of each, where `values.are_hashed` is true of the inner ones. Raises: OutputInvalid."""

    def reduce_all(self, reduce: Callable[..., Any], groups: Groups, shown: Mapping[bytes, Any], fewest: int) -> None:
        """Reduce each group of at least `fewest` values to one, in place. Raises: FunctionFailed."""


class OneCollection:
    """mapreduce"""

    def keys(self, items: Sequence[Any]) -> list[Any]:
        if not {tuple, list}.issuperset(map(type, items)):
            for item in items:
                if not isinstance(item, tuple | list):
                    raise _no_pair(item)
        try:
            return list(map(_first, items))
        except IndexError:
            raise _no_pair(()) from None

    def values(self, items: Sequence[Any]) -> list[Any]:
        try:
            return [value for _, value in items]
        except ValueError:
            raise _no_pair(next(item for item in items if len(item) != 2)) from None

    def inner(self, keys: Sequence[Any]) -> Sequence[Any]:
        return keys

    def token(self, key: Any) -> Hashable:
        return _token(key)

    def row_key(self, key: Any) -> bytes:
        return key_of(key)

    def row_keys(self, keys: Sequence[Any]) -> list[bytes]:
        return keys_of(keys)

    def reduce_all(self, reduce: Callable[..., Any], groups: Groups, shown: Mapping[bytes, Any], fewest: int) -> None:
        key = b""
        try:
            for key, values in groups.items():
                if len(values) >= fewest:
                    groups[key] = [reduce(shown[key], values)]
        except FAULTS as error:
            raise function_failed("reduce", error, key=shown[key]) from error


class ManyCollections:
    """xmapreduce"""

    def __init__(self) -> None:
        self._names: dict[str, bytes] = {}

    def keys(self, items: Sequence[Any]) -> list[Any]:
        try:
            return [(item["c"], item["k"]) for item in items]
        except (KeyError, TypeError, IndexError):
            raise _no_item(items) from None

    def values(self, items: Sequence[Any]) -> list[Any]:
        try:
            return [item["v"] for item in items]
        except KeyError:
            raise _no_item(items) from None

    def inner(self, keys: Sequence[Any]) -> Sequence[Any]:
        return [key for _, key in keys]

    def token(self, key: Any) -> Hashable:
        name, inner = key
        return self._prefix(name), _token(inner)

    def row_key(self, key: Any) -> bytes:
        name, inner = key
        return self._prefix(name) + key_of(inner)

    def row_keys(self, keys: Sequence[Any]) -> list[bytes]:
        inner = keys_of(self.inner(keys))
        return [self._prefix(name) + key for (name, _), key in zip(keys, inner, strict=True)]

    def reduce_all(self, reduce: Callable[..., Any], groups: Groups, shown: Mapping[bytes, Any], fewest: int) -> None:
        key, names = b"", _Collections()
        try:
            for key, values in groups.items():
                if len(values) >= fewest:
                    groups[key] = [reduce(names[key[: key.index(0)]], shown[key], values)]
        except FAULTS as error:
            raise function_failed("reduce", error, key=shown[key], collection=collection_of(key)) from error

    def _prefix(self, name: Any) -> bytes:
        """The collection's name as row keys begin with it; the name is checked the first time."""
        found = self._names.get(name) if type(name) is str else None
        if found is None:
            if not isinstance(name, str):
                raise OutputInvalid(f"map yielded {brief(name)} as a collection's name (`c`)")
            try:
                found = row_prefix(check_target(name))
            except (FilterInvalid, AppendOnly, UnicodeError) as error:
                raise OutputInvalid(f"map yielded a collection that cannot be written: {error}") from error
            if len(self._names) >= COLLECTIONS_MAX:
                raise OutputInvalid(f"map yields more than {COLLECTIONS_MAX:,} collections", hint="Use fewer.")
            self._names[name] = found
        return found


#: Collections that one map task may fill.
COLLECTIONS_MAX = 10_000


def row_prefix(collection: str) -> bytes:
    """What the row keys of a collection begin with, in xmapreduce."""
    return collection.encode() + b"\x00"


def form_of(name: FormName) -> Form:
    """The form of this name, for one task."""
    return OneCollection() if name == "mapreduce" else ManyCollections()


def collection_of(row_key: bytes) -> str:
    """The collection that a row key of xmapreduce belongs to."""
    return row_key[: row_key.index(0)].decode()


def key_bytes_of(row_key: bytes) -> bytes:
    """A row key of xmapreduce without its collection: what `values.key_of` made."""
    return row_key[row_key.index(0) + 1 :]


class _Collections(dict[bytes, str]):
    """The names, decoded once."""

    def __missing__(self, encoded: bytes) -> str:
        name = self[encoded] = encoded.decode()
        return name


def _token(key: Any) -> bytes:
    try:
        return encode({"": key})
    except EventRefused:
        return key_of(key)  # says what is wrong with it


def _no_pair(item: Any) -> OutputInvalid:
    return OutputInvalid(
        f"map yielded {brief(item)}, which is no (key, value)", hint="Write `yield key, value`; both are needed."
    )


def _no_item(items: Sequence[Any]) -> OutputInvalid:
    wrong = next(item for item in items if not isinstance(item, Mapping) or not {"c", "k", "v"} <= set(item))
    return OutputInvalid(
        f"map yielded {brief(wrong)}, which is no {{'c': collection, 'k': key, 'v': value}}",
        hint="xmapreduce names the collection; mapreduce takes (key, value).",
    )
