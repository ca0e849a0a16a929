"""The floors: the same work with nothing of Zarkov in it.

The ZeroMQ floors call the functions of peers/ingest_zmq.py unchanged: the receiver decodes every
event and syncs every 50 ms, and the sender never learns of it.  The echo is the floor of waiting
for each answer: a ROUTER, a thread that stands for the writer, no journal, no sync.
"""

import multiprocessing
import os
import queue
import threading
import time
from multiprocessing.connection import Connection

import zmq

from benchmarks import dataset
from benchmarks.peerage import peer_module
from benchmarks.sizes import Sizes
from benchmarks.timing import Sample, timed

WARM_UP_COUNT = 100


def decode(sizes: Sizes, per_message: int) -> Sample:
    """peers/ingest_zmq.py, `decode` with 1 or 100 events a message."""
    ingest_zmq, common = peer_module("ingest_zmq"), peer_module("common")
    multiprocessing.set_start_method("spawn", force=True)
    events = dataset.encoded(sizes.events)
    messages = events if per_message == 1 else [b"".join(b) for b in common.batches(events, per_message)]

    def run() -> float:
        wall, _client, _server = ingest_zmq.run(messages, "decode", len(events), per_message, "plain", None)
        return float(wall)

    return timed(len(events), run)


def echo(sizes: Sizes) -> Sample:
    """One event there and back, through a thread at the far end, the next one after the answer."""
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    server = context.Process(target=echo_server, args=(there,), daemon=True)
    server.start()
    event = dataset.encoded(sizes.single)[0]
    with zmq.Context() as client, client.socket(zmq.DEALER) as sock:
        sock.linger = 0
        sock.connect(f"tcp://127.0.0.1:{here.recv()}")
        for _ in range(WARM_UP_COUNT):
            sock.send(event)
            sock.recv()

        def run() -> None:
            for _ in range(sizes.single):
                sock.send(event)
                sock.recv()

        sample = timed(sizes.single, run, servers=[server.pid or 0])
    server.terminate()
    server.join()
    return sample


def echo_server(pipe: Connection) -> None:
    """Receive, hand to a thread, answer when the thread has handed it back."""
    taken: queue.SimpleQueue[list[bytes]] = queue.SimpleQueue()
    done: queue.SimpleQueue[list[bytes]] = queue.SimpleQueue()
    wake = os.eventfd(0)

    def writer() -> None:
        while True:
            done.put(taken.get())
            os.eventfd_write(wake, 1)

    threading.Thread(target=writer, daemon=True).start()
    with zmq.Context() as context, context.socket(zmq.ROUTER) as sock:
        pipe.send(sock.bind_to_random_port("tcp://127.0.0.1"))
        poller = zmq.Poller()
        poller.register(sock, zmq.POLLIN)
        poller.register(wake, zmq.POLLIN)
        while True:
            for ready, _flags in poller.poll():
                if ready == wake:
                    os.eventfd_read(wake)
                    while not done.empty():
                        sock.send_multipart(done.get())
                else:
                    taken.put(sock.recv_multipart())


def plain_decode(events: list[bytes]) -> float:
    """Seconds of `bson.decode` of each event in a loop that drops what it decodes."""
    import bson

    began = time.perf_counter()
    for event in events:
        bson.decode(event)
    return time.perf_counter() - began
