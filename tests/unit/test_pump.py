"""The pump on a connection that behaves as ZeroMQ's at its worst: what announces an answer is easily taken away."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import cast

import bson
import pytest
import zmq

from zarkov.client.connection import POLLIN, POLLOUT, Connection
from zarkov.client.limits import Limits
from zarkov.client.outbox import Outbox
from zarkov.client.pump import Pump
from zarkov.ingest import protocol

Frames = list[bytes]


class EdgeConnection:
    """Every call takes in what has arrived, and with it the descriptor's sign that something has.

    `arrived` is what the descriptor announces; `readable` is what only asking for the events tells of. The server's
    answer to a message arrives while the message is still being sent.
    """

    def __init__(self, answer: Callable[[Frames], Frames | None]) -> None:
        self.answer = answer
        self.happened = [True]
        self.sent: list[Frames] = []
        self.arrived: deque[Frames] = deque()
        self.readable: deque[Frames] = deque()
        self.takes_messages = True
        self.raises_again = False

    def changes(self) -> list[bool]:
        found, self.happened = self.happened, []
        return found

    @property
    def events(self) -> int:
        self._take_in()
        return (POLLIN if self.readable else 0) | (POLLOUT if self.takes_messages else 0)

    def send(self, frames: Frames) -> None:
        if self.raises_again:
            raise zmq.Again
        self.sent.append(frames)
        answer = self.answer(frames)
        if answer is not None:
            self.arrived.append(answer)
        self._take_in()

    def receive(self) -> Frames:
        self._take_in()
        return self.readable.popleft()

    def commands(self) -> list[bytes]:
        return [frames[1] for frames in self.sent]

    def _take_in(self) -> None:
        self.readable += self.arrived
        self.arrived.clear()


def honest(frames: Frames) -> Frames | None:
    if frames[1] == b"HELLO":
        return protocol.welcome("j", 0, window_max=2, batch_bytes_max=1000, batch_events_max=1, event_bytes_max=1000)
    return [b"ZK1", b"ACK", frames[3], bson.encode({"journal": "j", "first": 0, "count": 1})]


def pumping() -> tuple[Pump, EdgeConnection, Outbox]:
    outbox = Outbox(b"p", Limits(batch_events_max=1), lambda: 1.0)
    connection = EdgeConnection(honest)
    return Pump(cast(Connection, connection), outbox), connection, outbox


def test_no_answer_is_left_that_nothing_announces() -> None:
    pump, connection, outbox = pumping()
    for number in range(10):
        outbox.add(bson.encode({"n": number}), 0.0)
    pump.exchange(0.0)
    assert not connection.readable
    assert outbox.pending_events == 0
    assert connection.commands() == [b"HELLO"] + [b"BATCH"] * 10


def test_nothing_is_sent_while_the_socket_takes_nothing() -> None:
    pump, connection, outbox = pumping()
    connection.takes_messages = False
    outbox.add(bson.encode({}), 0.0)
    pump.exchange(0.0)
    assert pump.is_blocked
    assert connection.sent == []
    connection.takes_messages = True
    pump.exchange(0.0)
    assert not pump.is_blocked
    assert outbox.pending_events == 0


def test_what_the_socket_did_not_take_after_all_is_sent_again_on_a_new_connection() -> None:
    pump, connection, outbox = pumping()
    pump.exchange(0.0)
    connection.raises_again = True
    outbox.add(bson.encode({}), 0.0)
    pump.exchange(0.0)
    assert pump.is_blocked
    assert outbox.in_flight == 1
    connection.raises_again = False
    connection.happened = [False, True]
    pump.exchange(1.0)
    assert outbox.pending_events == 0
    assert connection.commands() == [b"HELLO", b"HELLO", b"BATCH"]


def test_what_cannot_be_read_is_a_fault_and_what_follows_it_is_taken() -> None:
    pump, connection, outbox = pumping()
    outbox.add(bson.encode({}), 0.0)
    connection.arrived.extend([[b"garbage"], [b"ZK1", b"ACK", b"7", b""]])
    pump.exchange(0.0)
    assert len(pump.faults) == 2
    assert outbox.pending_events == 0


@pytest.mark.parametrize("happened", [[False], [True, False]])
def test_without_a_connection_nothing_is_sent(happened: list[bool]) -> None:
    pump, connection, outbox = pumping()
    pump.exchange(0.0)
    connection.happened = happened
    outbox.add(bson.encode({}), 0.0)
    pump.exchange(1000.0)
    assert connection.commands() == [b"HELLO"]
    assert outbox.pending_events == 1
