"""Balancer: one address for several event servers, each of which has its own journal.

Theory of operation. One thread moves everything that is to be kept in order or not to be lost: the two PULL doors
(`fanin`) and the acknowledging channel (`switchboard`). The live tail, which may lose events, runs in a native thread
(XSUB in front of every server, XPUB for subscribers). Clients are let in once every server is there, or
SERVERS_WAIT_S have passed: a server that is down must not keep the others from working.

The stop, in this order: what has arrived on the PULL sockets goes to the servers, until nothing comes for QUIET_S (or
for at most DRAIN_S); requests are answered "shutting down" meanwhile; the servers' last answers are passed on; the
queues for the servers are emptied. Then the connections to the servers end, and the servers, which wait for just
that, sync and end.

A crash loses what was in the balancer's queues of the PULL doors, as fire and forget allows, and nothing else.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress

import zmq

from zarkov.config import IngestSettings
from zarkov.config.settings import BALANCED_HWM
from zarkov.ingest import sockets
from zarkov.ingest.fanin import FanIn
from zarkov.ingest.sockets import Context, Socket
from zarkov.ingest.switchboard import Line, Switchboard
from zarkov.ingest.zap import LOOK_S, ZapHandler, ports_of
from zarkov.keyfiles import ServerKeys
from zarkov.metrics import Metrics

logger = logging.getLogger(__name__)

SERVERS_WAIT_S = 5.0
DRAIN_S = 5.0
QUIET_S = 0.1
#: Time that answers have to come when the balancer stops.
SETTLE_S = 2.0
#: Time that the queues for the servers have to empty when the balancer stops.
LINGER_MS = 5_000
_LOOK_MS = 100
_RECONNECT_MS, _RECONNECT_MS_MAX = 20, 200
_IN, _OUT = int(zmq.POLLIN), int(zmq.POLLOUT)


class Balancer:
    """One address for several event servers.

    Args:   settings: the addresses that clients see; servers: those of the event servers; keys: with them the sockets
            of clients let in only peers whose key is on the list; stop_fd: can be read once the balancer is to stop;
            on_ready: called when clients are let in.
    """

    def __init__(
        self,
        settings: IngestSettings,
        servers: Sequence[IngestSettings],
        *,
        keys: ServerKeys | None = None,
        stop_fd: int,
        on_ready: Callable[[], None] = lambda: None,
    ) -> None:
        self._settings, self._servers, self._keys = settings, servers, keys
        self._stop_fd, self._on_ready = stop_fd, on_ready
        self._poller = zmq.Poller()
        self._watched: dict[Socket | int, int] = {}
        self._doors: list[FanIn] = []
        self._front: Socket | None = None
        self._endpoints: list[str] = []
        self._zap: ZapHandler | None = None
        self._zap_looks_at = 0.0

    def run(self) -> None:
        """Serve until `stop_fd` can be read, then stop.

        Raises: KeyInvalid: the keys cannot be used; zmq.ZMQError: an address cannot be bound.
        """
        self._context: Context = zmq.Context()
        try:
            if self._keys is not None:
                self._zap = ZapHandler(self._context, self._keys, Metrics(), lambda: ports_of(self._endpoints))
                self._watch(self._zap.socket, _IN)
            lines = [self._line(number, server) for number, server in enumerate(self._servers)]
            self._switchboard = Switchboard(lines)
            self._watch(self._stop_fd, _IN)
            self._serve()
            if self._front is not None:
                self._drain(self._front)
        except BaseException:
            if self._front is None:
                self._context.destroy(linger=0)
            raise
        self._close()

    def _serve(self) -> None:
        opens_at = time.monotonic() + SERVERS_WAIT_S
        while True:
            ready = self._look(_LOOK_MS)
            if self._stop_fd in ready:
                return
            if self._front is not None:
                for door in self._doors:
                    door.turn()
                if self._front in ready:
                    self._switchboard.pass_requests(self._front)
            elif all(line.is_up for line in self._switchboard.lines) or time.monotonic() >= opens_at:
                self._open()

    def _look(self, timeout_ms: int) -> set[Socket | int]:
        """Wait for something to do; what concerns the servers is done at once."""
        front, switchboard = self._front, self._switchboard
        for door in self._doors:
            self._watch(door.front, 0 if door.is_blocked else _IN)
            self._watch(door.back, _OUT if door.is_blocked else 0)
        for line in switchboard.lines:
            is_waited_for = switchboard.waits_for is line
            self._watch(line.socket, (_IN if front is not None else 0) | (_OUT if is_waited_for else 0))
            self._watch(line.monitor, _IN)
        if front is not None:
            self._watch(front, _IN if switchboard.waits_for is None else 0)
        ready = {socket for socket, _ in self._poller.poll(timeout_ms)}
        if self._zap is not None and (self._zap.socket in ready or time.monotonic() >= self._zap_looks_at):
            self._zap.turn()
            self._zap_looks_at = time.monotonic() + LOOK_S
        for line in switchboard.lines:
            if line.monitor in ready:
                line.look()
            if front is not None and line.socket in ready:
                switchboard.pass_answers(front, line)
        switchboard.try_held()
        return ready

    def _watch(self, socket: Socket | int, events: int) -> None:
        if self._watched.get(socket, 0) != events:
            self._watched[socket] = events
            if events:
                self._poller.register(socket, events)
            else:
                self._poller.unregister(socket)

    def _open(self) -> None:
        """Let clients in."""
        settings, keys = self._settings, self._keys
        bson = sockets.bind_pull(self._context, settings.bson_bind_address, settings, keys=keys)
        json = sockets.bind_pull(self._context, settings.json_bind_address, settings, keys=keys)
        publish = sockets.bind_publish(self._context, settings.publish_bind_address, settings, keys=keys)
        self._doors = [
            FanIn(bson, self._push([server.bson_bind_address for server in self._servers]), joins=True),
            FanIn(json, self._push([server.json_bind_address for server in self._servers]), joins=False),
        ]
        tail = self._context.socket(zmq.XSUB)
        tail.set(zmq.RCVHWM, settings.publish_hwm)
        for server in self._servers:
            self._connect(tail, server.publish_bind_address)
        front = sockets.bind_router(self._context, settings.ack_bind_address, settings, keys=keys)
        self._endpoints = [each.getsockopt_string(zmq.LAST_ENDPOINT) for each in (bson, json, publish, front)]
        self._front = front
        threading.Thread(target=_relay, args=(tail, publish), name="live-tail", daemon=True).start()
        logger.info("listening for servers=%d", len(self._servers))
        self._on_ready()

    def _line(self, number: int, server: IngestSettings) -> Line:
        socket = self._context.socket(zmq.DEALER)
        socket.set(zmq.SNDHWM, server.window_max)
        socket.set(zmq.RCVHWM, sockets.ANSWERS_HWM)
        # Not IMMEDIATE: libzmq 4.3.5 aborts the process when such a connection is lost between two frames of an
        # answer. What is queued when a server is lost comes to it late, as a retry would.
        line = Line(number, socket)
        self._connect(socket, server.ack_bind_address)
        return line

    def _push(self, addresses: Sequence[str]) -> Socket:
        socket = self._context.socket(zmq.PUSH)
        socket.set(zmq.SNDHWM, BALANCED_HWM)
        for address in addresses:
            self._connect(socket, address)
        return socket

    def _connect(self, socket: Socket, address: str) -> None:
        socket.set(zmq.RECONNECT_IVL, _RECONNECT_MS)
        socket.set(zmq.RECONNECT_IVL_MAX, _RECONNECT_MS_MAX)
        socket.connect(address)

    def _drain(self, front: Socket) -> None:
        """Everything that has arrived goes to the servers, and their answers to the clients."""
        logger.info("stopping")
        self._watch(self._stop_fd, 0)
        # Not unbound: that would end the connections too, and lose what is on them.
        ends_at = time.monotonic() + DRAIN_S
        quiet_at = time.monotonic() + QUIET_S
        while time.monotonic() < min(quiet_at, ends_at):
            self._look(int(QUIET_S * 1000 / 4))
            self._switchboard.refuse_requests(front)
            moved = [door.turn() for door in self._doors]
            if any(moved) or any(door.is_blocked for door in self._doors):
                quiet_at = time.monotonic() + QUIET_S
        settled_at = time.monotonic() + SETTLE_S
        while self._switchboard.unanswered and time.monotonic() < settled_at:
            self._look(int(QUIET_S * 1000))
            self._switchboard.refuse_requests(front)

    def _close(self) -> None:
        """Close everything; returns when the queues for the servers are empty, or LINGER_MS have passed."""
        for door in self._doors:
            door.front.close(0)
            door.back.close(LINGER_MS)
        if self._front is not None:
            self._front.close(sockets.LINGER_MS)
        for line in self._switchboard.lines:
            line.close()
        if self._zap is not None:
            self._zap.close()
        self._context.term()
        logger.info("stopped dropped=%d", self._switchboard.dropped)


def _relay(tail: Socket, publish: Socket) -> None:
    """The live tail, until the context ends."""
    with suppress(zmq.ContextTerminated):
        zmq.proxy(tail, publish)
    tail.close(0)
    publish.close(0)
