"""The balancer's PULL sockets: what comes in goes on to the event server that has room, in turn.

Theory of operation. A message is in one place: libzmq's queue in front, `_held`, or libzmq's queue for one of the
servers. While the servers' queues are full nothing is taken in front, so a client that sends too fast waits, as it
would before a single server. The queue for a server that is down fills up (BALANCED_HWM messages), is kept for
it, and is then passed over.

Small BSON events are joined on the way: a message may hold several, and one for a few hundred costs the event
server a fraction of receiving each. Only what is one event by its own length is joined, so a message that is none is
refused as it would have been; JSON is passed on as it comes.
"""

from __future__ import annotations

from collections import deque

import zmq

from zarkov.ingest.sockets import Socket

_NOBLOCK = int(zmq.NOBLOCK)
_RCVMORE = int(zmq.RCVMORE)
_LENGTH_BYTES = 4
#: Events, and their bytes, that are joined into one message.
JOINED_MAX = 500
JOINED_BYTES_MAX = 64 * 1024
#: Messages passed on before the other sockets have their turn.
TURN_MESSAGES_MAX = 32

Frames = list[bytes]


class FanIn:
    """One door. Not thread safe.

    Args:   front: the PULL socket that clients send to; back: a PUSH socket connected to every server.
    """

    def __init__(self, front: Socket, back: Socket, *, joins: bool) -> None:
        self.front, self.back = front, back
        self.passed_on = 0  # messages, as the servers get them
        self._take = self._take_joined if joins else self._take_single
        self._held: deque[Frames] = deque()  # taken, and not yet with libzmq again: at most two

    @property
    def is_blocked(self) -> bool:
        """Whether the servers take nothing more for now: `back` is to be watched, and not `front`."""
        return bool(self._held)

    def turn(self) -> bool:
        """Pass on what is there, up to a turn's worth. Returns: whether anything moved."""
        before = self.passed_on
        for _ in range(TURN_MESSAGES_MAX):
            if not self._held and not self._take():
                break
            if not self._send_held():
                break
        return self.passed_on > before

    def _send_held(self) -> bool:
        while self._held:
            try:
                self.back.send_multipart(self._held[0], _NOBLOCK)
            except zmq.Again:
                return False
            self._held.popleft()
            self.passed_on += 1
        return True

    def _take_single(self) -> bool:
        try:
            self._held.append(self.front.recv_multipart(_NOBLOCK))
        except zmq.Again:
            return False
        return True

    def _take_joined(self) -> bool:
        """Take a run of single events as one message, up to what is none of them."""
        receive, from_bytes = self.front.recv, int.from_bytes
        run: list[bytes] = []
        apart: Frames = []
        left = JOINED_BYTES_MAX
        try:
            while left > 0 and len(run) < JOINED_MAX:
                frame = receive(_NOBLOCK)
                size = len(frame)
                if from_bytes(frame[:_LENGTH_BYTES], "little") == size > _LENGTH_BYTES:
                    run.append(frame)
                    left -= size
                else:
                    apart.append(frame)
                    while self.front.getsockopt(_RCVMORE):
                        apart.append(receive(_NOBLOCK))
                    break
        except zmq.Again:
            pass
        if run:
            self._held.append([b"".join(run) if len(run) > 1 else run[0]])
        if apart:
            self._held.append(apart)
        return bool(self._held)
