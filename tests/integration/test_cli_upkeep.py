"""rotate, init, rejected and journal: on a running server through its control socket, and without one."""

import gzip
import json
from collections.abc import Iterator
from pathlib import Path

import bson
import pytest
import zmq
from bson import ObjectId

from commands import ok, run
from running import RunningServer
from stored import write
from waiting import wait_until
from zarkov.batch import Rejection
from zarkov.client import ZarkovClient
from zarkov.codec import from_json
from zarkov.config import JournalSettings
from zarkov.journal.rejected import RejectedStore

ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"


@pytest.fixture(params=["running", "stopped"])
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[RunningServer]:
    """A server that has been started once; commands meet it running, or find it stopped."""
    each = RunningServer(tmp_path, num_event_logs=2)
    each.param = request.param  # type: ignore[attr-defined]
    with each:
        yield each


def settle(server: RunningServer) -> None:
    """Stop the server if this run is to be without one."""
    if server.param == "stopped" and not server.ended():  # type: ignore[attr-defined]
        assert server.stop() == 0


def resume(server: RunningServer) -> None:
    if server.ended():
        server.start()


def send(server: RunningServer, first: int, count: int) -> None:
    with ZarkovClient(server.ack, ack=True) as client:
        for number in range(first, first + count):
            client.event("tick", {"number": number})


def push(server: RunningServer, *messages: bytes, json: bool = False) -> None:
    """Send messages as they are, and wait until the server has received them."""
    with zmq.Context() as context, context.socket(zmq.PUSH) as socket:
        socket.connect(server.json if json else server.bson)
        for message in messages:
            socket.send(message)


def rejected(server: RunningServer) -> list[dict[str, object]]:
    return json.loads(ok("-y", server.settings, "rejected", "list", "--limit", 1000, "--json").out)


def found(server: RunningServer, name: str = "event") -> list[int]:
    lines = ok("-y", server.settings, "find", "--json", "--in", name).lines
    return [from_json(line)["context"]["number"] for line in lines]


def test_rotate_renames_generations_and_dumps_and_drops_the_oldest(server: RunningServer, tmp_path: Path) -> None:
    dumps = tmp_path / "dumps"
    for generation in range(4):
        resume(server)
        send(server, generation * 10, 10)
        settle(server)
        ok("-y", server.settings, "rotate", dumps)
    resume(server)
    send(server, 40, 5)
    settle(server)
    assert found(server) == list(range(40, 45))
    assert found(server, "event.0") == list(range(30, 40))
    assert found(server, "event.1") == list(range(20, 30))
    assert run("-y", server.settings, "find", "--in", "event.2").code == 2
    files = sorted(dumps.iterdir())
    assert [file.name for file in files] == [f"event.{first:020d}-{first + 10:020d}.bson.gz" for first in (0, 10)]
    for index, file in enumerate(files):
        numbers = [event["context"]["number"] for event in bson.decode_all(gzip.decompress(file.read_bytes()))]
        assert numbers == list(range(index * 10, index * 10 + 10))
    info = json.loads(ok("-y", server.settings, "journal", "info", "--json").out)
    assert (info["first_offset"], info["next_offset"], info["events"]) == (20, 45, 25)


def test_rotate_says_what_it_did_as_json(server: RunningServer, tmp_path: Path) -> None:
    send(server, 0, 3)
    settle(server)
    done = json.loads(ok("-y", server.settings, "rotate", tmp_path / "dumps", "--json").out)
    assert done["rotated"]["stop_offset"] == 3
    assert done["dumped"] == []


def test_init_drops_everything_after_asking_and_offsets_go_on(server: RunningServer) -> None:
    send(server, 0, 10)
    push(server, b"garbage")
    wait_until(lambda: len(rejected(server)) == 1)
    script = server.settings.with_name("save.py")
    script.write_text("ZM.AggDef.make({'name': 'a', 'task_name': 'b'}).m.save()\nprint(ZM.AggDef.m.find().count())\n")
    assert ok("-y", server.settings, "script", script).out == "1\n"
    settle(server)

    for answer in ("", "n\n", "no\n"):
        ran = run("-y", server.settings, "init", stdin=answer)
        assert (ran.code, ran.out.count("[y/N]")) == (1, 1)
    assert found(server) == list(range(10))

    assert "[y/N]" in ok("-y", server.settings, "init", stdin="y\n").out
    assert found(server) == []
    assert rejected(server) == []
    assert ok("-y", server.settings, "script", script).out == "1\n"
    resume(server)
    send(server, 10, 5)
    assert found(server) == list(range(10, 15))
    info = json.loads(ok("-y", server.settings, "journal", "info", "--json").out)
    assert (info["first_offset"], info["next_offset"]) == (10, 15)


def test_init_on_nothing_makes_an_empty_store(tmp_path: Path) -> None:
    ok("--data-dir", tmp_path / "new", "init", "--yes")
    assert ok("--data-dir", tmp_path / "new", "find", "--count").out == "0\n"


def test_rejected_events_are_listed_shown_replayed_and_purged(server: RunningServer) -> None:
    good = {"type": "tick", "context": {"number": 7}}
    push(server, b"\x00garbage", bson.encode({"context": {}}), bson.encode({**good, "$command": "what"}))
    push(server, b'{"type": 5}', b"{not json", json=True)
    wait_until(lambda: len(rejected(server)) == 5)
    settle(server)
    listed = rejected(server)
    codes = sorted(str(each["code"]) for each in listed)
    assert codes == ["bson_invalid", "command_unknown", "json_invalid", "type_invalid", "type_missing"]
    assert [each["id"] for each in listed] == [1, 2, 3, 4, 5]

    ran = ok("-y", server.settings, "rejected", "list", "--limit", "2", "--after", "1")
    assert "2 of 5 rejected events" in ran.err
    by_code = {each["code"]: each["id"] for each in listed}
    shown = ok("-y", server.settings, "rejected", "show", by_code["json_invalid"])
    assert "{not json" in shown.out
    raw = ok("-y", server.settings, "rejected", "show", by_code["type_invalid"], "--raw")
    assert raw.out == '{"type": 5}'
    assert json.loads(ok("-y", server.settings, "rejected", "show", 1, "--json").out)["id"] == 1
    assert run("-y", server.settings, "rejected", "show", 99).code == 2

    again = run("-y", server.settings, "rejected", "replay")
    assert again.code == 1
    assert "0 stored, 0 stored before, 5 refused again" in again.out
    assert len(rejected(server)) == 5
    assert run("-y", server.settings, "rejected", "purge", stdin="n\n").code == 1
    assert "Deleted 5" in ok("-y", server.settings, "rejected", "purge", "--yes").out
    assert rejected(server) == []


def test_a_replay_after_a_limit_was_raised_stores_what_was_too_large(server: RunningServer) -> None:
    assert server.stop() == 0
    text = server.settings.read_text()
    server.settings.write_text(text + "event_bytes_max: 200\n")
    server.start()
    push(server, *(bson.encode({"type": "tick", "context": {"number": n}, "extra": "x" * 300}) for n in range(3)))
    push(server, b'{"type": "tick", "context": {"number": 3}, "extra": "%s"}' % (b"x" * 300), json=True)
    wait_until(lambda: len(rejected(server)) == 4)
    assert server.stop() == 0
    server.settings.write_text(text)
    if server.param == "running":  # type: ignore[attr-defined]
        server.start()
    ids = [each["id"] for each in rejected(server)]
    assert "1 stored, 0 stored before, 0 refused again" in ok("-y", server.settings, "rejected", "replay", ids[1]).out
    assert [each["id"] for each in rejected(server)] == [ids[0], *ids[2:]]
    done = json.loads(ok("-y", server.settings, "rejected", "replay", "--json").out)
    assert (done["stored"], done["refused"]) == (3, 0)
    assert rejected(server) == []
    assert sorted(found(server)) == [0, 1, 2, 3]


def test_a_replay_tells_a_retry_from_a_conflict(server: RunningServer) -> None:
    oid = ObjectId()
    first = {"_id": oid, "type": "tick", "context": {"number": 1}}
    push(server, bson.encode(first), bson.encode({**first, "context": {"number": 2}}))
    wait_until(lambda: len(rejected(server)) == 1)
    assert rejected(server)[0]["code"] == "duplicate_id"
    settle(server)
    ran = run("-y", server.settings, "rejected", "replay")
    assert "0 stored, 0 stored before, 1 refused again\nduplicate_id 1" in ran.out
    assert len(rejected(server)) == 1
    with RejectedStore.open(server.data_dir / "rejected.sqlite", JournalSettings()) as store:
        store.add([Rejection(0, "bson", "too_large", "for the test", bson.encode(first))])
    assert "0 stored, 1 stored before, 1 refused again" in run("-y", server.settings, "rejected", "replay").out
    assert len(rejected(server)) == 1
    assert found(server) == [1]


def test_rejected_is_empty_where_nothing_was_ever_rejected(tmp_path: Path) -> None:
    write(tmp_path / "journal", [])
    assert json.loads(ok("--data-dir", tmp_path, "rejected", "list", "--json").out) == []
    assert "Deleted 0" in ok("--data-dir", tmp_path, "rejected", "purge").out
    ok("--data-dir", tmp_path, "rejected", "replay")


def test_journal_info_and_dump_show_what_is_there(server: RunningServer) -> None:
    send(server, 0, 5)
    settle(server)
    shown = ok("-y", server.settings, "journal", "info").out
    assert "offsets     0 to before 5" in shown
    assert "00000000000000000000.segment" in shown
    dumped = [json.loads(line) for line in ok("-y", server.settings, "journal", "dump", "--json").lines]
    assert [each["offset"] for each in dumped] == [0, 1, 2, 3, 4]
    assert [each["event"]["context"]["number"] for each in dumped] == [0, 1, 2, 3, 4]
    lines = ok("-y", server.settings, "journal", "dump", "--from-offset", 1, "--to-offset", 3).lines
    assert [line.split()[0] for line in lines] == ["1", "2"]
    beyond = run("-y", server.settings, "journal", "dump", "--from-offset", 99)
    assert beyond.code == 1
    assert "[position_beyond_end]" in beyond.err


def test_journal_verify_finds_a_sound_journal_sound(server: RunningServer) -> None:
    send(server, 0, 50)
    settle(server)
    assert "Everything is as it was written." in ok("-y", server.settings, "journal", "verify").out
    assert json.loads(ok("-y", server.settings, "journal", "verify", "--json").out)["sound"] is True


def test_a_damaged_journal_is_found_repaired_and_used_again(tmp_path: Path) -> None:
    with RunningServer(tmp_path) as server:
        send(server, 0, 50)
    (segment,) = (server.data_dir / "journal").glob("*.segment")
    data = bytearray(segment.read_bytes())
    at = data.index(ZSTD_MAGIC) + 20
    data[at : at + 16] = bytes(byte ^ 0xFF for byte in data[at : at + 16])
    segment.write_bytes(data)

    ran = run("-y", server.settings, "journal", "verify")
    assert ran.code == 1
    assert "journal repair" in ran.out
    assert run("-y", server.settings, "journal", "repair", stdin="n\n").code == 1
    done = ok("-y", server.settings, "journal", "repair", "--yes")
    assert "damaged" in done.out
    assert ok("-y", server.settings, "journal", "verify").code == 0
    assert "Nothing had to be done." in ok("-y", server.settings, "journal", "repair", "--yes").out
    with server:
        send(server, 100, 10)
        assert found(server)[-10:] == list(range(100, 110))


def test_repair_is_refused_while_a_server_runs(tmp_path: Path) -> None:
    with RunningServer(tmp_path) as server:
        ran = run("-y", server.settings, "journal", "repair", "--yes")
    assert ran.code == 1
    assert "[journal_locked]" in ran.err


def test_a_data_directory_with_a_very_long_path_has_a_control_socket_too(tmp_path: Path) -> None:
    folder = tmp_path / ("d" * 100) / ("e" * 100)
    folder.mkdir(parents=True)
    with RunningServer(folder) as server:
        send(server, 0, 3)
        assert json.loads(ok("-y", server.settings, "stats", "--json").out)["server"] == "running"

        ok("-y", server.settings, "rotate", tmp_path / "dumps")
        assert found(server, "event.0") == [0, 1, 2]
