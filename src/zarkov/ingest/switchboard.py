"""The balancer's acknowledging channel: each producer's requests to its event server, and the answers back.

Theory of operation. Clients connect to a ROUTER socket, and a DEALER socket is connected to each event server. A
request goes to the home of its producer (`rendezvous`) with the client's identity in front, after ROUTE_MARK; the
server gives back what stands before the request, so an answer finds its client without anything being remembered.
What is no request of a producer goes to the home of the client's identity.

A request is never kept here but one: when a server that is connected takes no more, the request for it is held and
no other is read until the server has room (clients wait, as before a single server), at most STALLED_S. After that
the server counts as stalled, and its requests are dropped until it takes one again; so are those for a server that
is down. Their producers hear nothing and send them again. An answer to a client that is gone or does not read is
dropped, too. So a crash of the balancer loses nothing that was acknowledged and doubles nothing: all that is known
of a batch is in its journal.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import zmq
from zmq.utils.monitor import parse_monitor_message

from zarkov.errors import BadFrame, ShuttingDown, ZarkovError
from zarkov.ingest import protocol
from zarkov.ingest.rendezvous import Homes
from zarkov.ingest.sockets import Socket

logger = logging.getLogger(__name__)

_NOBLOCK = int(zmq.NOBLOCK)
#: Requests, or answers of one server, passed on before the other sockets have their turn.
TURN_MESSAGES_MAX = 256
#: How long a server that takes nothing holds up the requests for the others.
STALLED_S = 2.0
#: Stands before an identity, which could otherwise be taken for the first frame of a request.
ROUTE_MARK = b"@"
_NUMBERED = frozenset({b"HELLO", b"BATCH", b"BATCHJ"})
_WATCHED = int(zmq.EVENT_HANDSHAKE_SUCCEEDED | zmq.EVENT_DISCONNECTED)

Frames = list[bytes]


class Line:
    """The way to one event server: a DEALER socket, and whether the server is there."""

    def __init__(self, number: int, socket: Socket) -> None:
        self.number, self.socket = number, socket
        self.monitor: Socket = socket.get_monitor_socket(_WATCHED)
        self.is_up = False
        self.is_stalled = False
        self.unanswered = 0  # requests since the line is up, less answers; a hint only

    def look(self) -> None:
        """Hear whether the connection was made or lost."""
        while int(self.monitor.getsockopt(zmq.EVENTS)) & zmq.POLLIN:
            event = parse_monitor_message(self.monitor.recv_multipart(_NOBLOCK))
            self.is_up = event["event"] == zmq.EVENT_HANDSHAKE_SUCCEEDED
            self.unanswered = 0
            (logger.info if self.is_up else logger.warning)(
                "event server %s server=%d", "connected" if self.is_up else "gone", self.number
            )

    def close(self) -> None:
        self.socket.disable_monitor()
        self.monitor.close(0)
        self.socket.close(0)


@dataclass(frozen=True, slots=True)
class _Held:
    line: Line
    message: Frames
    until_s: float


class Switchboard:
    """Not thread safe. `front` is made when clients are to be let in.

    `dropped`: requests and answers that were not passed on.
    """

    def __init__(self, lines: Sequence[Line], *, clock: Callable[[], float] = time.monotonic) -> None:
        self.lines = lines
        self.dropped = 0
        self._clock = clock
        self._homes = Homes(len(lines))
        self._held: _Held | None = None

    @property
    def waits_for(self) -> Line | None:
        """The line that a request is held for; nothing is to be read in front meanwhile."""
        return None if self._held is None else self._held.line

    @property
    def unanswered(self) -> int:
        """Requests that the servers have not answered yet, about."""
        return sum(max(0, line.unanswered) for line in self.lines)

    def pass_requests(self, front: Socket) -> None:
        """Pass on the requests that are there, up to a turn's worth."""
        for _ in range(TURN_MESSAGES_MAX):
            if self._held is not None:
                return
            try:
                self._pass(front, *_split(front.recv_multipart(_NOBLOCK)))
            except zmq.Again:
                return

    def refuse_requests(self, front: Socket) -> None:
        """Answer the requests that are there with NACK shutting_down; the one that is held, too."""
        held, self._held = self._held, None
        if held is not None:
            route, request = _split(held.message)
            self._nack(front, route[len(ROUTE_MARK) :], request, ShuttingDown("the server is stopping"))
        for _ in range(TURN_MESSAGES_MAX):
            try:
                identity, request = _split(front.recv_multipart(_NOBLOCK))
            except zmq.Again:
                return
            self._nack(front, identity, request, ShuttingDown("the server is stopping"))

    def pass_answers(self, front: Socket, line: Line) -> None:
        """Pass on a server's answers that are there, up to a turn's worth."""
        for _ in range(TURN_MESSAGES_MAX):
            try:
                route, answer = _split(line.socket.recv_multipart(_NOBLOCK))
            except zmq.Again:
                return
            line.unanswered -= 1
            if route.startswith(ROUTE_MARK):
                self._answer(front, route[len(ROUTE_MARK) :], answer)

    def try_held(self) -> None:
        """Pass on the request that is held, if its server takes it; give it up when it was held long enough."""
        held = self._held
        if held is None:
            return
        if self._send(held.line, held.message):
            self._held = None
        elif not held.line.is_up or self._clock() >= held.until_s:
            self._held = None
            self.dropped += 1
            if held.line.is_up:
                held.line.is_stalled = True
                logger.warning("event server takes nothing server=%d for_s=%.1f", held.line.number, STALLED_S)

    def _pass(self, front: Socket, identity: bytes, request: Frames) -> None:
        if request[:1] != [protocol.MAGIC]:
            magic = protocol.MAGIC.decode()
            self._nack(front, identity, request, BadFrame(f"a request begins with the frame {magic}"))
            return
        is_numbered = len(request) > 2 and request[1] in _NUMBERED
        line = self.lines[self._homes.of(request[2] if is_numbered else identity)]
        message = [ROUTE_MARK + identity, *request]
        if self._send(line, message):
            return
        if line.is_up and not line.is_stalled:
            self._held = _Held(line, message, self._clock() + STALLED_S)
        else:
            self.dropped += 1

    def _send(self, line: Line, message: Frames) -> bool:
        if not line.is_up:
            line.look()  # It may have come up since.
            if not line.is_up:
                return False
        try:
            line.socket.send_multipart(message, _NOBLOCK)
        except zmq.Again:
            return False
        line.unanswered += 1
        line.is_stalled = False
        return True

    def _nack(self, front: Socket, identity: bytes, request: Frames, error: ZarkovError) -> None:
        self._answer(front, identity, protocol.nack(protocol.sequence_frame(request), error))

    def _answer(self, front: Socket, identity: bytes, answer: Frames) -> None:
        try:
            front.send_multipart([identity, *answer], _NOBLOCK)
        except zmq.ZMQError:  # EAGAIN: its queue is full; EHOSTUNREACH: it is gone.
            self.dropped += 1


def _split(message: Frames) -> tuple[bytes, Frames]:
    return message[0], message[1:]
