"""The balancer's acknowledging channel: requests to their home, answers back, and nobody held up for long."""

from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest
import zmq

from waiting import wait_until
from zarkov.ingest.rendezvous import home_of
from zarkov.ingest.switchboard import STALLED_S, Line, Switchboard

FIRST, SECOND = (
    next(b"p%d" % number for number in count() if home_of(b"p%d" % number, 2) == home) for home in (0, 1)
)
SEQUENCE = (1).to_bytes(8, "big")


class Exchange:
    """A switchboard between a client and two servers, moved by hand."""

    def __init__(self, folder: Path) -> None:
        self.context = zmq.Context()
        self.now = 0.0
        self.front = self.socket(zmq.ROUTER)
        self.front.router_mandatory = True
        self.front.bind("inproc://front")
        self.client = self.socket(zmq.DEALER)
        self.client.connect("inproc://front")
        self.servers: list[zmq.Socket[bytes]] = []
        self.paths = [f"ipc://{folder}/{number}" for number in range(2)]
        lines = []
        for number, path in enumerate(self.paths):
            self.servers.append(self.bind(path))
            dealer = self.socket(zmq.DEALER)
            dealer.sndhwm = 1
            dealer.sndbuf = 4096
            line = Line(number, dealer)
            dealer.connect(path)
            lines.append(line)
        self.board = Switchboard(lines, clock=lambda: self.now)
        for line in lines:
            wait_until(lambda line=line: self.look(line))

    def bind(self, path: str) -> "zmq.Socket[bytes]":
        server = self.socket(zmq.ROUTER)
        server.rcvhwm = 1
        server.bind(path)
        return server

    @staticmethod
    def look(line: Line) -> bool:
        line.look()
        return line.is_up

    def socket(self, kind: int) -> "zmq.Socket[bytes]":
        made = self.context.socket(kind)
        made.linger = 0
        return made

    def ask(self, *frames: bytes) -> None:
        self.client.send_multipart([b"ZK1", *frames])
        wait_until(lambda: self.front.poll(10))
        self.board.pass_requests(self.front)

    def close(self) -> None:
        for line in self.board.lines:
            line.close()
        self.context.destroy(linger=0)


@pytest.fixture
def exchange(tmp_path: Path) -> Iterator[Exchange]:
    made = Exchange(tmp_path)
    yield made
    made.close()


@pytest.mark.parametrize(("producer", "home"), [(FIRST, 0), (SECOND, 1)])
def test_a_request_meets_its_home_and_the_answer_its_client(exchange: Exchange, producer: bytes, home: int) -> None:
    exchange.ask(b"BATCH", producer, SEQUENCE, b"events")
    server = exchange.servers[home]
    assert server.poll(5_000)
    message = server.recv_multipart()
    assert message[2:] == [b"ZK1", b"BATCH", producer, SEQUENCE, b"events"]
    server.send_multipart([*message[:2], b"ZK1", b"ACK", SEQUENCE, b"document"])
    line = exchange.board.lines[home]
    assert line.socket.poll(5_000)
    assert exchange.board.unanswered == 1
    exchange.board.pass_answers(exchange.front, line)
    assert exchange.client.recv_multipart() == [b"ZK1", b"ACK", SEQUENCE, b"document"]
    assert exchange.board.unanswered == 0


def test_what_is_no_request_is_answered_at_once(exchange: Exchange) -> None:
    exchange.client.send_multipart([b"nonsense"])
    wait_until(lambda: exchange.front.poll(10))
    exchange.board.pass_requests(exchange.front)
    assert exchange.client.recv_multipart()[:2] == [b"ZK1", b"NACK"]


def test_requests_for_a_server_that_is_gone_are_dropped_and_others_pass(exchange: Exchange) -> None:
    gone = exchange.board.lines[0]
    exchange.servers[0].close(0)
    wait_until(lambda: not exchange.look(gone))
    exchange.ask(b"BATCH", FIRST, SEQUENCE, b"events")
    assert exchange.board.waits_for is None
    assert exchange.board.dropped == 1
    exchange.ask(b"BATCH", SECOND, SEQUENCE, b"events")
    assert exchange.servers[1].poll(5_000)


def fill(exchange: Exchange) -> None:
    """Send to the first server, which reads nothing, until a request for it is held."""
    for number in range(1, 1_000):
        exchange.ask(b"BATCH", FIRST, number.to_bytes(8, "big"), b"x" * 100_000)
        if exchange.board.waits_for is not None:
            return
    raise AssertionError("the queue has no end")


def test_a_server_that_takes_nothing_holds_the_others_up_for_a_bounded_time(exchange: Exchange) -> None:
    fill(exchange)
    assert exchange.board.waits_for is exchange.board.lines[0]
    exchange.now += STALLED_S / 2
    exchange.board.try_held()
    assert exchange.board.waits_for is exchange.board.lines[0]
    exchange.now += STALLED_S / 2
    exchange.board.try_held()
    assert exchange.board.waits_for is None
    dropped = exchange.board.dropped
    for _ in range(1_000):  # The kernel's buffers may have grown a little meanwhile.
        exchange.ask(b"BATCH", FIRST, SEQUENCE, b"x" * 100_000)
        assert exchange.board.waits_for is None, "it is stalled: nobody waits for it again"
        if exchange.board.dropped > dropped:
            break
    assert exchange.board.dropped == dropped + 1
    exchange.ask(b"BATCH", SECOND, SEQUENCE, b"events")
    assert exchange.servers[1].poll(5_000)


def test_a_request_that_was_held_passes_when_the_server_reads_again(exchange: Exchange) -> None:
    fill(exchange)

    def reads_all() -> bool:
        while exchange.servers[0].poll(10):
            exchange.servers[0].recv_multipart()
        exchange.board.try_held()
        return exchange.board.waits_for is None

    wait_until(reads_all)
    assert exchange.board.dropped == 0


def test_at_the_stop_requests_are_refused_the_held_one_too(exchange: Exchange) -> None:
    fill(exchange)
    exchange.client.send_multipart([b"ZK1", b"BATCH", SECOND, SEQUENCE, b"events"])
    wait_until(lambda: exchange.front.poll(10))
    exchange.board.refuse_requests(exchange.front)
    assert [exchange.client.recv_multipart()[:2] for _ in range(2)] == [[b"ZK1", b"NACK"]] * 2
    assert exchange.board.waits_for is None
