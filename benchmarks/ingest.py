"""Zarkov's ingest rows: a real server process, and this process as its producer on the same cores."""

import time
from statistics import quantiles

import zmq

from benchmarks import dataset
from benchmarks.eventserver import EventServer
from benchmarks.sizes import Sizes
from benchmarks.timing import Sample, timed
from zarkov.client import ZarkovClient

OFFERED_PER_S = 10_000
TICK_S = 0.0005
SEND_HWM = 100_000  # as the peers' PUSH socket has
FLUSH_S_MAX = 600.0


def push(sizes: Sizes, *, with_keys: bool = False) -> Sample:
    """PUSH, pre-encoded, one event a message; the clock stops when all of them are synced."""
    first, *events = dataset.encoded(sizes.events + 1)
    with EventServer(with_keys=with_keys) as server, zmq.Context() as context, context.socket(zmq.PUSH) as sock:
        sock.set_hwm(SEND_HWM)
        if server.keys is not None:
            server.keys.secure(sock)
        sock.connect(server.address["bson_bind_address"])
        sock.send(first)  # the connection stands, and the server is past its first event
        server.await_stored(1)

        def run() -> None:
            send = sock.send
            for event in events:
                send(event)
            server.await_stored(1 + len(events))

        return timed(len(events), run, servers=[server.pid])


def ack_batched(sizes: Sizes, *, with_keys: bool = False) -> Sample:
    """The acknowledging client with its defaults; the clock stops when all are acknowledged."""
    first, *events = dataset.encoded(sizes.events + 1)
    with (
        EventServer(with_keys=with_keys) as server,
        ZarkovClient(server.address["ack_bind_address"], ack=True, keys=server.keys) as client,
    ):
        client.send_encoded([first])
        client.flush(FLUSH_S_MAX)

        def run() -> None:
            client.send_encoded(events)
            client.flush(FLUSH_S_MAX)

        sample = timed(len(events), run, servers=[server.pid])
        _check(server, 1 + len(events))
        return sample


def ack_single(sizes: Sizes) -> Sample:
    """`event()` and `flush()`, again and again: each is acknowledged before the next is made."""
    context = {"neighborhood": "p", "project": "p1", "tool": "wiki", "app": "Wiki", "user": "u1", "ip": "10.1.1.1"}
    with EventServer() as server, ZarkovClient(server.address["ack_bind_address"], ack=True) as client:
        client.event("page_view", context)
        client.flush(FLUSH_S_MAX)

        def run() -> None:
            for _ in range(sizes.single):
                client.event("page_view", context)
                client.flush(FLUSH_S_MAX)

        sample = timed(sizes.single, run, servers=[server.pid])
        _check(server, 1 + sizes.single)
        return sample


def latency(sizes: Sizes) -> Sample:
    """From the moment an event was due to the moment its acknowledgement was seen, at a steady offer.

    Counted from when the event was *due*, so a stall delays all that should have been sent during it.
    Acknowledgements are looked for every TICK_S, which adds at most that to each latency.
    """
    count = int(OFFERED_PER_S * sizes.latency_s)
    first, *events = dataset.encoded(count + 1)
    acknowledged_at: list[float] = []
    with EventServer() as server, ZarkovClient(server.address["ack_bind_address"], ack=True) as client:
        client.send_encoded([first])
        client.flush(FLUSH_S_MAX)
        began = time.perf_counter() + TICK_S

        def run() -> None:
            sent = 0
            while len(acknowledged_at) < count:
                now = time.perf_counter()
                due = min(count, int((now - began) * OFFERED_PER_S))
                if due > sent:
                    client.send_encoded(events[sent:due])
                    sent = due
                seen = client.acknowledged - 1 - len(acknowledged_at)
                acknowledged_at.extend([now] * seen)
                time.sleep(TICK_S)

        sample = timed(count, run, servers=[server.pid])
        _check(server, 1 + count)
    skip = int(OFFERED_PER_S * sizes.latency_skip_s)
    latencies_ms = [(at - began - i / OFFERED_PER_S) * 1e3 for i, at in enumerate(acknowledged_at)][skip:]
    cuts = quantiles(latencies_ms, n=100)
    values = {"p50_ms": cuts[49], "p99_ms": cuts[98], "max_ms": max(latencies_ms)}
    return Sample(values, sample.pace_ms, sample.other_cores, sample.client_cores, sample.server_cores)


def _check(server: EventServer, count: int) -> None:
    """A rate of events that are not in the journal would be worth nothing."""
    if (stored := server.next_offset()) != count:
        raise AssertionError(f"{stored} events are in the journal, and not {count}")
