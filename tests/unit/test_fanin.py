"""The balancer's PULL doors: joined or not, in turn, and waiting while the servers do."""

from collections.abc import Iterator

import bson
import pytest
import zmq

from waiting import wait_until
from zarkov.ingest import fanin
from zarkov.ingest.fanin import FanIn

ONE = bson.encode({"type": "nop"})


class Bench:
    """Clients' PUSH sockets in front of a door, servers' PULL sockets behind it."""

    def __init__(self, *, joins: bool, servers: int = 1, hwm: int = 1000) -> None:
        self.context = zmq.Context()
        self.sockets: list[zmq.Socket[bytes]] = []
        front, back = self._socket(zmq.PULL, 10_000), self._socket(zmq.PUSH, hwm)
        front.bind("inproc://front")
        self.servers = [self._socket(zmq.PULL, hwm) for _ in range(servers)]
        for number, server in enumerate(self.servers):
            server.bind(f"inproc://server{number}")
            back.connect(f"inproc://server{number}")
        self.client = self._socket(zmq.PUSH, 10_000)
        self.client.connect("inproc://front")
        self.door = FanIn(front, back, joins=joins)

    def _socket(self, kind: int, hwm: int) -> "zmq.Socket[bytes]":
        socket = self.context.socket(kind)
        socket.linger = 0
        socket.set_hwm(hwm)
        self.sockets.append(socket)
        return socket

    def got(self, server: int = 0) -> list[list[bytes]]:
        found = []
        while self.servers[server].poll(50):
            found.append(self.servers[server].recv_multipart())
        return found


@pytest.fixture
def benches() -> Iterator[list[Bench]]:
    made: list[Bench] = []
    yield made
    for bench in made:
        bench.context.destroy(linger=0)


def test_single_events_are_joined_and_nothing_is_changed_in_them(benches: list[Bench]) -> None:
    benches.append(bench := Bench(joins=True))
    events = [bson.encode({"type": "nop", "extra": number}) for number in range(1200)]
    for each in events:
        bench.client.send(each)
    wait_until(lambda: not bench.door.turn())
    got = bench.got()
    assert len(got) < 10
    assert b"".join(frame for frames in got for frame in frames) == b"".join(events)
    assert all(len(frames) == 1 for frames in got)


@pytest.mark.parametrize(
    "odd", [[b""], [b"garbage"], [ONE + ONE], [ONE[:-1]], [b"two", ONE], [b"x" * (fanin.JOINED_BYTES_MAX + 1)]]
)
def test_what_is_not_one_event_goes_alone_and_in_its_place(benches: list[Bench], odd: list[bytes]) -> None:
    benches.append(bench := Bench(joins=True))
    for frames in ([ONE], [ONE], odd, [ONE]):
        bench.client.send_multipart(frames)
    wait_until(lambda: not bench.door.turn())
    assert bench.got() == [[ONE + ONE], odd, [ONE]]


def test_a_joined_message_is_bounded(benches: list[Bench]) -> None:
    benches.append(bench := Bench(joins=True))
    large = bson.encode({"type": "nop", "extra": b"x" * 40_000})
    for _ in range(10):
        bench.client.send(large)
    wait_until(lambda: not bench.door.turn())
    assert [len(frames[0]) for frames in bench.got()] == [2 * len(large)] * 5


def test_json_is_passed_on_as_it_comes(benches: list[Bench]) -> None:
    benches.append(bench := Bench(joins=False))
    sent = [[b'{"type": "a"}'], [b"[1]", b"[2]"], [b""]]
    for frames in sent:
        bench.client.send_multipart(frames)
    wait_until(lambda: not bench.door.turn())
    assert bench.got() == sent


def test_servers_get_messages_in_turn(benches: list[Bench]) -> None:
    benches.append(bench := Bench(joins=False, servers=2))
    for number in range(100):
        bench.client.send(b"%d" % number)
    wait_until(lambda: not bench.door.turn())
    shares = [bench.got(0), bench.got(1)]
    assert [len(share) for share in shares] == [50, 50]


def test_a_door_waits_while_the_servers_take_nothing_and_then_goes_on(benches: list[Bench]) -> None:
    benches.append(bench := Bench(joins=False, hwm=5))
    sent = [b"%d" % number for number in range(100)]
    for each in sent:
        bench.client.send(each)
    wait_until(lambda: bench.door.turn() or bench.door.is_blocked)
    wait_until(lambda: not bench.door.turn() and bench.door.is_blocked)
    assert bench.door.passed_on < 100
    got: list[bytes] = []

    def all_came() -> bool:
        bench.door.turn()
        got.extend(frames[0] for frames in bench.got())
        return len(got) == 100

    wait_until(all_came)
    assert got == sent
    assert not bench.door.is_blocked
