"""Events as Arrow columns.

Each record batch holds the events of one chunk: `offset` (int64), then one column a dotted path, in the order
asked for. A path goes through documents only. The type of a column is that of its values in this chunk:

    bool, str, int                  bool, string, int64
    float, or int and float         double
    date                            timestamp[ms, tz=UTC]; one outside Python's years too
    ObjectId                        fixed_size_binary[12]
    bytes                           binary
    anything else, or a mixture     string: relaxed Extended JSON of the value; a string as it is

A missing field and null are null; a column without any value has the type null. Batches of different chunks may so
have different types for a path: `pyarrow.concat_tables(..., promote_options="default")` joins them, unless a
mixture made one of them text.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import pyarrow
from bson import Int64, ObjectId, json_util
from bson.datetime_ms import DatetimeMS

from zarkov.batch import epoch_ms
from zarkov.journal.chunk import Chunk

_MISSING_OR_NULL = type(None)
_PLAIN = {
    bool: pyarrow.bool_(),
    str: pyarrow.string(),
    float: pyarrow.float64(),
    bytes: pyarrow.binary(),
}
_INTS = frozenset({int, Int64})
_DATES = frozenset({datetime, DatetimeMS})
_OPTIONS = json_util.JSONOptions(json_mode=json_util.JSONMode.RELAXED, tz_aware=False)


def to_batch(chunk: Chunk, paths: Sequence[str]) -> pyarrow.RecordBatch:
    """The named fields of a chunk's events. Raises: JournalCorrupt."""
    offsets: list[int] = []
    columns: list[list[Any]] = [[] for _ in paths]
    for first, events in chunk.decoded():
        offsets.extend(range(first, first + len(events)))
        for values, path in zip(columns, paths, strict=True):
            values.extend(_values(events, path))
    arrays = [pyarrow.array(offsets, pyarrow.int64()), *map(column, columns)]
    return pyarrow.RecordBatch.from_arrays(arrays, names=["offset", *paths])


def column(values: list[Any]) -> pyarrow.Array:
    """Values of decoded BSON as one Arrow array, by the rules above."""
    kinds = set(map(type, values)) - {_MISSING_OR_NULL}
    if not kinds:
        return pyarrow.nulls(len(values))
    if kinds <= _DATES:
        stamps = [None if value is None else epoch_ms(value) for value in values]
        return pyarrow.array(stamps, pyarrow.timestamp("ms", tz="UTC"))
    if kinds <= _INTS:
        return pyarrow.array(values, pyarrow.int64())
    if kinds <= _INTS | {float}:
        return pyarrow.array([None if value is None else float(value) for value in values], pyarrow.float64())
    if kinds == {ObjectId}:
        ids = [None if value is None else value.binary for value in values]
        return pyarrow.array(ids, pyarrow.binary(12))
    (kind, *others) = kinds
    if not others and kind in _PLAIN:
        return pyarrow.array(values, _PLAIN[kind])
    return pyarrow.array([_text(value) for value in values], pyarrow.string())


def _values(documents: Sequence[dict[str, Any]], path: str) -> list[Any]:
    first, *rest = path.split(".")
    values = [document.get(first) for document in documents]
    for name in rest:
        values = [value.get(name) if isinstance(value, dict) else None for value in values]
    return values


def _text(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    return json_util.dumps(value, json_options=_OPTIONS, ensure_ascii=False)
