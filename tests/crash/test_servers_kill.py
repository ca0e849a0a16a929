"""kill -9 of one of two event servers, of the balancer, of all: what was acknowledged is there, once."""

import os
import random
import threading
from pathlib import Path

import pytest

from running import RunningServer
from several import check, kill, producers, stored
from waiting import wait_until
from wire import Producer

ROUNDS = int(os.environ.get("ZARKOV_TEST_ROUNDS", "50" if os.environ.get("CI") else "10"))
SERVERS = 2


def keep_sending(sender: Producer, until: threading.Event, seed: int) -> None:
    """Send batches of random sizes until told to stop."""
    rng = random.Random(seed)
    while not until.is_set():
        while sender.may_send:
            sender.send_batch(rng.choice((1, 1, 10, 300)))
        sender.receive(0.01)


def settle(sender: Producer) -> None:
    """Wait until everything sent is acknowledged."""
    sender.pump(0, 0)


class Load:
    """Every producer sends in a thread of its own while the context lasts."""

    def __init__(self, senders: list[Producer], seed: int) -> None:
        self._stop = threading.Event()
        self.faults: list[BaseException] = []
        self._threads = [
            threading.Thread(target=self._run, args=(sender, seed + index)) for index, sender in enumerate(senders)
        ]

    def _run(self, sender: Producer, seed: int) -> None:
        try:
            keep_sending(sender, self._stop, seed)
        except BaseException as fault:  # noqa: BLE001 - it is raised again in the test's thread
            self.faults.append(fault)

    def __enter__(self) -> "Load":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()
        for fault in self.faults:
            raise fault


@pytest.mark.parametrize("victim", ["eventlog-0", "eventlog-1", "balancer"])
def test_acknowledged_events_survive_kills_of_one_process_under_load(tmp_path: Path, victim: str) -> None:
    rng = random.Random(victim)
    with RunningServer(
        tmp_path, "serve", num_event_servers=SERVERS, segment_bytes_max=1 << 20, restart_s_max=0.2
    ) as server:
        senders = producers(server, SERVERS, each=2)
        try:
            for number in range(ROUNDS):
                with Load(senders, number * 100):
                    threading.Event().wait(rng.uniform(0.0, 0.3))  # a random moment of the load, not a condition
                    kill(server, victim)
                    before = [len(sender.answers) for sender in senders]
                    wait_until(
                        lambda before=before: all(
                            len(sender.answers) > count + 5 for sender, count in zip(senders, before, strict=True)
                        ),
                        60,
                    )
            for sender in senders:
                settle(sender)
            assert server.stop() == 0
            check(server, senders, SERVERS)
            sent = {number for sender in senders for number in sender.offsets}
            assert set(stored(server)) == sent
        finally:
            for sender in senders:
                sender.close()


def test_acknowledged_events_survive_kills_of_all_processes_at_once(tmp_path: Path) -> None:
    rng = random.Random(3)
    server = RunningServer(tmp_path, "serve", num_event_servers=SERVERS, segment_bytes_max=1 << 20)
    senders = producers(server, SERVERS)
    try:
        for number in range(ROUNDS):
            server.start()
            with Load(senders, number * 100):
                threading.Event().wait(rng.uniform(0.0, 0.4))  # a random moment of the load, not a condition
                server.kill_group()
            check(server, senders, SERVERS)
        with server:
            for sender in senders:
                sender.pump(3, 100)
            assert server.stop() == 0
        check(server, senders, SERVERS)
        assert set(stored(server)) == {number for sender in senders for number in sender.offsets}
    finally:
        server.put_down()
        for sender in senders:
            sender.close()


def test_producers_of_the_other_server_go_on_while_one_is_down(tmp_path: Path) -> None:
    """The server of one producer dies again and again, at once: `serve` waits longer each time."""
    with RunningServer(tmp_path, "serve", num_event_servers=SERVERS, restart_s_max=0.2) as server:
        there, gone = producers(server, SERVERS)
        try:
            there.pump(3, 10)
            gone.pump(3, 10)
            (server.data_dir / "journal.1" / "catalog.sqlite").rename(tmp_path / "catalog")
            kill(server, "eventlog-1")
            gone.send_batch(10)
            there.pump(50, 100)
            assert gone.pending, "the producer of the server that is down waits"
            (tmp_path / "catalog").rename(server.data_dir / "journal.1" / "catalog.sqlite")
            settle(gone)
            assert server.stop() == 0
            check(server, [there, gone], SERVERS)
        finally:
            there.close()
            gone.close()
