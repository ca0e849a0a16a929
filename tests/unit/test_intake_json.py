"""What is taken, as it is stored, and what is refused: JSON."""

from datetime import datetime

import bson
import pytest
from bson import ObjectId

from intakes import ID, NOW, THEN, an_intake, codes_of, documents_of
from zarkov.errors import REFUSAL_CODES


def test_a_nop_in_json_is_complete_when_it_is_stored() -> None:
    taken = an_intake().take_json([b'{"type":"nop"}'])
    (document,) = documents_of(taken)
    assert list(document) == ["_id", "timestamp", "type", "context"]
    assert document["timestamp"] == NOW


def test_dates_may_be_written_in_four_ways() -> None:
    seconds = int((THEN - datetime(1970, 1, 1)).total_seconds())
    lines = [
        f'{{"type": "a", "timestamp": {{"$datetime": {seconds}}}}}',
        f'{{"type": "a", "timestamp": {{"$date": {{"$numberLong": "{seconds * 1000}"}}}}}}',
        '{"type": "a", "timestamp": {"$date": "2020-01-02T03:04:05Z"}}',
        '{"type": "a", "timestamp": "2020-01-02T03:04:05Z"}',
    ]
    taken = an_intake().take_json(["\n".join(lines).encode()])
    assert [document["timestamp"] for document in documents_of(taken)] == [THEN] * 4


def test_an_array_and_lines_and_one_object_over_several_lines_are_taken() -> None:
    messages = [
        b'[{"type": "a", "extra": 0}, {"type": "a", "extra": 1}]',
        b'{"type": "a", "extra": 2}\n{"type": "a", "extra": 3}\n',
        b'{\n "type": "a",\n "extra": 4\n}',
    ]
    taken = an_intake().take_json(messages)
    assert [document["extra"] for document in documents_of(taken)] == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(
    ("line", "code"),
    [
        (b'{"type": "a", "extra": NaN}', "not_finite"),
        (b'{"type": "a", "extra": -Infinity}', "not_finite"),
        (b'{"type": "a", "extra": 1e400}', "not_finite"),
        (b'{"type": "a", "extra": 9223372036854775808}', "number_out_of_range"),
        (b'{"type": "a", "extra": ' + b"9" * 5_000 + b"}", "number_out_of_range"),
        (b'{"type": "a", "extra": "\\ud800"}', "text_invalid"),
        (b'{"type": "\\ud800"}', "text_invalid"),
        (b'{"type": "a", "type": "b"}', "duplicate_key"),
        (b'{"type": "a", "extra": ' + b"[" * 101 + b"]" * 101 + b"}", "too_deep"),
        (b'{"type": "a", "extra": ' + b"[" * 100_000 + b"}", "too_deep"),
        (b"[1]", "not_an_object"),
        (b"7", "not_an_object"),
        (b"null", "not_an_object"),
        (b"", "json_invalid"),
        (b"{", "json_invalid"),
        (b"GET / HTTP/1.1", "json_invalid"),
        (b"{}", "type_missing"),
        (b'{"type": 1}', "type_invalid"),
        (b'{"type": "a", "_id": "4e2723eeb240217416000001"}', "id_invalid"),
        (b'{"type": "a", "timestamp": 12}', "timestamp_invalid"),
        (b'{"type": "a", "context": []}', "context_invalid"),
        (b'{"type": "a", "$command": "x"}', "command_unknown"),
    ],
)
def test_each_trap_of_json_has_its_answer(line: bytes, code: str) -> None:
    taken = an_intake().take_json([b'{"type": "good"}', line, b'{"type": "good"}'])
    assert codes_of(taken) == {1: code}
    assert taken.count == 2
    assert code in REFUSAL_CODES


def test_text_that_is_not_utf_8_is_refused_with_its_bytes() -> None:
    taken = an_intake().take_json([b'{"type": "\xff"}'])
    assert codes_of(taken) == {0: "text_invalid"}
    assert taken.refused[0].data == b'{"type": "\xff"}'


def test_a_refused_line_is_kept_as_the_text_that_came() -> None:
    taken = an_intake().take_json([b'{"type":"a"}\n{"type":  1}\n{"type":"b"}'])
    assert [(one.index, one.data) for one in taken.refused] == [(1, b'{"type":  1}')]
    assert taken.count == 2


def test_a_command_works_in_json() -> None:
    taken = an_intake().take_json([b'{"$command": "event_noval", "type": 5}'])
    assert documents_of(taken)[0]["type"] == 5


def test_an_object_id_is_written_as_extended_json() -> None:
    taken = an_intake().take_json([b'{"_id": {"$oid": "4e2723eeb240217416000001"}, "type": "a"}'])
    assert documents_of(taken)[0]["_id"] == ID


def test_a_retry_in_json_is_a_retry() -> None:
    intake = an_intake()
    line = b'{"type": "a", "_id": {"$oid": "4e2723eeb240217416000001"}}'
    intake.take_json([line])
    assert intake.take_json([line]).duplicates == [0]
    other = bson.encode({"_id": ObjectId(ID), "type": "b"})
    assert codes_of(intake.take_bson([other])) == {0: "duplicate_id"}
