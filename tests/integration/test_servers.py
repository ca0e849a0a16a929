"""Two event servers behind one address: every way in, every reader, and an end that loses nothing."""

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import bson
import pytest
import zmq

from commands import ok, run
from running import RunningServer
from several import NUMBERS_MAX, check, child, journal_dirs, producers, stored
from waiting import wait_until
from wire import event
from zarkov.client import ZarkovClient
from zarkov.client.keys import Keys
from zarkov.config import JournalSettings
from zarkov.errors import NotAcknowledged
from zarkov.journal import Journals, JournalWriter


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RunningServer]:
    with RunningServer(tmp_path, "serve", num_event_servers=2) as running:
        yield running


def counts(server: RunningServer) -> list[int]:
    """Offsets given in each journal."""
    with Journals.open(journal_dirs(server)) as journals:
        return list(journals.position.values())


def push(address: str, messages: list[bytes]) -> None:
    """Send, and return when everything has left."""
    with zmq.Context() as context, context.socket(zmq.PUSH) as socket:
        socket.linger = 60_000
        socket.connect(address)
        for message in messages:
            socket.send(message)


def as_json(number: int) -> bytes:
    return json.dumps({"type": "text", "context": {}, "extra": number}).encode()


def test_every_way_in_reaches_both_journals_and_every_reader_sees_all(server: RunningServer) -> None:
    senders = producers(server, 2)
    for sender in senders:
        sender.pump(5, 40)
        sender.close()
    push(server.bson, [event(number) for number in range(2 * NUMBERS_MAX, 2 * NUMBERS_MAX + 30_000)])
    push(server.json, [as_json(number) for number in range(3 * NUMBERS_MAX, 3 * NUMBERS_MAX + 2_000)])
    total = 400 + 30_000 + 2_000
    wait_until(lambda: sum(counts(server)) == total)
    assert min(counts(server)) > total / 4, "the load is shared"
    check(server, senders, 2)
    assert len(stored(server)) == total
    at = ["-y", server.settings]
    facts = json.loads(ok(*at, "stats", "--json").out)
    assert facts["events_synced"] == total
    assert [facts[name]["events_synced"] for name in ("journal", "journal.1")] == counts(server)
    assert ok(*at, "find", "--count").out.strip() == str(total)
    assert ok(*at, "find", "--type", "text", "--count").out.strip() == "2000"
    found = [json.loads(line) for line in ok(*at, "find", "--sort=-extra", "--limit", "3", "--json").lines]
    assert [each["extra"] for each in found] == [3 * NUMBERS_MAX + number for number in (1999, 1998, 1997)]
    exported = ok(*at, "export", "-", "--format", "ndjson").lines
    assert {json.loads(line)["extra"] for line in exported} == set(stored(server))
    latest = ok(*at, "tail", "--no-follow", "--lines", "50000", "--json").lines
    assert {json.loads(line)["extra"] for line in latest} == set(stored(server))
    asked = "print(ZM.event.m.find().count(), ZM.event.m.find({'extra': 7}).first() is not None)"
    assert f"{total} True" in ok(*at, "shell", stdin=asked).out
    by_id = "e = ZM.event.m.find({'extra': %d}).first(); print('same', ZM.event.m.get(_id=e._id).extra)"
    for number in (0, NUMBERS_MAX):  # one of each producer, hence of each journal
        assert f"same {number}" in ok(*at, "shell", stdin=by_id % number).out


def test_clients_see_one_server_and_are_told_which_journal_has_their_events(server: RunningServer) -> None:
    journals = set()
    for _ in range(12):
        with ZarkovClient(server.ack, ack=True) as client:
            for _ in range(5):
                client.event("nop")
            client.flush()
            (name,) = client.position
            journals.add(name)
    assert len(journals) == 2, "twelve producers are shared out"
    assert sum(counts(server)) == 60


def test_a_producer_that_comes_back_meets_its_journal_again_after_a_restart(tmp_path: Path) -> None:
    server = RunningServer(tmp_path, "serve", num_event_servers=2)
    answers: list[list[bytes]] = []
    for _ in range(2):
        with server, zmq.Context() as context, context.socket(zmq.DEALER) as socket:
            socket.connect(server.ack)
            batches = [b"producer-%d" % number for number in range(8)]
            for name in batches:
                socket.send_multipart([b"ZK1", b"BATCH", name, (1).to_bytes(8, "big"), bson.encode({"type": "nop"})])
            got = []
            for _ in batches:
                assert socket.poll(20_000)
                got.append(socket.recv_multipart()[3])
            answers.append(sorted(got))
    assert answers[0] == answers[1], "every batch was answered as the first time"
    assert sum(counts(server)) == 8


def test_what_a_client_sends_that_is_no_request_is_answered(server: RunningServer) -> None:
    with zmq.Context() as context, context.socket(zmq.DEALER) as socket:
        socket.identity = b"ZK1"  # an identity that looks like the protocol must not confuse the balancer
        socket.connect(server.ack)
        for frames, kind in (
            ([b"what is this"], b"NACK"),
            ([b"ZK1", b"DANCE", b"x"], b"NACK"),
            ([b"ZK1", b"PING", b"hello"], b"PONG"),
            ([b"ZK1", b"HELLO", b"someone"], b"WELCOME"),
            ([b"ZK1", b"BATCH", b"p" * 65, (1).to_bytes(8, "big"), bson.encode({"type": "nop"})], b"NACK"),
        ):
            socket.send_multipart(frames)
            assert socket.poll(20_000), frames
            assert socket.recv_multipart()[:2] == [b"ZK1", kind], frames


def test_subscribers_hear_the_events_of_both_servers(server: RunningServer) -> None:
    with zmq.Context() as context, context.socket(zmq.SUB) as socket:
        socket.connect(server.publish)
        socket.subscribe(b"load")
        senders = producers(server, 2)
        heard: set[int] = set()

        def hears_both() -> bool:
            for sender in senders:
                sender.pump(1, 1)
            while socket.poll(20):
                heard.add(bson.decode(socket.recv_multipart()[1])["extra"] // NUMBERS_MAX)
            return heard == {0, 1}

        wait_until(hears_both)
        for sender in senders:
            sender.close()


def test_refused_events_of_both_servers_are_listed_shown_and_given_another_try(server: RunningServer) -> None:
    push(server.json, [b'{"type": 7}'] * 40)
    at = ["-y", server.settings]

    def listed() -> list[dict[str, object]]:
        return json.loads(ok(*at, "rejected", "list", "--limit", "100", "--json").out)

    wait_until(lambda: len(listed()) == 40)
    ids = [each["id"] for each in listed()]
    assert isinstance(ids[0], int)
    assert isinstance(ids[-1], str)
    assert ids[-1].startswith("1.")
    page = json.loads(ok(*at, "rejected", "list", "--after", ids[-2], "--json").out)
    assert [each["id"] for each in page] == [ids[-1]]
    assert "type_invalid" in ok(*at, "rejected", "show", ids[-1]).out
    replayed = run(*at, "rejected", "replay", "--json")
    assert replayed.code == 1
    assert json.loads(replayed.out)["refused"] == 40
    assert run(*at, "rejected", "show", "what").code == 2
    ok(*at, "rejected", "purge", "--yes")
    assert listed() == []


def test_rotate_begins_a_generation_in_both_journals_and_init_drops_both(
    server: RunningServer, tmp_path: Path
) -> None:
    senders = producers(server, 2)
    at = ["-y", server.settings]
    for sender in senders:
        sender.pump(1, 10)
    rotated = json.loads(ok(*at, "rotate", tmp_path / "dumps", "--json").out)["rotated"]
    assert [each["journal"] for each in rotated] == ["journal", "journal.1"]
    for sender in senders:
        sender.pump(1, 3)
        sender.close()
    assert ok(*at, "find", "--count").out.strip() == "6"
    assert ok(*at, "find", "--in", "event.0", "--count").out.strip() == "20"
    assert len(ok(*at, "export", "-", "--format", "ndjson", "--in", "event.0").lines) == 20
    infos = json.loads(ok(*at, "journal", "info", "--json").out)
    assert [each["events"] for each in infos] == [13, 13]
    assert [each["sound"] for each in json.loads(ok(*at, "journal", "verify", "--json").out)] == [True, True]
    assert len(ok(*at, "journal", "dump").lines) == 26
    assert len(ok(*at, "journal", "dump", "--journal", "journal.1", "--from-offset", "10").lines) == 3
    assert run(*at, "journal", "dump", "--from-offset", "10").code == 2
    ok(*at, "init", "--yes")
    assert ok(*at, "find", "--count").out.strip() == "0"
    assert run(*at, "find", "--in", "event.0", "--count").code != 0


@pytest.mark.parametrize("whom", ["the supervisor", "the whole group"])
def test_sigterm_loses_nothing_that_had_reached_the_balancer(tmp_path: Path, whom: str) -> None:
    server = RunningServer(tmp_path, "serve", num_event_servers=2)
    for number in range(2):
        with server:
            before = sum(counts(server))
            push(server.bson, [event(n) for n in range(20_000)])
            push(server.json, [as_json(n) for n in range(1_000)])
            if whom == "the whole group":
                assert server.process is not None
                os.killpg(server.process.pid, signal.SIGTERM)
            assert server.stop() == 0, server.log.read_text()
        assert sum(counts(server)) == before + 21_000, f"round {number}"


def test_a_signal_to_one_event_server_restarts_it_and_loses_nothing_acknowledged(tmp_path: Path) -> None:
    with RunningServer(tmp_path, "serve", num_event_servers=2, drain_s=2) as server:
        senders = producers(server, 2)
        for sender in senders:
            sender.pump(3, 10)
        before = child(server, "eventlog-1")
        os.kill(before, signal.SIGTERM)
        wait_until(lambda: not Path(f"/proc/{before}").exists())
        for sender in senders:
            sender.pump(3, 10)
            sender.close()
        assert child(server, "eventlog-1") != before
        assert server.stop() == 0
    check(server, senders, 2)


def test_a_rotate_that_does_not_reach_every_journal_is_finished_by_the_next(tmp_path: Path) -> None:
    server = RunningServer(tmp_path, "serve", num_event_servers=2)
    with server:
        for sender in producers(server, 2):
            sender.pump(1, 10)
            sender.close()
    at = ["-y", server.settings]
    with JournalWriter.open(server.data_dir / "journal.1", JournalSettings()):
        failed = run(*at, "rotate", tmp_path)
    assert failed.code == 1
    assert "journal.1" in failed.err
    assert "done: journal;" in failed.err
    assert ok(*at, "find", "--in", "event.0", "--count").out.strip() == "20"
    rotated = json.loads(ok(*at, "rotate", tmp_path, "--json").out)["rotated"]
    assert [each["journal"] for each in rotated] == ["journal.1"]
    assert ok(*at, "find", "--in", "event.0", "--count").out.strip() == "20"
    assert run(*at, "find", "--in", "event.1", "--count").code != 0


def test_a_very_long_data_directory_is_no_obstacle(tmp_path: Path) -> None:
    folder = tmp_path / ("d" * 120)
    folder.mkdir()
    with RunningServer(folder, "serve", num_event_servers=2) as server:
        for sender in producers(server, 2):
            sender.pump(1, 10)
            sender.close()
        assert server.stop() == 0
    assert counts(server) == [10, 10]


def test_more_servers_join_and_fewer_still_read_everything(tmp_path: Path) -> None:
    one = RunningServer(tmp_path, "serve")
    with one:
        for sender in producers(one, 1):
            sender.pump(1, 10)
            sender.close()
        ok("-y", one.settings, "rotate", tmp_path / "dumps")
        assert one.stop() == 0
    two = RunningServer(tmp_path, "serve", num_event_servers=2)
    with two:
        for sender in producers(two, 2):
            sender.next_number += 5 * NUMBERS_MAX
            sender.pump(1, 10)
            sender.close()
        assert ok("-y", two.settings, "find", "--count").out.strip() == "20"
        assert ok("-y", two.settings, "find", "--in", "event.0", "--count").out.strip() == "10"
        assert two.stop() == 0
    with RunningServer(tmp_path, "serve") as back:
        assert ok("-y", back.settings, "find", "--count").out.strip() == "20"
        warned = run("-y", back.settings, "check-config", "--changed")
        assert "journal.1" in warned.err
        ok("-y", back.settings, "rotate", tmp_path / "dumps")
        assert ok("-y", back.settings, "find", "--count").out.strip() == "0"
        assert ok("-y", back.settings, "find", "--in", "event.0", "--count").out.strip() == "20"


def test_an_event_server_of_several_is_named_and_a_balancer_needs_several(tmp_path: Path) -> None:
    alone = run("--data-dir", tmp_path / "data", "--set", "num_event_servers=2", "eventlog")
    assert alone.code == 2
    assert "--server" in alone.err
    single = run("--data-dir", tmp_path / "data", "balancer")
    assert single.code == 2
    assert "num_event_servers" in single.err


def test_with_keys_the_balancer_lets_in_only_who_is_on_the_list(tmp_path: Path) -> None:
    made = json.loads(ok("keygen", tmp_path / "keys", "--json").out)
    public, secret = zmq.curve_keypair()
    curve = json.dumps({name: made[name] for name in ("server_key_file", "allow")})
    with RunningServer(tmp_path, "serve", num_event_servers=2, curve=curve) as server:
        known = Keys.load(made["client_key_file"], made["server_public_key"])
        with ZarkovClient(server.ack, ack=True, keys=known) as client:
            client.event("nop")
            client.flush()
        for keys in (None, Keys(secret, public, known.server)):
            client = ZarkovClient(server.ack, ack=True, keys=keys)
            client.event("nop")
            with pytest.raises(NotAcknowledged):
                client.close(1)
        assert sum(counts(server)) == 1
