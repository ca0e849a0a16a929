"""Depth told from bytes, where decoding hides it."""

import bson
import pytest
from bson import Binary, Code, DBRef, Decimal128, Int64, MaxKey, MinKey, ObjectId, Regex, Timestamp

from zarkov.ingest.nesting import is_deeper_than


def nested(levels: int) -> dict:
    document: dict = {}
    for _ in range(levels - 1):
        document = {"": document}
    return document


@pytest.mark.parametrize("levels", [1, 2, 99, 100, 101, 150])
def test_documents_are_counted_to_the_level(levels: int) -> None:
    assert is_deeper_than(100, bson.encode(nested(levels))) == (levels > 100)


def test_arrays_count_as_documents_do() -> None:
    value: list = []
    for _ in range(99):
        value = [value]
    assert is_deeper_than(100, bson.encode({"a": value}))
    assert not is_deeper_than(101, bson.encode({"a": value}))


def test_what_lies_side_by_side_is_not_deep() -> None:
    assert not is_deeper_than(100, bson.encode({"a": [{"b": [1]}] * 500}))


def test_every_type_of_value_is_stepped_over() -> None:
    values = [
        1.5, "text\x03\x04\x0f", {"a": 1}, [1, 2], Binary(b"\x03" * 9), Binary(b"x", 2), ObjectId(), True, None,
        Regex("\x03", "i"), Code("code"), Code("code", {"x": {"y": 1}}), 1, Int64(1), Timestamp(1, 1),
        Decimal128("1.5"), MinKey(), MaxKey(), DBRef("c", ObjectId()), b"\x04" * 200,
    ]  # fmt: skip
    document = {"values": values, "more": {str(i): value for i, value in enumerate(values)}}
    assert not is_deeper_than(5, bson.encode(document))
    assert is_deeper_than(3, bson.encode(document))


def test_depth_hidden_in_the_scope_of_code_is_found() -> None:
    assert is_deeper_than(100, bson.encode({"a": Code("f", nested(100))}))


def test_depth_hidden_in_a_reference_is_found() -> None:
    assert is_deeper_than(100, bson.encode({"a": DBRef("c", nested(100))}))


def test_depth_hidden_by_a_key_that_stands_twice_is_found() -> None:
    deep, flat = bson.encode({"a": nested(100)}), bson.encode({"a": 1})
    body = deep[4:-1] + flat[4:-1] + b"\x00"
    twice = (len(body) + 4).to_bytes(4, "little") + body
    assert bson.decode(twice) == {"a": 1}
    assert is_deeper_than(100, twice)
