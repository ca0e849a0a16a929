"""find, tail, export and stats over a journal: the same answers with and without a server."""

import gzip
import json
import signal
import subprocess
import threading
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import bson
import pytest

from commands import ok, run
from running import ZCMD, RunningServer
from stored import event_id, write
from waiting import wait_until
from zarkov.client import ZarkovClient
from zarkov.codec import from_json

START = datetime(2011, 7, 20, 18, 0)


def event(number: int) -> dict[str, Any]:
    return {
        "_id": event_id(number),
        "timestamp": START + timedelta(minutes=number),
        "type": ("commit", "nop", "login")[number % 3],
        "context": {"project": f"p{number % 2}", "user": "rick" if number % 5 else "mark o'dell"},
        "extra": {"files": number},
    }


EVENTS = [event(number) for number in range(100)]


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    write(folder / "journal", [EVENTS[:30], EVENTS[30:60], EVENTS[60:]], rotate_after=(0,))
    return folder


def found(data_dir: Path, *arguments: str) -> list[int]:
    """The numbers of the events that find prints."""
    lines = ok("--data-dir", data_dir, "find", "--json", *arguments).lines
    return [from_json(line)["extra"]["files"] for line in lines]


@pytest.mark.parametrize(
    ("arguments", "wanted"),
    [
        ([], lambda n: n >= 30),
        (["--in", "event.0"], lambda n: n < 30),
        (["--type", "commit"], lambda n: n >= 30 and n % 3 == 0),
        (["--type", "commit", "--type", "nop"], lambda n: n >= 30 and n % 3 < 2),
        (["--where", "context.project=p1"], lambda n: n >= 30 and n % 2 == 1),
        (["--where", "context.user=mark o'dell"], lambda n: n >= 30 and n % 5 == 0),
        (["--where", "extra.files>=50", "--where", "extra.files<60"], lambda n: 50 <= n < 60),
        (["--where", "type=~^log"], lambda n: n >= 30 and n % 3 == 2),
        (['{"extra.files": {"$in": [40, 41, 1]}}'], lambda n: n in (40, 41)),
        (["--from", "2011-07-20T19:00:00Z", "--to", "2011-07-20T19:10:00Z"], lambda n: 60 <= n < 70),
        (["--from", "2011-07-21"], lambda n: False),
        (["--from", "20h"], lambda n: False),
    ],
)
def test_find_answers_as_a_plain_loop_over_the_events_does(data_dir: Path, arguments: list[str], wanted: Any) -> None:
    assert found(data_dir, *arguments) == [number for number in range(100) if wanted(number)]


def test_find_sorts_skips_and_limits(data_dir: Path) -> None:
    assert found(data_dir, "--sort=-extra.files", "--limit", "3") == [99, 98, 97]
    assert found(data_dir, "--sort=type,-timestamp", "--skip", "1", "--limit", "2") == [96, 93]
    assert found(data_dir, "--limit", "2") == [30, 31]


def test_find_in_a_collection_that_is_not_there_is_an_error_and_not_an_empty_answer(data_dir: Path) -> None:
    done = run("--data-dir", data_dir, "find", "--in", "event.7", "--count")
    assert done.code == 2
    assert "event, event.0, and all" in done.err


def test_find_in_all_reads_every_generation_in_the_order_of_arrival(data_dir: Path) -> None:
    assert found(data_dir, "--in", "all") == list(range(100))
    assert found(data_dir, "--in", "all", "--skip", "28", "--limit", "4") == [28, 29, 30, 31]
    assert found(data_dir, "--in", "all", "--sort=type,-extra.files", "--skip", "33", "--limit", "3") == [0, 98, 95]
    assert found(data_dir, "--in", "all", "--sort=-timestamp", "--limit", "72") == list(range(99, 27, -1))
    assert found(data_dir, "--in", "all", "--sort=-$natural", "--limit", "2") == [99, 98]
    assert ok("--data-dir", data_dir, "find", "--in", "all", "--count", "--type", "commit").out == "34\n"


@pytest.mark.parametrize("inside", ["event", "all"])
def test_a_text_beside_timestamp_is_read_as_a_date(data_dir: Path, inside: str) -> None:
    text = '{"$or": [{"timestamp": {"$lt": "2011-07-20T18:31:00Z"}}, {"timestamp": "2011-07-20T20:39:00+01:00"}]}'
    assert found(data_dir, "--in", inside, text) == [n for n in [*range(31), 99] if n >= 30 or inside == "all"]
    assert found(data_dir, "--in", inside, "--where", "timestamp>=2011-07-20 19:38") == [98, 99]
    lines = ok("--data-dir", data_dir, "export", "-", "--in", inside, "--where", "timestamp>=2011-07-20 19:38").lines
    assert len(lines) == 2
    done = run("--data-dir", data_dir, "find", '{"timestamp": "soon"}')
    assert done.code == 2
    assert "'soon' is not a time" in done.err


def test_find_counts(data_dir: Path) -> None:
    assert ok("--data-dir", data_dir, "find", "--count").out == "70\n"
    assert ok("--data-dir", data_dir, "find", "--count", "--where", "context.project=p1").out == "35\n"


def test_find_prints_twenty_lines_for_people_and_says_that_there_are_more(data_dir: Path) -> None:
    ran = ok("--data-dir", data_dir, "find")
    assert len(ran.lines) == 20
    assert (
        ran.lines[0] == '2011-07-20 18:30:00.000  commit          project=p0 user="mark o\'dell"  extra={"files": 30}'
    )
    assert "more than 20" in ran.err
    assert len(ok("--data-dir", data_dir, "find", "--limit", "0").lines) == 70
    assert ok("--data-dir", data_dir, "find", "--where", "extra.files<50").err == ""


def test_what_find_prints_cannot_steer_the_terminal(tmp_path: Path) -> None:
    bad = {**event(1), "type": "a\x1b[31mb\n", "context": {"k\r": "\x1b]0;title\x07", "\u202e": "x"}}
    write(tmp_path / "journal", [[bad]])
    (line,) = ok("--data-dir", tmp_path, "find").out[:-1].split("\n")
    assert line.isprintable()
    assert "\\x1b[31m" in line


@pytest.mark.parametrize(
    ("arguments", "code"),
    [(["{"], "filter_invalid"), (['{"a": {"$bad": 1}}'], "filter_invalid"), (["--from", "never"], "filter_invalid")],
)
def test_a_filter_that_cannot_be_read_is_a_usage_error(data_dir: Path, arguments: list[str], code: str) -> None:
    ran = run("--data-dir", data_dir, "find", *arguments)
    assert ran.code == 2
    assert ran.err.startswith("error: ")
    assert f"[{code}]" in ran.err
    assert "Traceback" not in ran.err


def test_find_without_a_journal_says_how_to_begin(tmp_path: Path) -> None:
    ran = run("--data-dir", tmp_path / "none", "find")
    assert ran.code == 1
    assert "zcmd serve" in ran.err


def test_a_reader_of_the_output_may_leave_early(data_dir: Path) -> None:
    with subprocess.Popen(
        [ZCMD, "--data-dir", data_dir, "find", "--json"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        process.wait(60)
        assert process.stderr.read() == ""


def test_tail_shows_the_latest_events(data_dir: Path) -> None:
    lines = ok("--data-dir", data_dir, "tail", "-F", "-n", "4", "--json").lines
    assert [from_json(line)["extra"]["files"] for line in lines] == [96, 97, 98, 99]
    lines = ok("--data-dir", data_dir, "tail", "-F", "-n", "30", "--type", "commit", "--json").lines
    assert [from_json(line)["extra"]["files"] for line in lines] == list(range(12, 100, 3))
    assert ok("--data-dir", data_dir, "tail", "-F", "-n", "0").out == ""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    with RunningServer(tmp_path_factory.mktemp("server")) as running:
        yield running


@pytest.mark.parametrize("published", [False, True])
def test_tail_follows_what_arrives_until_it_is_interrupted(
    server: RunningServer, tmp_path: Path, published: bool
) -> None:
    """From the journal, and on a machine without one from what the server publishes."""
    where = ["-y", server.settings, "tail"]
    if published:
        where = ["--data-dir", tmp_path / "none", "tail", "--uri", server.publish]
    seen: list[str] = []
    sent = 0
    with subprocess.Popen(
        [ZCMD, *where, "-n", "0", "--where", "context.number>=2", "--json"],
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        reader = threading.Thread(target=lambda: seen.extend(process.stdout or ()))
        reader.start()
        try:
            with ZarkovClient(server.ack, ack=True) as client:

                def sent_and_seen() -> bool:
                    nonlocal sent
                    client.event("tick", {"number": sent})
                    client.flush()
                    sent += 1
                    return len(seen) >= 3

                wait_until(sent_and_seen)
            process.send_signal(signal.SIGINT)
            assert process.wait(60) == 0
        finally:
            process.kill()
            reader.join()
    numbers = [from_json(line)["context"]["number"] for line in seen]
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
    assert numbers[0] >= 2


def test_stats_shows_the_servers_counters_and_then_the_journals_facts(server: RunningServer, data_dir: Path) -> None:
    with ZarkovClient(server.ack, ack=True) as client:
        client.event("counted", {})
    facts = json.loads(ok("-y", server.settings, "stats", "--json").out)
    assert facts["server"] == "running"
    assert facts["events_synced"] >= 1
    assert facts["commit_s"]["count"] >= 1
    assert "p99" in ok("-y", server.settings, "stats").out
    facts = json.loads(ok("--data-dir", data_dir, "stats", "--json").out)
    assert (facts["server"], facts["events"], facts["next_offset"]) == ("not running", 100, 100)
    assert "server        not running" in ok("--data-dir", data_dir, "stats").out


@pytest.mark.parametrize("name", ["all.ndjson", "all.ndjson.gz", "all.json", "-"])
def test_export_writes_ndjson_in_the_order_of_arrival(data_dir: Path, tmp_path: Path, name: str) -> None:
    ran = ok("--data-dir", data_dir, "export", name, folder=tmp_path)
    path = tmp_path / name
    data = ran.out.encode() if name == "-" else path.read_bytes()
    text = (gzip.decompress(data) if name.endswith(".gz") else data).decode()
    assert [from_json(line) for line in text.splitlines()] == EVENTS
    assert [each.name for each in tmp_path.iterdir()] == ([] if name == "-" else [name])


@pytest.mark.parametrize("name", ["all.bson", "all.bson.gz"])
def test_export_writes_bson(data_dir: Path, tmp_path: Path, name: str) -> None:
    ran = ok("--data-dir", data_dir, "export", tmp_path / name)
    with gzip.open(tmp_path / name) if name.endswith(".gz") else (tmp_path / name).open("rb") as file:
        assert bson.decode_all(file.read()) == EVENTS
    assert "Wrote 100 events" in ran.err


def test_export_takes_filters_and_a_generation(data_dir: Path) -> None:
    lines = ok("--data-dir", data_dir, "export", "-", '{"extra.files": {"$lt": 40}}', "--type", "nop").lines
    assert [from_json(line)["extra"]["files"] for line in lines] == list(range(1, 40, 3))
    assert len(ok("--data-dir", data_dir, "export", "-", "--in", "event.0").lines) == 30
    assert run("--data-dir", data_dir, "export", "-", "--in", "event.7").code == 2
    assert run("--data-dir", data_dir, "export", "-", "--format", "xml").code == 2


def test_perftest_sends_all_events_and_reports_the_rate(server: RunningServer) -> None:
    before = int(ok("-y", server.settings, "find", "--count", "--type", "perftest").out)
    facts = json.loads(ok("perftest", server.bson, 300, 2, 0, "--json").out)
    assert facts["sent"] == 300
    assert facts["events_per_s"] > 0
    facts = json.loads(ok("perftest", server.ack, 200, 3, 2000, "--ack", "--json").out)
    assert (facts["acknowledged"], facts["refused"]) == (200, 0)
    assert 0 < facts["latency_p50_s"] <= facts["latency_p99_s"] <= facts["latency_max_s"] * 1.1
    wait_until(lambda: int(ok("-y", server.settings, "find", "--count", "--type", "perftest").out) == before + 500)
    assert "latency_p99" in ok("perftest", server.ack, 10, 1, 0, "--ack").out
