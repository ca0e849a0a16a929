"""The XPUB socket: stored events as they are synced, for whoever listens.

A message has two frames: the event's type in UTF-8, which is also the topic, and the event as BSON, as stored. Events
are cut and decoded for publishing only while somebody subscribes to one of their types. Nothing here holds ingest up:
events beyond `PENDING_BYTES_MAX` waiting to be published are not published, and libzmq drops what a subscriber does
not read in time (`publish_hwm`). Whoever must see every event reads the journal.
"""

from __future__ import annotations

from collections import deque

import gevent
import zmq
from gevent.event import Event

from zarkov.batch import Summary
from zarkov.codec import decode_all, split
from zarkov.ingest.readiness import Readiness
from zarkov.metrics import Metrics

_NOBLOCK = int(zmq.NOBLOCK)
PENDING_BYTES_MAX = 16 * 1024 * 1024
#: Topics told apart; with more, every event is published.
TOPICS_MAX = 10_000
_SLICE = 250  # events between two turns of the other greenlets


class Publisher:
    """Publishes in a greenlet of its own, and watches who subscribes in another."""

    def __init__(self, socket: zmq.Socket[bytes], metrics: Metrics) -> None:
        self._socket = socket
        self._readiness = Readiness(socket)
        self._topics: set[bytes] = set()
        self._everything = False
        self._pending: deque[bytes] = deque()
        self._pending_bytes = 0
        self._offered = Event()
        self._published = metrics.counter("events_published", "events sent to the PUB socket")
        self._unpublished = metrics.counter("batches_unpublished", "batches not published: too much was waiting")

    @property
    def topic_count(self) -> int:
        """Topics that somebody subscribes to."""
        return len(self._topics)

    def watch(self) -> None:
        """The body of the greenlet that reads subscriptions; runs until it is killed."""
        while True:
            self._read_subscriptions()
            self._readiness.wait()

    def publish(self) -> None:
        """The body of the greenlet that publishes; runs until it is killed."""
        while True:
            while self._pending:
                data = self._pending.popleft()
                self._pending_bytes -= len(data)
                self._publish(data)
            self._offered.clear()
            self._offered.wait()

    def offer(self, data: bytes, summary: Summary) -> None:
        """Publish synced events, soon; `data` is their concatenated BSON."""
        if not self._wants(summary.types):
            return
        if self._pending_bytes + len(data) > PENDING_BYTES_MAX:
            self._unpublished.add()
            return
        self._pending.append(data)
        self._pending_bytes += len(data)
        self._offered.set()

    def send(self, topic: bytes, payload: bytes) -> None:
        """Publish one message now; dropped for a subscriber whose queue is full."""
        self._socket.send_multipart([topic, payload], _NOBLOCK)
        self._readiness.poke()

    def close(self) -> None:
        self._readiness.close()
        self._socket.close()

    def _wants(self, kinds: frozenset[str] | None) -> bool:
        if not self._topics and not self._everything:
            return False
        if kinds is None or self._everything or b"" in self._topics:
            return True
        # A type comes from a client of the event server and a topic from a subscriber: both are short lists.
        return any(kind.encode().startswith(topic) for kind in kinds for topic in self._topics)

    def _publish(self, data: bytes) -> None:
        send = self._socket.send_multipart
        for number, (event, document) in enumerate(zip(split(data), decode_all(data), strict=True), 1):
            kind = document.get("type")
            send([kind.encode() if isinstance(kind, str) else b"", event], _NOBLOCK)
            if number % _SLICE == 0:
                gevent.sleep(0)
        self._published.add(number)
        self._readiness.poke()

    def _read_subscriptions(self) -> None:
        while True:
            try:
                frame = self._socket.recv(_NOBLOCK)
            except zmq.Again:
                return
            if frame[:1] == b"\x01":
                if len(self._topics) >= TOPICS_MAX:
                    self._everything = True
                else:
                    self._topics.add(frame[1:])
            elif frame[:1] == b"\x00":
                self._topics.discard(frame[1:])
