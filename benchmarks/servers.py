"""Zarkov's rows about several event servers: the same work for one and for two of them, one after the other.

The producer is this process, on the same cores as the servers. Each process's share of the cores is in the notes:
where producer, balancer and servers together have no core to spare, two servers cannot be faster than one.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from itertools import count
from pathlib import Path

import zmq

from benchmarks import dataset
from benchmarks.eventserver import POLL_S, STORED_S_MAX, EventServer
from benchmarks.peerage import peer_module
from benchmarks.sizes import Sizes
from benchmarks.timing import Sample, timed
from zarkov.client import ZarkovClient
from zarkov.ingest.rendezvous import home_of
from zarkov.journal import Journals

SEND_HWM = 100_000
FLUSH_S_MAX = 600.0
#: Acknowledging clients at once, half of them at home at each server.
CLIENTS = 4
#: Events sent before the clock starts.
WARM_UP = 5_000


@dataclass(frozen=True, slots=True)
class Group:
    """`serve` with so many event servers."""

    server: EventServer
    number: int
    journals: Journals

    @property
    def stored(self) -> int:
        """Events synced, in all journals."""
        return sum(self.journals.position.values())

    def await_stored(self, wanted: int) -> None:
        """Return when so many events are synced. Raises: TimeoutError."""
        deadline = time.monotonic() + STORED_S_MAX
        while (stored := self.stored) < wanted:
            if time.monotonic() > deadline:
                raise TimeoutError(f"{stored} of {wanted} events are stored")
            time.sleep(POLL_S)

    def cpu_s(self) -> dict[str, float]:
        """CPU seconds of each process so far, by its name."""
        used = {}
        for process in peer_module("common").tree(self.server.pid):
            arguments = process.cmdline()
            name = next((part.rpartition(".")[2] for part in arguments if part.startswith("zarkov.cli.")), "serve")
            which = next((part.partition("=")[2] for part in arguments if part.startswith("--server=")), "")
            times = process.cpu_times()
            used[f"{name} {which}".strip()] = times.user + times.system
        return used


def push(sizes: Sizes) -> Sample:
    """PUSH, pre-encoded, one event a message, as the row `push`."""

    def work(group: Group, events: Sequence[bytes]) -> None:
        before = group.stored
        with zmq.Context() as context, context.socket(zmq.PUSH) as sock:
            sock.set_hwm(SEND_HWM)
            sock.connect(group.server.address["bson_bind_address"])
            for event in events:
                sock.send(event)
            group.await_stored(before + len(events))

    return _beside(sizes.events, work)


def ack_batched(sizes: Sizes) -> Sample:
    """CLIENTS acknowledging clients in threads of this process, each with its share of the events."""

    def work(group: Group, events: Sequence[bytes]) -> None:
        address = group.server.address["ack_bind_address"]
        with ExitStack() as stack:
            clients = [
                stack.enter_context(ZarkovClient(address, ack=True, producer=name))
                for name in producers(CLIENTS, group.number)
            ]
            pool = stack.enter_context(ThreadPoolExecutor(CLIENTS))
            shares = [events[start::CLIENTS] for start in range(CLIENTS)]
            for sent in [pool.submit(_send, *each) for each in zip(clients, shares, strict=True)]:
                sent.result()

    return _beside(sizes.events, work)


def producers(wanted: int, servers: int) -> list[bytes]:
    """Names of producers of which as many are at home at each server."""
    names = (b"bench-%d" % number for number in count())
    return [next(name for name in names if home_of(name, servers) == number % servers) for number in range(wanted)]


def _send(client: ZarkovClient, events: Sequence[bytes]) -> None:
    client.send_encoded(events)
    client.flush(FLUSH_S_MAX)


def _beside(count: int, work: Callable[[Group, Sequence[bytes]], None]) -> Sample:
    """`rate` of two event servers, and `one_rate` of one; in both some events before are not counted."""
    events = dataset.encoded(count + WARM_UP)
    samples: list[Sample] = []
    for number in (1, 2):
        with _group(number) as group:
            work(group, events[:WARM_UP])
            cpu = group.cpu_s()
            sample = timed(count, partial(work, group, events[WARM_UP:]), servers=[group.server.pid])
            if group.stored != len(events):
                raise AssertionError(f"{group.stored} events are stored, and not {len(events)}")
            wall_s = sample.values["wall_s"]
            shares = [f"{name} {(used - cpu[name]) / wall_s:.2f}" for name, used in group.cpu_s().items()]
            cores = ", ".join([f"producer {sample.client_cores:.2f}", *shares])
            samples.append(replace(sample, notes=(f"cores, {number} servers: {cores}",)))
    one, two = samples
    return replace(two, values={**two.values, "one_rate": one.values["rate"]}, notes=(*one.notes, *two.notes))


@contextmanager
def _group(number: int) -> Iterator[Group]:
    with EventServer("serve", num_event_servers=number) as server:
        names = ["journal", *(f"journal.{extra}" for extra in range(1, number))]
        directories: list[Path] = [server.data_dir / name for name in names]
        with Journals.open(directories) as journals:
            yield Group(server, number, journals)
