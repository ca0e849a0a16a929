"""One ZeroMQ socket in a context of its own, and what becomes of its connection.

A context of its own makes `close` honest: terminating it waits until the socket's queue is on the network, and
nothing else of the program is held up. A forked process must not touch its parent's sockets: it disowns them.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from contextlib import suppress

import zmq
from zmq.utils.monitor import parse_monitor_message

from zarkov.client.keys import Keys
from zarkov.errors import ConfigError

# Plain integers: pyzmq's are enumerations, whose every `&` and `|` makes an object.
POLLIN, POLLOUT = int(zmq.POLLIN), int(zmq.POLLOUT)
_LAST, _MORE = int(zmq.NOBLOCK), int(zmq.NOBLOCK | zmq.SNDMORE)
_EVENTS = int(zmq.EVENTS)
_UP, _DOWN = int(zmq.EVENT_HANDSHAKE_SUCCEEDED), int(zmq.EVENT_DISCONNECTED)
#: One side has keys and the other has none, or is no ZeroMQ socket; the key is not let in; the handshake broke off.
_MISFIT, _DENIED = int(zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL), int(zmq.EVENT_HANDSHAKE_FAILED_AUTH)
_BROKEN_OFF = int(zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL)
_RECONNECT_MS, _RECONNECT_MS_MAX = 20, 1000
_HANDSHAKE_MS, _HEARTBEAT_MS, _SILENCE_MS = 5_000, 10_000, 30_000
_ANSWER_BYTES_MAX = 64 * 1024 * 1024
#: What a forked child has inherited and must neither use nor finalise.
_inherited: list[object] = []


class Connection:
    """Not thread safe.

    What ZeroMQ has queued when the connection is lost goes to the server that comes back.

    Args:   kind: zmq.PUSH or zmq.DEALER; send_queue_max: messages ZeroMQ may queue;
            keys: what the server knows this client by, where it asks for keys.
    Raises: ConfigError: the address is none that ZeroMQ can connect to.
    """

    def __init__(self, kind: int, address: str, *, send_queue_max: int, keys: Keys | None = None) -> None:
        self._address, self._keys = address, keys
        self._context = zmq.Context(io_threads=1)
        self.socket = self._context.socket(kind)
        self._monitor = self.socket.get_monitor_socket(_UP | _DOWN | _MISFIT | _DENIED | _BROKEN_OFF)
        self.is_up = False
        #: Why the last attempt to connect failed, where the server's answer says so; "" otherwise.
        self.fault = ""
        #: Whether ZeroMQ ever gave the address up, and with it the messages that were queued then.
        self.gave_up = False
        self._connect_again_at = math.inf
        options = {
            zmq.SNDHWM: send_queue_max,
            # Not IMMEDIATE: a connection that is lost between two frames of an answer would then abort the whole
            # program, by an assertion of libzmq 4.3.5 (the pipe ends at once, in the middle of the message).
            zmq.IMMEDIATE: 0,
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
        if keys is not None:
            keys.secure(self.socket)
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
            event = int(parse_monitor_message(self._monitor.recv_multipart(zmq.NOBLOCK))["event"])
            if event in (_UP, _DOWN):
                found.append(event == _UP)
            self._note(event)
        if found:
            self.is_up = found[-1]
        if time.monotonic() >= self._connect_again_at:
            self._connect_again()
        return found

    def _note(self, event: int) -> None:
        """Keep what is known of a handshake that failed."""
        if event == _UP:
            self.fault = ""
        elif event == _MISFIT:
            self.fault = "the server " + ("asks for no keys" if self._keys else "asks for keys")
        elif event == _DENIED:
            self.fault = "the server does not let this key in"
        elif event == _BROKEN_OFF and self._keys is not None:
            self.fault = "the handshake fails: the server may have another key than the one given"
        if event in (_MISFIT, _DENIED):
            # ZeroMQ tries no more; but a server may be started with keys, or let a key in, while its clients run.
            self.gave_up = True
            self._connect_again_at = time.monotonic() + _RECONNECT_MS_MAX / 1000

    def _connect_again(self) -> None:
        self._connect_again_at = math.inf
        with suppress(zmq.ZMQError):  # It has none to end, as a rule.
            self.socket.disconnect(self._address)
        self.socket.connect(self._address)

    def wait_until_up(self, timeout_s: float) -> bool:
        """Wait for a connection; False when there is none in time, or ZeroMQ gave the address up."""
        deadline = time.monotonic() + timeout_s
        self.changes()
        while not self.is_up and not self.gave_up and (left_s := deadline - time.monotonic()) > 0:
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
