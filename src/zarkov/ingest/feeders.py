"""Who is connected to a socket, as libzmq tells it: so that an event server outlasts the balancer that feeds it."""

from __future__ import annotations

import gevent
import zmq
from zmq.utils.monitor import parse_monitor_message

from zarkov.ingest.readiness import Readiness

_NOBLOCK = int(zmq.NOBLOCK)
_WATCHED = int(zmq.EVENT_ACCEPTED | zmq.EVENT_DISCONNECTED)


class Feeders:
    """Counts the connections of a bound socket. A connection counts until all that came over it can be received."""

    def __init__(self, socket: zmq.Socket[bytes]) -> None:
        self._socket = socket
        self._monitor: zmq.Socket[bytes] = socket.get_monitor_socket(_WATCHED)
        self._readiness = Readiness(self._monitor)
        self.count = 0
        self._watcher = gevent.spawn(self._watch)

    def close(self) -> None:
        """Stop watching; before the socket is closed."""
        self._watcher.kill()
        self._readiness.close()
        self._socket.disable_monitor()
        self._monitor.close(0)

    def _watch(self) -> None:
        while True:
            try:
                event = parse_monitor_message(self._monitor.recv_multipart(_NOBLOCK))
                self.count += 1 if event["event"] == zmq.EVENT_ACCEPTED else -1
            except zmq.Again:
                self._readiness.wait()
