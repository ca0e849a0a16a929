"""Moves messages between the outbox and its socket, without ever waiting."""

from __future__ import annotations

import zmq

from zarkov.client.connection import POLLIN, POLLOUT, Connection
from zarkov.client.frames import parse
from zarkov.client.outbox import Outbox
from zarkov.errors import BadFrame


class Pump:
    """Not thread safe.

    `exchange` ends with asking the socket for its events after the last send and getting "nothing to read". Only
    then does the socket's file descriptor announce the next answer: it is edge-triggered.
    """

    def __init__(self, connection: Connection, outbox: Outbox) -> None:
        self._connection, self._outbox = connection, outbox
        self.faults: list[BadFrame] = []
        #: Something is due that the socket did not take: there is no connection.
        self.is_blocked = False

    def exchange(self, now: float) -> None:
        """Send what is due and take every answer that is there.

        A message that the socket does not take counts as sent and lost: it is due again after a new connection, or
        after the silence.
        """
        for is_up in self._connection.changes():
            if is_up:
                self._outbox.connected(now)
            else:
                self._outbox.disconnected()
        self._send(now)
        while self._receive(now):
            self._send(now)

    def _send(self, now: float) -> None:
        self.is_blocked = False
        if self._outbox.keep_at <= now:
            self._outbox.keep(now)
        if self._outbox.wake_at() > now:
            return
        if not self._connection.events & POLLOUT:
            self.is_blocked = True
            return
        while (message := self._outbox.next_message(now)) is not None:
            try:
                self._connection.send(message)
            except zmq.Again:
                self.is_blocked = True
                return

    def _receive(self, now: float) -> bool:
        received = False
        while self._connection.events & POLLIN:
            received = True
            try:
                self._outbox.answered(parse(self._connection.receive()), now)
            except zmq.Again:  # The connection was lost in between, and the message with it.
                return True
            except BadFrame as fault:
                self.faults.append(fault)
        return received
