"""What the acknowledging link waits for: the socket to the server whose turn it is, and a word from another thread.

Theory of operation. Two threads may wait at a time, both outside the link's lock: the driver in `drive`, and the
link's own in `rest`. All else happens with the lock held. When the turn goes to another server, the socket is
replaced at once, and both are woken; the old socket is closed by `tidy`, which the link's thread calls while nobody
drives: then nobody waits for the old descriptors any more.
"""

from __future__ import annotations

import contextlib
import logging
import math
import os
import select
import socket

import zmq

from zarkov.client.connection import Connection
from zarkov.client.failover import Failover
from zarkov.client.keys import Keys
from zarkov.client.outbox import NEVER, Outbox
from zarkov.client.pump import Pump
from zarkov.errors import BadFrame

logger = logging.getLogger(__name__)

_SEND_QUEUE_MAX = 1000  # messages; the server's window is far below
_BLOCKED_S = 0.05  # how soon a message is offered again that the socket did not take
_FAULT_S = 0.5  # how soon to look after a connection that the server's keys keep from being made


class Line:
    """Not thread safe, but for `drive`, `rest`, `wake` and `nudge`.

    Raises: ConfigError: an address is none that ZeroMQ can connect to.
    """

    def __init__(self, addresses: tuple[str, ...], outbox: Outbox, keys: Keys | None) -> None:
        self._turns = Failover(addresses, outbox.limits.failover_s)
        self._outbox, self._keys = outbox, keys
        for address in addresses[1:]:
            self._made(address).close(0)
        self._retired: list[Connection] = []
        self._connect(self._made(addresses[0]))
        self._nudge = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._woken, self._waking = socket.socketpair()
        self._woken.setblocking(False)
        self._waking.setblocking(False)
        self._register()

    def _made(self, address: str) -> Connection:
        return Connection(zmq.DEALER, address, send_queue_max=_SEND_QUEUE_MAX, keys=self._keys)

    def _connect(self, connection: Connection) -> None:
        self._connection, self._pump = connection, Pump(connection, self._outbox)

    def _register(self) -> None:
        connection = self._connection
        self.driver = _poller(connection.socket_fd, connection.monitor_fd, self._nudge)
        self._idle = _poller(self._woken.fileno(), connection.monitor_fd)
        self._busy = _poller(self._woken.fileno(), connection.monitor_fd, connection.socket_fd)

    # With the lock held.

    @property
    def fault(self) -> str:
        """Why there is no connection, where the server's answer says so; "" otherwise."""
        return self._connection.fault

    def exchange(self, now: float) -> list[BadFrame]:
        """Move what can be moved, without waiting; the answers that could not be read."""
        self._pump.exchange(now)
        outbox, turns = self._outbox, self._turns
        if len(turns.addresses) > 1:
            silent = turns.address
            if turns.look(now, owes=outbox.awaits_answer(now), answers=outbox.counters.answers):
                logger.warning("server does not answer address=%s next=%s", silent, turns.address)
                self._turn(now)
        faults, self._pump.faults = self._pump.faults, []
        return faults

    def _turn(self, now: float) -> None:
        self._retired.append(self._connection)
        self._outbox.disconnected()
        self._connect(self._made(self._turns.address))
        self._register()
        self._pump.exchange(now)
        self.nudge()
        self.wake()

    def due_at(self, now: float) -> float:
        """When to exchange messages again, if nothing happens before."""
        outbox = self._outbox
        at = min(now + _BLOCKED_S, outbox.keep_at) if self._pump.is_blocked else outbox.wake_at()
        if self._connection.fault:
            at = min(at, now + _FAULT_S)
        return min(at, self._turns.due_at)

    def tidy(self) -> None:
        """Close the sockets that lost their turn."""
        while self._retired:
            self._retired.pop().close(0)

    def close(self) -> None:
        """Nobody may wait any more."""
        self.tidy()
        self._connection.close(0)
        self._close_wakers()

    def disown(self) -> None:
        """In a forked child: leave the parent's sockets alone."""
        for connection in (*self._retired, self._connection):
            connection.disown()
        self._close_wakers()

    # Without the lock.

    def drive(self, wait_s: float) -> None:
        """Wait for the socket, or a nudge."""
        self.driver.poll(math.ceil(wait_s * 1000))

    def nudge(self) -> None:
        """End the driver's wait."""
        os.eventfd_write(self._nudge, 1)

    def forget_nudges(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.eventfd_read(self._nudge)

    def rest(self, wait_s: float, *, for_answers: bool) -> None:
        """Wait for the connection to change, for answers, or to be woken."""
        poller = self._busy if for_answers else self._idle
        poller.poll(None if wait_s == NEVER else math.ceil(wait_s * 1000))
        try:
            while len(self._woken.recv(4096)) == 4096:
                pass
        except BlockingIOError:
            return

    def wake(self) -> None:
        """End the wait of `rest`."""
        try:
            self._waking.send(b"\0")
        except BlockingIOError:  # It has been woken many times over.
            return

    def _close_wakers(self) -> None:
        self._woken.close()
        self._waking.close()
        os.close(self._nudge)


def _poller(*descriptors: int) -> select.poll:
    # Not zmq.Poller: of this one gevent's patches know, whose greenlets a wait in C would hold up, all of them.
    poller = select.poll()
    for descriptor in descriptors:
        poller.register(descriptor, select.POLLIN)
    return poller
