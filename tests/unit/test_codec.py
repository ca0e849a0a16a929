"""Bytes to documents and back; the traps of JSON each have their answer."""

from datetime import datetime
from itertools import pairwise

import bson
import pytest
from bson import ObjectId
from bson.datetime_ms import DatetimeMS

from zarkov import codec
from zarkov.errors import EventRefused


def refusal(function, *args) -> str:
    with pytest.raises(EventRefused) as refused:
        function(*args)
    return refused.value.code


@pytest.mark.parametrize(
    ("text", "code"),
    [
        (b'{"a": NaN}', "not_finite"),
        (b'{"a": -Infinity}', "not_finite"),
        (b'{"a": 1e400}', "not_finite"),
        (b'{"a": 1, "a": 2}', "duplicate_key"),
        (b'{"x": {"a": 1, "a": 2}}', "duplicate_key"),
        (b"\xff", "text_invalid"),
        (b'{"a": ', "json_invalid"),
        (b"", "json_invalid"),
        (b"[1]", "not_an_object"),
        (b'"nop"', "not_an_object"),
        (b'{"a":' * 101 + b"1" + b"}" * 101, "too_deep"),
        (b'{"a":' * 100_000, "too_deep"),
        (b'{"a": ' + b"9" * 5000 + b"}", "number_out_of_range"),
        (b'{"a": {"$date": "soon"}}', "json_invalid"),
        (b'{"a": {"$datetime": "soon"}}', "json_invalid"),
        (b'{"a": {"$datetime": 1e30}}', "json_invalid"),
        (b'{"a": {"$oid": "zz"}}', "json_invalid"),
    ],
)
def test_a_trap_of_json_is_refused_with_its_code(text: bytes, code: str) -> None:
    assert refusal(codec.from_json, text) == code


@pytest.mark.parametrize(
    ("document", "code"),
    [
        ({"a": 2**63}, "number_out_of_range"),
        ({"a": -(2**63) - 1}, "number_out_of_range"),
        ({"a": "\ud800"}, "text_invalid"),
        ({"a\x00": 1}, "bson_invalid"),
        ({"a": object()}, "bson_invalid"),
        ({1: 1}, "bson_invalid"),
    ],
)
def test_what_bson_cannot_hold_is_refused_with_its_code(document: dict, code: str) -> None:
    assert refusal(codec.encode, document) == code


def test_a_lone_surrogate_in_json_is_met_on_the_way_to_bson() -> None:
    assert refusal(codec.encode, codec.from_json(b'{"a": "\\ud800"}')) == "text_invalid"


def test_dates_in_json_have_three_spellings() -> None:
    moment = datetime(2020, 1, 1, 0, 0, 1, 500000)
    assert codec.from_json(b'{"a": {"$datetime": 1577836801.5}}') == {"a": moment}
    assert codec.from_json(b'{"a": {"$date": "2020-01-01T00:00:01.5Z"}}') == {"a": moment}
    assert codec.from_json(b'{"a": {"$date": 1577836801500}}') == {"a": moment}


def test_a_date_before_1970_is_as_exact_as_one_after() -> None:
    assert codec.from_json(b'{"a": {"$datetime": -5}}') == {"a": datetime(1969, 12, 31, 23, 59, 55)}
    assert codec.from_json(b'{"a": {"$datetime": -1.5}}') == {"a": datetime(1969, 12, 31, 23, 59, 58, 500000)}


def test_an_unknown_dollar_key_is_plain_data() -> None:
    assert codec.from_json(b'{"$foo": 1}') == {"$foo": 1}


def test_a_message_is_an_object_an_array_or_lines() -> None:
    def read(data: bytes) -> list:
        return [item if isinstance(item, dict) else item.code for item, _ in codec.documents_from_json(data)]

    assert read(b'{"a": 1}') == [{"a": 1}]
    assert read(b'{\n "a": 1\n}\n') == [{"a": 1}]
    assert read(b'[{"a": 1}, {"b": 2}]') == [{"a": 1}, {"b": 2}]
    assert read(b'{"a": 1}\n\n{"b": 2}\r\n') == [{"a": 1}, {"b": 2}]
    assert read(b"[]") == []
    assert read(b"  ") == ["json_invalid"]


def test_one_bad_object_spoils_no_other() -> None:
    lines = list(codec.documents_from_json(b'{"a": 1}\n{"b": NaN}\nnonsense\n{"c": 3}'))
    assert [item if isinstance(item, dict) else item.code for item, _ in lines] == [
        {"a": 1},
        "not_finite",
        "json_invalid",
        {"c": 3},
    ]
    lines = list(codec.documents_from_json(b'{"a": 1}\r\n{"b": "\xff"}\n\n{"c": 3}\n'))
    assert [item if isinstance(item, dict) else item.code for item, _ in lines] == [
        {"a": 1},
        "text_invalid",
        {"c": 3},
    ]
    assert lines[1][1] == b'{"b": "\xff"}'
    array = list(codec.documents_from_json(b'[{"a": 1}, {"b": NaN, "b": 1}, 7, {"c": 3}, oops'))
    assert [item if isinstance(item, dict) else item.code for item, _ in array] == [
        {"a": 1},
        "not_finite",
        "not_an_object",
        {"c": 3},
        "json_invalid",
    ]
    assert [data for _, data in array][1:3] == [b'{"b": NaN, "b": 1}', b"7"]


def test_an_id_is_spliced_in_as_the_first_field() -> None:
    oid = ObjectId()
    spliced = codec.with_id(bson.encode({"type": "nop", "n": 1}), oid.binary)
    assert list(codec.decode(spliced).items()) == [("_id", oid), ("type", "nop"), ("n", 1)]


def test_splitting_follows_the_length_prefixes() -> None:
    documents = [bson.encode({"n": n}) for n in range(5)]
    assert codec.split(b"".join(documents)) == documents
    assert codec.split(b"") == []
    for data in (b"\x05", documents[0][:-1], documents[0] + b"\x00", b"\x00" * 8, b"\xff\xff\xff\xff\x00"):
        assert refusal(codec.split, data) == "bson_invalid"


def test_damaged_bson_is_refused_not_raised_through() -> None:
    good = bson.encode({"a": "text", "b": {"c": [1, 2.5]}})
    codes = set()
    for start, end in pairwise(range(len(good))):
        for value in (0, 0x7F, 0xFF):
            damaged = good[:start] + bytes([value]) + good[end:]
            try:
                codec.decode(damaged)
            except EventRefused as refused:
                codes.add(refused.code)
    assert codes == {"bson_invalid"}


def test_a_date_beyond_year_9999_reads_as_milliseconds() -> None:
    far = DatetimeMS(10**15)
    assert codec.decode(codec.encode({"at": far})) == {"at": far}
    assert codec.from_json(codec.to_json({"at": far})) == {"at": far}
