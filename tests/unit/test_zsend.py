"""zsend.py's lines: what is sent, what is reported under which number, and how it ends."""

from __future__ import annotations

import io
import subprocess
import sys
from datetime import datetime
from pathlib import Path
from typing import Any

import bson
import pytest
import zmq

from zarkov.client import zsend
from zarkov.errors import ConfigError, EventRefused

ZSEND = Path(sys.executable).with_name("zsend.py")


def run(arguments: list[str], stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    return subprocess.run([ZSEND, *arguments], input=stdin, capture_output=True, timeout=60, check=False)


def sent(text: bytes) -> tuple[list[dict[str, Any]], list[str], int]:
    """The documents sent, the complaints, and the count of lines that were not sent."""
    events: list[bytes] = []
    errors = io.StringIO()
    refused_count = zsend.send_lines(io.BytesIO(text), events.append, errors)
    return [bson.decode(event) for event in events], errors.getvalue().splitlines(), refused_count


def receive(socket: zmq.Socket[bytes], count: int) -> list[list[bytes]]:
    messages = []
    for _ in range(count):
        assert socket.poll(20_000), "an event did not come"
        messages.append(socket.recv_multipart())
    assert not socket.poll(0)
    return messages


@pytest.fixture
def pull():
    with zmq.Context() as context, context.socket(zmq.PULL) as socket:
        socket.bind("tcp://127.0.0.1:*")
        yield socket


def test_each_line_is_sent_as_it_is() -> None:
    documents, errors, refused_count = sent(
        b'{"type":"nop"}\n{"type":"a","extra":[1,{"b":null}],"context":{"x":1.5}}'
    )
    assert documents == [{"type": "nop"}, {"type": "a", "extra": [1, {"b": None}], "context": {"x": 1.5}}]
    assert (errors, refused_count) == ([], 0)


def test_dates_in_their_forms_become_dates() -> None:
    lines = (
        b'{"timestamp":{"$datetime":1311187950.272}}\n'
        b'{"timestamp":"2011-07-20T18:52:30.272Z"}\n'
        b'{"timestamp":"2011-07-20T20:52:30.272+02:00"}\n'
        b'{"timestamp":{"$date":"2011-07-20T18:52:30.272Z"}}\n'
    )
    documents, errors, _ = sent(lines)
    assert [document["timestamp"] for document in documents] == [datetime(2011, 7, 20, 18, 52, 30, 272000)] * 4
    assert errors == []


def test_a_date_anywhere_but_in_timestamp_stays_a_string() -> None:
    documents, _, _ = sent(b'{"extra":"2011-07-20T18:52:30Z"}\n')
    assert documents == [{"extra": "2011-07-20T18:52:30Z"}]


@pytest.mark.parametrize(
    ("line", "code"),
    [
        (b"{nonsense", "json_invalid"),
        (b"[1]", "not_an_object"),
        (b'"text"', "not_an_object"),
        (b'{"a":NaN}', "not_finite"),
        (b'{"a":-Infinity}', "not_finite"),
        (b'{"a":1e400}', "not_finite"),
        (b'{"a":9223372036854775808}', "number_out_of_range"),
        (b'{"a":' + b"9" * 5000 + b"}", "number_out_of_range"),
        (b'{"a":"\\ud800"}', "text_invalid"),
        (b'{"a":"\xff"}', "text_invalid"),
        (b'{"a":1,"a":2}', "duplicate_key"),
        (b'{"b":{"a" : 1, "a" : 2}}', "duplicate_key"),
        (b'{"a":' + b"[" * 100 + b"]" * 100 + b"}", "too_deep"),
        (b'{"a":' + b"[" * 100_000, "too_deep"),
        (b'{"timestamp":"yesterday"}', "timestamp_invalid"),
        (b'{"timestamp":{"$datetime":"x"}}', "json_invalid"),
        (b'{"a\\u0000b":1}', "bson_invalid"),
    ],
)
def test_a_line_that_bson_cannot_hold_is_refused_with_its_code(line: bytes, code: str) -> None:
    with pytest.raises(EventRefused) as refused:
        zsend.to_bson(line)
    assert refused.value.code == code


def test_a_bad_line_is_reported_under_its_number_and_the_others_are_sent() -> None:
    documents, errors, refused_count = sent(b'{"n":1}\n\n  \r\n{"n":\n{"n":2}\r\n[]\n{"n":3}')
    assert [document["n"] for document in documents] == [1, 2, 3]
    assert refused_count == 2
    assert [error.split(": ")[:2] for error in errors] == [["zsend.py", "line 4"], ["zsend.py", "line 6"]]
    assert errors[1].endswith("(not_an_object)")


def test_a_line_without_end_is_refused_without_being_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zsend, "LINE_BYTES_MAX", 20)
    documents, errors, _ = sent(b'{"n":1}\n{"long":"' + b"x" * 100 + b'"}\n{"n":2}\n{"tail":"' + b"x" * 100)
    assert [document["n"] for document in documents] == [1, 2]
    assert [error.split(": ")[1] for error in errors] == ["line 2", "line 4"]


def test_an_event_over_the_limit_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zsend, "EVENT_BYTES_MAX", 30)
    with pytest.raises(EventRefused, match="30 is the limit"):
        zsend.to_bson(b'{"a":"' + b"x" * 30 + b'"}')


def test_the_key_is_an_argument_or_the_content_of_a_file(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_bytes(b"  s3cret\n")
    assert zsend.shared_key(None) is None
    assert zsend.shared_key("word") == b"word"
    assert zsend.shared_key(f"@{file}") == b"s3cret"
    with pytest.raises(ConfigError, match="missing"):
        zsend.shared_key(f"@{tmp_path}/missing")


def test_the_command_sends_what_it_reads_and_ends_with_zero(pull: zmq.Socket[bytes]) -> None:
    lines = b"".join(b'{"type":"nop","extra":%d}\n' % number for number in range(3000))
    done = run([pull.LAST_ENDPOINT.decode()], lines)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    assert [bson.decode(data)["extra"] for (data,) in receive(pull, 3000)] == list(range(3000))


def test_the_command_sends_the_key_as_a_first_frame(pull: zmq.Socket[bytes], tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text("s3cret\n")
    address = pull.LAST_ENDPOINT.decode()
    assert run([address, "word"], b'{"type":"a"}\n').returncode == 0
    assert run([address, f"@{file}"], b'{"type":"b"}\n').returncode == 0
    (first, second) = receive(pull, 2)
    assert (first[0], bson.decode(first[1])) == (b"word", {"type": "a"})
    assert (second[0], bson.decode(second[1])) == (b"s3cret", {"type": "b"})


def test_the_command_ends_with_one_after_a_bad_line_and_has_sent_the_good_ones(pull: zmq.Socket[bytes]) -> None:
    done = run([pull.LAST_ENDPOINT.decode()], b'{"n":1}\n{"n":NaN}\n{"n":2}\n')
    assert done.returncode == 1
    assert done.stderr.startswith(b"zsend.py: line 2: ")
    assert [bson.decode(data)["n"] for (data,) in receive(pull, 2)] == [1, 2]


def test_wrong_usage_ends_with_two() -> None:
    assert run([]).returncode == 2
    nowhere = run(["nonsense"], b'{"type":"nop"}\n')
    assert nowhere.returncode == 2
    assert b"nonsense" in nowhere.stderr
    assert run(["tcp://127.0.0.1:1", "@/nonexistent/key"]).returncode == 2


def test_no_server_is_reported(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(zsend, "CONNECT_S_MAX", 0.05)
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b'{"type":"nop"}\n')))
    assert zsend.main(["tcp://127.0.0.1:1"]) == 1
    assert "no server answers at tcp://127.0.0.1:1" in capsys.readouterr().err


def test_a_server_that_takes_no_more_is_reported(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The socket below listens, shakes hands, and reads nothing."""
    monkeypatch.setattr(zsend, "SEND_S_MAX", 0.2)
    lines = b'{"type":"nop","extra":"%s"}\n' % (b"x" * 1_000_000)
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(lines * 50)))
    with zmq.Context() as context, context.socket(zmq.PULL) as socket:
        socket.linger = 0
        socket.rcvhwm = 1
        socket.bind("tcp://127.0.0.1:*")
        assert zsend.main([socket.LAST_ENDPOINT.decode()]) == 1
    assert "took not all events" in capsys.readouterr().err


def test_nothing_to_send_needs_no_server() -> None:
    done = run(["tcp://127.0.0.1:1"])
    assert (done.returncode, done.stderr) == (0, b"")
