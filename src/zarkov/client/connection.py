"""One ZeroMQ socket in a context of its own, and what becomes of its connection.

A context of its own makes `close` honest: terminating it waits until the socket's queue is on the network, and
nothing else of the program is held up. A forked process must not touch its parent's sockets: it disowns them.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence

import zmq
from zmq.utils.monitor import parse_monitor_message

from zarkov.errors import ConfigError

# Plain integers: pyzmq's are enumerations, whose every `&` and `|` makes an object.
POLLIN, POLLOUT = int(zmq.POLLIN), int(zmq.POLLOUT)
_LAST, _MORE = int(zmq.NOBLOCK), int(zmq.NOBLOCK | zmq.SNDMORE)
_EVENTS = int(zmq.EVENTS)
_WATCHED = zmq.EVENT_HANDSHAKE_SUCCEEDED | zmq.EVENT_DISCONNECTED
_RECONNECT_MS, _RECONNECT_MS_MAX = 20, 1000
_HANDSHAKE_MS, _HEARTBEAT_MS, _SILENCE_MS = 5_000, 10_000, 30_000
_ANSWER_BYTES_MAX = 64 * 1024 * 1024
#: What a forked child has inherited and must neither use nor finalise.
_inherited: list[object] = []


class Connection:
    """Not thread safe.

    Args:   kind: zmq.PUSH or zmq.DEALER; send_queue_max: messages ZeroMQ may queue;
            immediate: queue messages only while connected, and forget them when the connection is lost.
    Raises: ConfigError: the address is none that ZeroMQ can connect to.
    """

    def __init__(self, kind: int, address: str, *, send_queue_max: int, immediate: bool) -> None:
        self._context = zmq.Context(io_threads=1)
        self.socket = self._context.socket(kind)
        self._monitor = self.socket.get_monitor_socket(_WATCHED)
        self.is_up = False
        options = {
            zmq.SNDHWM: send_queue_max,
            zmq.IMMEDIATE: int(immediate),
            zmq.LINGER: 0,
            zmq.MAXMSGSIZE: _ANSWER_BYTES_MAX,
            zmq.RECONNECT_IVL: _RECONNECT_MS,
            zmq.RECONNECT_IVL_MAX: _RECONNECT_MS_MAX,
            zmq.HANDSHAKE_IVL: _HANDSHAKE_MS,
            zmq.HEARTBEAT_IVL: _HEARTBEAT_MS,
            zmq.HEARTBEAT_TIMEOUT: _SILENCE_MS,
        }
        for option, value in options.items():
            self.socket.setsockopt(option, value)
        try:
            self.socket.connect(address)
        except zmq.ZMQError as error:
            self.close(0)
            hint = "An address looks like tcp://localhost:6543."
            raise ConfigError(f"cannot connect to {address!r}: {error}", hint=hint) from error

    @property
    def socket_fd(self) -> int:
        """Readable when the socket may have changed since it was last asked for its events (edge-triggered)."""
        return int(self.socket.FD)

    @property
    def monitor_fd(self) -> int:
        """As `socket_fd`, for `changes`."""
        return int(self._monitor.FD)

    @property
    def events(self) -> int:
        """POLLIN and POLLOUT, as they are now."""
        return int(self.socket.getsockopt(_EVENTS))

    def send(self, frames: Sequence[bytes]) -> None:
        """Queue one message, all of it or nothing. Raises: zmq.Again: the socket takes none."""
        send = self.socket.send
        for frame in frames[:-1]:
            send(frame, _MORE)
        send(frames[-1], _LAST)

    def receive(self) -> list[bytes]:
        """The next message's frames. Raises: zmq.Again: there is none."""
        return self.socket.recv_multipart(_LAST)

    def changes(self) -> list[bool]:
        """What happened to the connection since the last call: True: it is made, False: it is lost."""
        found: list[bool] = []
        while int(self._monitor.getsockopt(_EVENTS)) & POLLIN:
            event = parse_monitor_message(self._monitor.recv_multipart(zmq.NOBLOCK))
            found.append(event["event"] == zmq.EVENT_HANDSHAKE_SUCCEEDED)
        if found:
            self.is_up = found[-1]
        return found

    def wait_until_up(self, timeout_s: float) -> bool:
        """Wait for a connection; False when there is none in time."""
        deadline = time.monotonic() + timeout_s
        self.changes()
        while not self.is_up and (left_s := deadline - time.monotonic()) > 0:
            self._monitor.poll(math.ceil(left_s * 1000))
            self.changes()
        return self.is_up

    def close(self, linger_s: float) -> None:
        """Wait at most this long for the socket's queue to leave, then drop what is left of it."""
        self.socket.disable_monitor()
        self._monitor.close(0)
        self.socket.close(math.ceil(linger_s * 1000))
        self._context.term()

    def disown(self) -> None:
        """In a forked child: forget the parent's socket without touching it."""
        _inherited.append((self._context, self.socket, self._monitor))
