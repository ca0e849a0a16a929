"""`zcmd send`: what it prints, and what its exit code says, with a real server and without one."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import bson
import pytest
from bson import ObjectId

from acking import AckServer, nack
from commands import Ran, ok, run
from running import ZCMD, RunningServer, free_port
from serving import Serving
from waiting import wait_until
from zarkov.client.stepwise import StepwiseSender
from zarkov.errors import BatchTooLarge, EventRefused, NotAcknowledged, ServerUnreachable
from zarkov.journal.reader import Journal

SAMPLE = Path(__file__).parents[2] / "examples" / "events.ndjson.gz"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RunningServer]:
    with RunningServer(tmp_path) as running:
        yield running


@pytest.fixture
def acking() -> Iterator[AckServer]:
    with AckServer() as serving:
        yield serving


def send(server: RunningServer, *arguments: object, stdin: str = "") -> Ran:
    return run("-y", server.settings, "send", *arguments, stdin=stdin)


def stored(server: RunningServer) -> list[dict[str, Any]]:
    with Journal.open(server.data_dir / "journal") as journal:
        return [document for _, document in journal.read(0)]


def test_it_prints_the_offset_once_the_event_is_synced(server: RunningServer) -> None:
    assert send(server, "nop") == Ran(0, "0\n", "")
    ran = send(
        server, "login", "user=ada", "n=3", "path=/a=b", "tags=[1]", "--extra", '{"a": null}', "--time", "2011-07-20"
    )
    assert ran == Ran(0, "1\n", "")
    event = stored(server)[1]
    assert event["context"] == {"user": "ada", "n": 3, "path": "/a=b", "tags": [1]}
    assert (event["type"], event["extra"], event["timestamp"].year) == ("login", {"a": None}, 2011)
    assert "extra" not in stored(server)[0]


def test_many_events_come_from_standard_input_or_a_file(server: RunningServer, tmp_path: Path) -> None:
    lines = "".join(json.dumps({"type": "nop", "extra": number}) + "\n" for number in range(3000))
    assert send(server, "-", stdin=lines).out == "0-2999\n"
    assert send(server, "--file", SAMPLE).out == "3000-7506\n"
    plain = tmp_path / "plain.ndjson"
    plain.write_text('{"type": "no newline at the end"}')
    assert send(server, "-f", plain).out == "7507\n"
    events = stored(server)
    assert [event["extra"] for event in events[:3000]] == list(range(3000))
    assert len(events) == 7508


def test_lines_of_a_pipe_are_sent_as_they_come(server: RunningServer) -> None:
    with subprocess.Popen(
        [ZCMD, "-y", server.settings, "send", "-"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as sending:
        assert sending.stdin is not None
        for number in range(3):
            sending.stdin.write(json.dumps({"type": "nop", "extra": number}) + "\n")
            sending.stdin.flush()
            wait_until(lambda: len(stored(server)) == number + 1)  # noqa: B023
        out, _ = sending.communicate(timeout=30)
    assert (sending.returncode, out) == (0, "0-2\n")


def test_refused_events_end_with_1_and_their_line_code_and_reason(server: RunningServer) -> None:
    lines = '{"type": "a"}\n\nnonsense\n{"type": ""}\n{"type": "b"}\n'
    ran = send(server, "-", stdin=lines)
    assert (ran.code, ran.out) == (1, "0-1\n")
    assert [line.split(": ")[1] for line in ran.err.splitlines()] == ["line 3", "line 4"]
    assert "[json_invalid]" in ran.err
    assert "[type_invalid]" in ran.err
    ran = send(server, "", "--json")
    assert ran.code == 1
    body = json.loads(ran.out)
    assert (body["stored"], body["offsets"]) == (0, {})
    assert [(one["index"], one["code"]) for one in body["refused"]] == [(0, "type_invalid")]


def test_a_gzip_file_that_is_damaged_or_cut_off_is_stored_up_to_there_and_told_of(
    server: RunningServer, tmp_path: Path
) -> None:
    cut, none = tmp_path / "cut.ndjson.gz", tmp_path / "none.ndjson.gz"
    cut.write_bytes(SAMPLE.read_bytes()[:20_000])
    none.write_text("no gzip file")
    ran = send(server, "--file", cut)
    count = len(stored(server))
    assert count > 100
    assert (ran.code, ran.out) == (1, f"0-{count - 1}\n")
    assert f"line {count + 1}: the file cannot be unpacked from here on" in ran.err
    ran = send(server, "--file", none)
    assert (ran.code, ran.out) == (1, "")
    assert "line 1: the file cannot be unpacked" in ran.err


def test_without_a_standard_input_it_says_so(server: RunningServer) -> None:
    command = f'exec "{ZCMD}" -y "{server.settings}" send - <&-'
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert "standard input is closed" in done.stderr


def test_an_event_that_is_there_already_is_told_of_and_no_failure(server: RunningServer) -> None:
    line = json.dumps({"_id": {"$oid": str(ObjectId())}, "type": "once"})
    assert send(server, "-", stdin=line) == Ran(0, "0\n", "")
    again = send(server, "-", stdin=line)
    assert (again.code, again.out) == (0, "")
    assert "1 were stored before" in again.err
    assert json.loads(send(server, "-", "--json", stdin=line).out)["duplicates"] == [0]


def test_without_a_server_it_ends_in_time_and_says_that_nothing_was_sent() -> None:
    ran = run("send", "nop", "--ack-address", f"tcp://127.0.0.1:{free_port()}", "--timeout", "0.2")
    assert (ran.code, ran.out) == (1, "")
    assert "nothing was sent" in ran.err
    assert "[server_unreachable]" in ran.err


def test_a_server_that_does_not_answer_leaves_it_open_whether_the_event_is_stored(acking: AckServer) -> None:
    acking.whim = lambda seen: "ignore"
    ran = run("send", "nop", "--ack-address", acking.address, "--timeout", "0.5")
    assert (ran.code, ran.out) == (1, "")
    assert "[not_acknowledged]" in ran.err
    assert "may be stored" in ran.err


def test_the_settings_name_the_address(acking: AckServer, tmp_path: Path) -> None:
    settings = tmp_path / "client.yaml"
    settings.write_text(f"ack_uri: {acking.address}\n")
    assert ok("-y", settings, "send", "nop").out == "0\n"
    assert acking.types() == ["nop"]


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["nop", "--file", "x"],
        ["nop", "novalue"],
        ["nop", "=value"],
        ["nop", "--extra", "{"],
        ["nop", "--extra", '1, "b": 2'],
        ["nop", "--time", "later"],
        ["nop", "--timeout", "0"],
        ["nop", f"big={2**64}"],
        ["-", "a=b"],
        ["nop", "--ack-address", "nonsense"],
    ],
)
def test_wrong_usage_ends_with_2_and_sends_nothing(arguments: list[str]) -> None:
    ran = run("send", *arguments)
    assert (ran.code, ran.out) == (2, "")
    assert ran.err


# The sender beneath.


def encoded(count: int) -> list[bytes]:
    return [bson.encode({"type": "nop", "extra": number}) for number in range(count)]


def test_a_batch_that_is_too_large_for_the_server_is_cut(acking: AckServer) -> None:
    acking.whim = lambda seen: nack("batch_too_large", retryable=False) if len(seen.data) > 500 else None
    with StepwiseSender(acking.address, timeout_s=20) as sender:
        answers = list(sender.send(encoded(50)))
        assert len(answers) == 4
        assert sum(one.answer.count for one in answers) == 50
        assert [one.start for one in answers] == [one.answer.first for one in answers]
        with pytest.raises(BatchTooLarge):
            list(sender.send([bson.encode({"type": "x" * 600})]))
        with pytest.raises(EventRefused):
            list(sender.send([b"no BSON"]))
    assert acking.extras() == list(range(50))


def test_a_batch_is_as_large_as_the_server_says_it_takes(tmp_path: Path) -> None:
    """Of a larger message the server would not say that it is too large: it ends the connection."""
    limits = {"event_bytes_max": 1000, "message_bytes_max": 2000, "batch_bytes_max": 2000, "batch_events_max": 7}
    with Serving(tmp_path, **limits) as serving:
        with StepwiseSender(serving.server.endpoints["ack_bind_address"], timeout_s=20) as sender:
            answers = list(sender.send(encoded(500)))
            assert sum(one.answer.count for one in answers) == 500
            with pytest.raises(BatchTooLarge, match=r"the event has 3,0\d\d bytes; the server takes 2,000"):
                list(sender.send([bson.encode({"type": "x", "extra": "x" * 3000})]))
            assert [one.answer.count for one in sender.send(encoded(1))] == [1]
        assert [one["extra"] for one in serving.wait_for_events(501)] == [*range(500), 0]


def test_a_server_that_goes_away_before_a_batch_leaves_the_rest_unacknowledged(acking: AckServer) -> None:
    with StepwiseSender(acking.address, timeout_s=1) as sender:
        list(sender.send(encoded(1)))
        acking.stop()
        # Which of the two it is depends on whether the loss of the connection was heard of before.
        with pytest.raises((ServerUnreachable, NotAcknowledged), match=r"the rest was not sent|acknowledged nothing"):
            list(sender.send(encoded(1)))
        acking.start()
        assert [one.answer.count for one in sender.send(encoded(1))] == [1]


def test_a_server_that_is_busy_is_asked_again(acking: AckServer) -> None:
    answers = iter([nack("server_busy", retryable=True)] * 2)
    acking.whim = lambda seen: next(answers, None)
    with StepwiseSender(acking.address, timeout_s=20) as sender:
        assert [one.answer.count for one in sender.send(encoded(3))] == [3]
    assert acking.extras() == [0, 1, 2]


def test_a_batch_is_stored_once_though_the_server_was_killed_after_it(tmp_path: Path) -> None:
    server = RunningServer(tmp_path).start()
    try:
        with StepwiseSender(server.ack, timeout_s=60) as sender:
            list(sender.send(encoded(10)))
            server.kill_group()
            server.start()
            (again,) = sender.send(encoded(10))
            assert (again.answer.first, again.answer.count) == (10, 10)
        assert server.stop() == 0
    finally:
        server.put_down()
    assert len(stored(server)) == 20


def test_an_answer_that_is_lost_is_asked_for_again(acking: AckServer) -> None:
    whims: list[Any] = ["silent"]
    acking.whim = lambda seen: whims.pop() if whims else None
    with StepwiseSender(acking.address, timeout_s=30) as sender:
        sending = sender.send(encoded(2))
        assert [one.answer.count for one in sending] == [2]
    assert acking.extras() == [0, 1]
