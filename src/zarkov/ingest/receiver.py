"""The PULL sockets: events as BSON or as JSON, sent without waiting for an answer.

Theory of operation. One greenlet a socket takes everything that is there at one go, without blocking, and hands it
to the journal as one entry; then it lets the others run. It does not read while too much is pending (`Handoff`):
libzmq's queue fills, then TCP's, then the client's, and its `send` blocks. What a message's frames hold is either
an event of the journal or kept in `rejected`.

A message of several frames is refused as one (`multipart`). On the BSON socket it is noticed by its first frame that
is not an event: frames that are events, every one, are taken as if each had been a message. (Asking libzmq after
each frame would cost more than receiving it.)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

import gevent
import zmq

from zarkov.batch import Entry, Rejection, Summary
from zarkov.errors import ZarkovError
from zarkov.ingest.handoff import Handoff
from zarkov.ingest.intake import Intake, Refused, Taken
from zarkov.ingest.readiness import WAIT_S_MAX, Readiness
from zarkov.metrics import Metrics
from zarkov.position import OffsetRange

_NOBLOCK = int(zmq.NOBLOCK)
_RCVMORE = int(zmq.RCVMORE)
#: Bytes taken from a socket at one go, about: what one drain may hold the other greenlets up with.
DRAIN_BYTES_MAX = 4 * 1024 * 1024
_LENGTH_BYTES = 4

#: A PULL socket's name in `rejected`, and how its bytes are read.
Source = Literal["bson", "json"]

#: Told of events that are synced: their bytes, and their types if those are known.
Stored = Callable[[bytes, Summary], None]


@dataclass(slots=True)
class Drained:
    """What was on a socket. `exact`: every message is as long as its BSON length says."""

    messages: list[bytes] = field(default_factory=list)
    multiparts: list[bytes] = field(default_factory=list)
    exact: bool = True


def drain_bson(socket: zmq.Socket[bytes], messages_max: int, bytes_max: int = DRAIN_BYTES_MAX) -> Drained:
    """Take what is there, without waiting."""
    drained = Drained()
    receive, keep = socket.recv, drained.messages.append
    from_bytes = int.from_bytes
    left = bytes_max
    try:
        for _ in range(messages_max):
            message = receive(_NOBLOCK)
            size = len(message)
            if from_bytes(message[:_LENGTH_BYTES], "little") == size > _LENGTH_BYTES:
                keep(message)
            elif socket.getsockopt(_RCVMORE):
                drained.multiparts.append(_whole(socket, message))
            else:
                drained.exact = False
                keep(message)
            left -= size
            if left < 0:
                break
    except zmq.Again:
        pass
    return drained


def drain_json(socket: zmq.Socket[bytes], messages_max: int, bytes_max: int = DRAIN_BYTES_MAX) -> Drained:
    """Take what is there, without waiting."""
    drained = Drained(exact=False)
    left = bytes_max
    try:
        for _ in range(messages_max):
            message = socket.recv(_NOBLOCK)
            if socket.getsockopt(_RCVMORE):
                drained.multiparts.append(_whole(socket, message))
            else:
                drained.messages.append(message)
            left -= len(message)
            if left < 0:
                break
    except zmq.Again:
        pass
    return drained


def _whole(socket: zmq.Socket[bytes], first: bytes) -> bytes:
    """All the frames of a message, joined, of which the first was received."""
    frames = [first]
    while socket.getsockopt(_RCVMORE):
        frames.append(socket.recv(_NOBLOCK))
    return b"".join(frames)


def rejections_of(refused: Sequence[Refused], source: str, at_ms: int) -> list[Rejection]:
    return [Rejection(at_ms, source, one.code, one.reason, one.data) for one in refused]


class Receiver:
    """One PULL socket's greenlet. `source` names the door in `rejected`, and says how its bytes are to be read."""

    def __init__(
        self,
        socket: zmq.Socket[bytes],
        source: Source,
        intake: Intake,
        handoff: Handoff,
        *,
        messages_max: int,
        metrics: Metrics,
        now_ms: Callable[[], int],
        stored: Stored,
    ) -> None:
        self._socket = socket
        self._source = source
        self._intake = intake
        self._handoff = handoff
        self._messages_max = messages_max
        self._now_ms = now_ms
        self._stored = stored
        self._readiness = Readiness(socket)
        self._is_stopping = False
        self._drain = drain_bson if source == "bson" else drain_json
        self._received = metrics.counter("events_received", "events that came in, whatever became of them")
        self._rejected = metrics.counter("events_rejected", "events refused, and kept in `rejected`")
        self._duplicates = metrics.counter("events_duplicate", "retries of events that were stored already")
        self._bytes = metrics.counter("bytes_received", "bytes of events that came in")

    def run(self) -> None:
        """The greenlet's body: returns after `stop`."""
        handoff = self._handoff
        while not self._is_stopping:
            if handoff.is_full or not handoff.has_room:
                handoff.wait_for_change(WAIT_S_MAX)
            elif self.take_once():
                gevent.sleep(0)
            else:
                self._readiness.wait()

    def stop(self) -> None:
        self._is_stopping = True
        self._readiness.poke()

    def close(self) -> None:
        self._readiness.close()
        self._socket.close()

    def take_once(self) -> bool:
        """Hand what is on the socket to the journal; False when there is nothing."""
        drained = self._drain(self._socket, self._messages_max)
        if not drained.messages and not drained.multiparts:
            return False
        refused = [Refused(0, "multipart", "a message has one frame", data) for data in drained.multiparts]
        if drained.messages:
            taken = self._take(drained)
            refused += taken.refused
            self._duplicates.add(len(taken.duplicates))
            self._received.add(taken.received)
        self._received.add(len(drained.multiparts))
        self._rejected.add(len(refused))
        self._handoff.reject(rejections_of(refused, self._source, self._now_ms()))
        return True

    def _take(self, drained: Drained) -> Taken:
        self._bytes.add(sum(map(len, drained.messages)))
        if self._source == "bson":
            taken = self._intake.take_bson(drained.messages, exact=drained.exact)
        else:
            taken = self._intake.take_json(drained.messages)
        if taken.summary is not None:
            entry = Entry(taken.data, taken.count, taken.summary)
            self._handoff.store(entry, self._done(entry, taken))
        return taken

    def _done(self, entry: Entry, taken: Taken) -> Callable[[OffsetRange | None, ZarkovError | None], None]:
        def done(offsets: OffsetRange | None, error: ZarkovError | None) -> None:
            if error is None and entry.summary is not None:
                self._intake.recent.settle(taken.oids)
                self._stored(entry.data, entry.summary)

        return done
