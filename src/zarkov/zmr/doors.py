"""The router's ZeroMQ sockets, with a bound on everything that libzmq leaves unbounded by default."""

from __future__ import annotations

import zmq

from zarkov.config import ZmrSettings
from zarkov.ingest.zap import secure
from zarkov.keyfiles import ServerKeys
from zarkov.zmr.wire import MESSAGE_BYTES_MAX

Socket = zmq.Socket[bytes]
Context = zmq.Context[Socket]

#: Requests, or workers' messages, that wait to be looked at; more wait at their senders.
QUEUED_MAX = 64
#: Messages queued for one worker: it has one task, and asks for its source a piece at a time.
TASKS_QUEUED_MAX = 8
#: Answers have this long to leave when the router stops.
LINGER_MS = 500
_HANDSHAKE_MS = 10_000
_BEAT_MS, _BEAT_TIMEOUT_MS = 5_000, 20_000
_BACKLOG = 1_024


def bind_requests(context: Context, settings: ZmrSettings, keys: ServerKeys | None) -> Socket:
    """Where clients ask. Raises: zmq.ZMQError: the address cannot be bound."""
    socket = context.socket(zmq.ROUTER)
    socket.set(zmq.MAXMSGSIZE, settings.request_bytes_max)
    return _bind(socket, settings.req_bind, keys)


def bind_source(context: Context, settings: ZmrSettings, keys: ServerKeys | None) -> Socket:
    """Where workers get tasks. Raises: zmq.ZMQError."""
    socket = context.socket(zmq.ROUTER)
    socket.set(zmq.SNDHWM, TASKS_QUEUED_MAX)
    socket.set(zmq.MAXMSGSIZE, MESSAGE_BYTES_MAX)
    socket.set(zmq.ROUTER_HANDOVER, 1)
    return _bind(socket, worker_bind(settings.req_bind, settings.src_port), keys)


def bind_sink(context: Context, settings: ZmrSettings, keys: ServerKeys | None) -> Socket:
    """Where workers answer. Raises: zmq.ZMQError."""
    socket = context.socket(zmq.PULL)
    socket.set(zmq.MAXMSGSIZE, MESSAGE_BYTES_MAX)
    return _bind(socket, worker_bind(settings.req_bind, settings.sink_port), keys)


def worker_bind(req_bind: str, port: int) -> str:
    """The address of a socket for workers: on the interface of the one for clients; port 0 takes a free one."""
    host = req_bind.removeprefix("tcp://").rpartition(":")[0] if req_bind.startswith("tcp://") else "127.0.0.1"
    return f"tcp://{host}:{port or '*'}"


def endpoint_of(socket: Socket) -> str:
    """The address that a socket is bound to, with the port it was given."""
    address = socket.get(zmq.LAST_ENDPOINT)
    assert isinstance(address, bytes)
    return address.rstrip(b"\x00").decode()


def port_of(socket: Socket) -> int:
    """The port of a TCP socket."""
    return int(endpoint_of(socket).rpartition(":")[2])


def _bind(socket: Socket, address: str, keys: ServerKeys | None) -> Socket:
    if keys is not None:
        secure(socket, keys)
    if socket.type == zmq.ROUTER:
        # What cannot be delivered is an error, and not silence.
        socket.set(zmq.ROUTER_MANDATORY, 1)
    socket.set(zmq.RCVHWM, QUEUED_MAX)
    socket.set(zmq.LINGER, LINGER_MS)
    socket.set(zmq.BACKLOG, _BACKLOG)
    socket.set(zmq.HANDSHAKE_IVL, _HANDSHAKE_MS)
    socket.set(zmq.HEARTBEAT_IVL, _BEAT_MS)
    socket.set(zmq.HEARTBEAT_TIMEOUT, _BEAT_TIMEOUT_MS)
    try:
        socket.bind(address)
    except BaseException:
        socket.close(0)
        raise
    return socket
