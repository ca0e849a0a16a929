"""Several event servers behind one balancer, for tests: what their journals hold, and who belongs where."""

from __future__ import annotations

import contextlib
import os
import signal
from pathlib import Path

from running import RunningServer
from waiting import wait_until
from wire import Producer
from zarkov.ingest.rendezvous import home_of
from zarkov.journal import Journal

#: Event numbers of one producer, which begin at a multiple of it.
NUMBERS_MAX = 100_000_000


def journal_dirs(server: RunningServer) -> list[Path]:
    """The journals' directories, in the order of the servers."""
    return sorted(server.data_dir.glob("journal*"))


def producers(server: RunningServer, servers: int, each: int = 1) -> list[Producer]:
    """So many producers for each event server; their events' numbers do not overlap."""
    wanted = [number for number in range(servers) for _ in range(each)]
    found: list[Producer] = []
    while wanted:
        name = os.urandom(16)
        if home_of(name, servers) == wanted[0]:
            wanted.pop(0)
            producer = Producer(server.ack, name)
            producer.next_number = len(found) * NUMBERS_MAX
            found.append(producer)
    return found


def stored(server: RunningServer) -> dict[int, tuple[int, int]]:
    """{event number: (its journal, its offset)} of everything; no number stands anywhere twice."""
    found: dict[int, tuple[int, int]] = {}
    for number, directory in enumerate(journal_dirs(server)):
        with Journal.open(directory, on_corrupt="raise") as journal:
            for offset, document in journal.read(journal.first_offset):
                extra = document["extra"]
                assert extra not in found, f"event {extra} is stored twice: {found[extra]}, {(number, offset)}"
                found[extra] = (number, offset)
    return found


def check(server: RunningServer, senders: list[Producer], servers: int) -> None:
    """Every acknowledged event is stored once, in the journal of its producer, at the offset that was told."""
    found = stored(server)
    for sender in senders:
        home = home_of(sender.producer, servers)
        wrong = {
            number: (offset, found.get(number))
            for number, offset in sender.offsets.items()
            if found.get(number) != (home, offset)
        }
        assert wrong == {}


def child(server: RunningServer, name: str) -> int:
    """The process id of a child of `serve`: `eventlog-0`, `eventlog-1` ..., `balancer`; waits until there is one."""
    wait_until(lambda: find_child(server, name))
    return find_child(server, name)


def find_child(server: RunningServer, name: str) -> int:
    """As `child`, now; 0 without one."""
    assert server.process is not None
    tasks = Path(f"/proc/{server.process.pid}/task").iterdir()
    pids = [int(pid) for task in tasks for pid in (task / "children").read_text().split()]
    module, _, number = name.partition("-")
    for pid in pids:
        with contextlib.suppress(FileNotFoundError):
            arguments = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
            is_it = f"zarkov.cli.{module}".encode() in arguments
            if is_it and (not number or f"--server={number}".encode() in arguments):
                return pid
    return 0


def kill(server: RunningServer, name: str) -> None:
    """SIGKILL to one child."""
    os.kill(child(server, name), signal.SIGKILL)
