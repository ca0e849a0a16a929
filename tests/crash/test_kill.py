"""kill -9 of real processes: what was acknowledged is there, once, at the offset that was told."""

import os
import random
import signal
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from running import RunningServer, zcmd
from waiting import wait_until
from wire import Producer
from zarkov.crash import CRASH_POINTS
from zarkov.journal import Journal

ROUNDS = int(os.environ.get("ZARKOV_TEST_ROUNDS", "50" if os.environ.get("CI") else "10"))

#: Points that other tests reach: rotation and retention below, the loader's in test_loader_kill.
ELSEWHERE = ("in_rotate", "in_retention", "before_insert", "after_insert", "after_checkpoint", "in_rename")


def stored(server: RunningServer) -> dict[int, int]:
    """{event number: its offset} of everything in the journal; no number stands there twice."""
    found: dict[int, int] = {}
    with Journal.open(server.data_dir / "journal", on_corrupt="raise") as journal:
        for offset, document in journal.read(journal.first_offset):
            number = document["extra"]
            assert number not in found, f"event {number} is stored twice, at {found[number]} and {offset}"
            found[number] = offset
    return found


def check(server: RunningServer, producer: Producer) -> None:
    """Every acknowledged event is stored once, at the offset its acknowledgement named."""
    found = stored(server)
    wrong = {number: offset for number, offset in producer.offsets.items() if found.get(number) != offset}
    assert wrong == {}


def load_until_killed(producer: Producer, kill: Callable[[], None], rng: random.Random) -> None:
    """Send until the server has been killed at some random moment of the load."""
    delay = rng.uniform(0.0, 0.35)
    timer = threading.Timer(delay, kill)
    timer.start()
    try:
        while timer.is_alive():
            while producer.may_send:
                producer.send_batch(rng.choice((1, 1, 10, 300)))
            producer.receive(0.01)
    finally:
        timer.join()


@pytest.mark.parametrize(("command", "seed"), [("eventlog", 20261124), ("serve", 7)])
def test_acknowledged_events_survive_kills_under_load(tmp_path: Path, command: str, seed: int) -> None:
    """The event server alone, and `serve` with its children: the whole process group dies at once."""
    rng = random.Random(seed)
    server = RunningServer(tmp_path, command, segment_bytes_max=1 << 20)
    producer = Producer(server.ack)
    try:
        for _ in range(ROUNDS):
            server.start()
            load_until_killed(producer, server.kill_group, rng)
            check(server, producer)
        with server:
            producer.pump(5, 100)
            assert server.stop() == 0
        check(server, producer)
        assert sorted(stored(server)) == list(range(producer.next_number))
    finally:
        server.put_down()
        producer.close()


def test_serve_restarts_a_killed_event_server_and_goes_on(tmp_path: Path) -> None:
    with RunningServer(tmp_path, "serve") as server:
        producer = Producer(server.ack)
        try:
            for _ in range(3):
                producer.pump(5, 50)
                children = children_of(server)
                for child in children:
                    os.kill(child, signal.SIGKILL)
                wait_until(lambda gone=children: not set(gone) & set(children_of(server)))
                producer.pump(5, 50)
            assert server.stop() == 0
            assert sorted(stored(server)) == list(range(producer.next_number))
        finally:
            producer.close()


def children_of(server: RunningServer) -> list[int]:
    assert server.process is not None
    tasks = Path(f"/proc/{server.process.pid}/task").iterdir()
    return [int(pid) for task in tasks for pid in (task / "children").read_text().split()]


@pytest.mark.parametrize("point", [point for point in CRASH_POINTS if point not in ELSEWHERE])
def test_a_kill_at_a_named_point_loses_nothing_that_was_acknowledged(tmp_path: Path, point: str) -> None:
    server = RunningServer(tmp_path, segment_bytes_max=1 << 20, small_chunks_max=16)
    producer = Producer(server.ack, padding_bytes=600 if point == "in_roll" else 0)
    try:
        for count in (1, 2, 5):
            server.start(wait=False, ZARKOV_CRASH_AT=f"{point}:{count}")
            size = 500 if point == "in_roll" else 1
            while not server.ended():
                while producer.may_send:
                    producer.send_batch(size)
                producer.receive(0.02)
            assert server.process is not None
            assert server.process.returncode == -signal.SIGKILL, server.log.read_text()
            check(server, producer)
        with server:
            producer.pump(3, 10)
            assert server.stop() == 0
        assert sorted(stored(server)) == list(range(producer.next_number))
    finally:
        server.put_down()
        producer.close()


@pytest.mark.parametrize("number", [1, 2])
def test_a_kill_while_rotating_loses_nothing_and_the_next_rotate_works(tmp_path: Path, number: int) -> None:
    server = RunningServer(tmp_path, segment_bytes_max=1 << 20)
    producer = Producer(server.ack)
    try:
        with server:
            producer.pump(5, 100)
            if number == 2:
                zcmd("rotate", tmp_path, settings=server.settings)
                producer.pump(5, 100)
            assert server.stop() == 0
        server.start(ZARKOV_CRASH_AT="in_rotate")
        zcmd("rotate", tmp_path, settings=server.settings, check=False)
        wait_until(server.ended)
        check(server, producer)
        with server:
            zcmd("rotate", tmp_path, settings=server.settings)
            producer.pump(1, 7)
            assert zcmd("find", "--count", settings=server.settings).strip() == "7"
        assert sorted(stored(server)) == list(range(producer.next_number))
    finally:
        server.put_down()
        producer.close()


def test_a_kill_while_old_segments_are_removed_leaves_a_journal_that_goes_on(tmp_path: Path) -> None:
    server = RunningServer(tmp_path, segment_bytes_max=1 << 20, retention_bytes=3 << 20)
    producer = Producer(server.ack, padding_bytes=600)
    try:
        for count in (1, 2):
            server.start(wait=False, ZARKOV_CRASH_AT=f"in_retention:{count}")
            while not server.ended():
                while producer.may_send:
                    producer.send_batch(500)
                producer.receive(0.02)
            assert server.process is not None
            assert server.process.returncode == -signal.SIGKILL, server.log.read_text()
        with server:
            producer.pump(3, 10)
            assert server.stop() == 0
        found = stored(server)
        kept = {number: offset for number, offset in producer.offsets.items() if offset >= min(found.values())}
        assert found == kept, "what retention did not remove is whole"
        assert len(found) < producer.next_number, "retention removed something"
    finally:
        server.put_down()
        producer.close()
