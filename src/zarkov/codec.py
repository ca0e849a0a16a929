"""Bytes to documents and back: BSON and JSON, and nowhere else in Zarkov.

BSON is read with naive UTC dates; a date outside the years 1 to 9999 (legal in BSON, not in Python) reads as
`bson.datetime_ms.DatetimeMS`. JSON is read strictly: what BSON cannot hold, or what would silently change on the
way, is refused with a code of `errors.REFUSAL_CODES`:

    NaN, Infinity, 1e400          not_finite
    an integer beyond 64 bits     number_out_of_range
    the same key twice            duplicate_key
    a lone surrogate, bad UTF-8   text_invalid
    nested beyond 100 levels      too_deep

`{"$datetime": <epoch seconds>}` is a date, as is `{"$date": ...}` and every other form of MongoDB's Extended JSON v2
(https://github.com/mongodb/specifications, "extended-json").
"""

from __future__ import annotations

import json
import math
import re
import struct
from collections.abc import Iterator
from datetime import datetime, timedelta
from itertools import chain
from typing import Any

import bson
from bson import json_util
from bson.codec_options import CodecOptions, DatetimeConversion
from bson.errors import InvalidBSON, InvalidDocument

from zarkov.errors import EventRefused
from zarkov.event import DEPTH_MAX, Document, depth_of, parse_rfc3339

CODEC_OPTIONS: CodecOptions[Document] = CodecOptions(datetime_conversion=DatetimeConversion.DATETIME_AUTO)

_RELAXED = json_util.JSONOptions(
    json_mode=json_util.JSONMode.RELAXED, tz_aware=False, datetime_conversion=DatetimeConversion.DATETIME_AUTO
)
_EPOCH = datetime(1970, 1, 1)
_length = struct.Struct("<i")
_DOCUMENT_BYTES_MIN = 5
_ID_BYTES = 17  # type, "_id", its end, 12 bytes
_space = re.compile(r"[ \t\r\n]*")
_DECODE_FAULTS = (InvalidBSON, InvalidDocument, ValueError, TypeError, OverflowError, RecursionError)


def encode(document: Document) -> bytes:
    """The document as BSON.

    Raises: EventRefused: number_out_of_range, text_invalid, too_deep or bson_invalid (a value BSON has no type for).
    """
    try:
        return bson.encode(document)
    except OverflowError as error:
        raise EventRefused("number_out_of_range", "an integer does not fit into 64 bits") from error
    except UnicodeError as error:
        raise EventRefused("text_invalid", "a string holds a lone surrogate") from error
    except RecursionError as error:
        raise EventRefused("too_deep", f"the event is nested deeper than {DEPTH_MAX} levels") from error
    except (InvalidDocument, ValueError, TypeError) as error:
        raise EventRefused("bson_invalid", f"BSON cannot hold the event: {_brief(error)}") from error


def decode(data: bytes) -> Document:
    """One BSON document. Raises: EventRefused: bson_invalid or too_deep."""
    try:
        return bson.decode(data, CODEC_OPTIONS)
    except _DECODE_FAULTS as error:
        raise _refused(error) from error


def decode_all(data: bytes) -> list[Document]:
    """Concatenated BSON documents, in order. Raises: EventRefused: bson_invalid or too_deep."""
    try:
        return bson.decode_all(data, CODEC_OPTIONS)
    except _DECODE_FAULTS as error:
        raise _refused(error) from error


def split(data: bytes) -> list[bytes]:
    """Concatenated BSON documents as the bytes of each, by their length prefixes alone.

    Raises: EventRefused: bson_invalid, when the lengths do not add up to the whole.
    """
    documents: list[bytes] = []
    start, end = 0, len(data)
    while start < end:
        size = _length.unpack_from(data, start)[0] if end - start >= _DOCUMENT_BYTES_MIN else 0
        if size < _DOCUMENT_BYTES_MIN or start + size > end:
            raise EventRefused("bson_invalid", f"the length at byte {start:,} does not fit the message")
        documents.append(data[start : start + size])
        start += size
    return documents


def with_id(data: bytes, oid: bytes) -> bytes:
    """A BSON document that has no `_id`, with one spliced in as its first field; nothing is decoded."""
    return b"".join((_length.pack(len(data) + _ID_BYTES), b"\x07_id\x00", oid, data[4:]))


def from_json(text: bytes | str) -> Document:
    """One JSON object as a document.

    Raises: EventRefused: json_invalid, not_an_object, or one of the traps above (an integer beyond 64 bits is met
    by `encode`).
    """
    return _as_object(_parse(_as_text(text)))


def documents_from_json(data: bytes) -> Iterator[tuple[Document | EventRefused, bytes]]:
    """The objects of a message: one object, an array of objects, or one object a line (NDJSON).

    Yields `(document, its bytes)`, or `(why it cannot be taken, its bytes)`; one bad object spoils no other.
    """
    try:
        text = _as_text(data)
    except EventRefused as refused:
        lines = [line for line in data.split(b"\n") if line.strip()]
        if len(lines) < 2 or lines[0].lstrip().startswith(b"["):
            yield refused, data
        else:  # The other lines are as good as they are.
            yield from chain.from_iterable(map(documents_from_json, lines))
        return
    stripped = text.strip()
    if stripped.startswith("["):
        yield from _array_items(stripped)
        return
    texts = [line for line in stripped.split("\n") if line.strip()]
    whole = _attempt(stripped) if len(texts) != 1 else None
    if whole is not None and not isinstance(whole, EventRefused):
        yield whole, data
        return
    for line in texts:
        yield _attempt(line), line.encode("utf-8", "surrogatepass")
    if not texts:
        yield EventRefused("json_invalid", "the message is empty"), data


def to_json(document: Document) -> str:
    """The document on one line of relaxed Extended JSON: readable, and read back by `from_json` unchanged."""
    return json_util.dumps(document, json_options=_RELAXED, ensure_ascii=False)


def _as_text(data: bytes | str) -> str:
    if isinstance(data, str):
        return data
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise EventRefused("text_invalid", f"byte {error.start:,} is not valid UTF-8") from error


def _pairs(pairs: list[tuple[str, Any]]) -> Any:
    document = dict(pairs)
    if len(document) != len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise EventRefused("duplicate_key", f"the key {twice[:40]!r} stands twice in one object")
    if pairs and pairs[0][0][:1] == "$":
        return _extended(document, pairs[0][0])
    return document


def _extended(document: Document, key: str) -> Any:
    """The value that a `{"$...": ...}` object of Extended JSON stands for; the object itself if it is none."""
    value = document[key]
    try:
        if key == "$datetime" and len(document) == 1:
            return _EPOCH + timedelta(milliseconds=math.floor(float(value) * 1000 + 0.5))
        if key == "$date" and isinstance(value, str):
            return parse_rfc3339(value)
        return json_util.object_hook(document, _RELAXED)
    except EventRefused as refused:
        raise EventRefused("json_invalid", f"{key}: {refused}") from refused
    except Exception as error:  # json_util raises whatever the value's own constructor raises.
        raise EventRefused("json_invalid", f"{key}: {_brief(error)}") from error


def _finite(text: str) -> float:
    value = float(text)
    if value in (float("inf"), float("-inf")):
        raise EventRefused("not_finite", f"{text[:40]} does not fit into a double")
    return value


def _constant(text: str) -> float:
    raise EventRefused("not_finite", f"{text} is not a JSON number")


_strict = json.JSONDecoder(object_pairs_hook=_pairs, parse_float=_finite, parse_constant=_constant)
_lenient = json.JSONDecoder()


def _parse(text: str) -> Any:
    try:
        value = _strict.decode(text)
        text.encode("utf-8")
    except json.JSONDecodeError as error:
        raise EventRefused("json_invalid", f"not JSON: {error}") from error
    except RecursionError as error:
        raise EventRefused("too_deep", f"nested deeper than {DEPTH_MAX} levels") from error
    except UnicodeError as error:
        raise EventRefused("text_invalid", "a string holds a lone surrogate") from error
    except ValueError as error:  # Python's limit on the digits of an integer.
        raise EventRefused("number_out_of_range", _brief(error)) from error
    if depth_of(value) > DEPTH_MAX:
        raise EventRefused("too_deep", f"nested deeper than {DEPTH_MAX} levels")
    return value


def _as_object(value: Any) -> Document:
    if not isinstance(value, dict):
        raise EventRefused("not_an_object", f"a JSON {type(value).__name__} is not an event")
    return value


def _attempt(text: str) -> Document | EventRefused:
    try:
        return _as_object(_parse(text))
    except EventRefused as refused:
        # Anew, without the traceback: its frames would keep the message alive until the collector comes.
        return EventRefused(refused.code, str(refused))


def _array_items(text: str) -> Iterator[tuple[Document | EventRefused, bytes]]:
    """The items of a JSON array, each on its own: where an item ends is found without the strict checks."""
    at = _skip(text, 1)
    if text[at : at + 1] == "]" and _skip(text, at + 1) == len(text):
        return
    while True:
        try:
            _, end = _lenient.raw_decode(text, at)
        except (ValueError, RecursionError) as error:
            refused = EventRefused("json_invalid", f"not a JSON array: {_brief(error)}")
            yield refused, text[at:].encode("utf-8", "surrogatepass")
            return
        item = text[at:end]
        yield _attempt(item), item.encode("utf-8", "surrogatepass")
        at = _skip(text, end)
        if text[at : at + 1] == ",":
            at = _skip(text, at + 1)
            continue
        if text[at:] != "]":
            rest = text[at:].encode("utf-8", "surrogatepass")
            yield EventRefused("json_invalid", f"expected ',' or the end of the array at {at:,}"), rest
        return


def _skip(text: str, at: int) -> int:
    found = _space.match(text, at)
    return found.end() if found else at


def _refused(error: BaseException) -> EventRefused:
    if isinstance(error, RecursionError) or "recursion" in str(error).lower():
        return EventRefused("too_deep", f"the event is nested deeper than {DEPTH_MAX} levels")
    return EventRefused("bson_invalid", f"not BSON: {_brief(error)}")


def _brief(error: BaseException) -> str:
    return (str(error) or type(error).__name__).splitlines()[0][:200]
