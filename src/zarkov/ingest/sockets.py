"""The event server's ZeroMQ sockets, with a bound on everything that libzmq leaves unbounded by default."""

from __future__ import annotations

from collections.abc import Callable

import zmq

from zarkov.config import IngestSettings
from zarkov.ingest.zap import secure
from zarkov.keyfiles import ServerKeys

Socket = zmq.Socket[bytes]
Context = zmq.Context[Socket]

#: Subscriptions are short; nothing else comes in on the PUB socket.
SUBSCRIPTION_BYTES_MAX = 4_096
#: Answers queued for a client that does not read them; it asks again.
ANSWERS_HWM = 1_000
#: Time that answers have to leave when the server stops.
LINGER_MS = 1_000
_BACKLOG = 1_024


def bind_pull(
    context: Context,
    address: str,
    settings: IngestSettings,
    *,
    keys: ServerKeys | None = None,
    watch: Callable[[Socket], object] | None = None,
) -> Socket:
    """A socket that events come in on, unanswered; `watch` is shown it before it is bound.

    Raises: zmq.ZMQError: the address cannot be bound.
    """
    socket = context.socket(zmq.PULL)
    if watch is not None:
        watch(socket)
    socket.set(zmq.RCVHWM, settings.receive_hwm)
    socket.set(zmq.MAXMSGSIZE, settings.message_bytes_max)
    return _bind(socket, address, settings, keys)


def bind_router(
    context: Context, address: str, settings: IngestSettings, *, keys: ServerKeys | None = None
) -> Socket:
    """The acknowledging channel's socket. Raises: zmq.ZMQError: the address cannot be bound."""
    socket = context.socket(zmq.ROUTER)
    # A producer has at most a window of batches on their way; what it sends beyond that waits on its side.
    socket.set(zmq.RCVHWM, settings.window_max)
    socket.set(zmq.SNDHWM, ANSWERS_HWM)
    socket.set(zmq.MAXMSGSIZE, settings.message_bytes_max)
    # An answer that cannot be delivered is an error, to be counted, and a client that comes back under its old
    # identity gets its answers at once.
    socket.set(zmq.ROUTER_MANDATORY, 1)
    socket.set(zmq.ROUTER_HANDOVER, 1)
    return _bind(socket, address, settings, keys)


def bind_publish(
    context: Context, address: str, settings: IngestSettings, *, keys: ServerKeys | None = None
) -> Socket:
    """The socket that stored events go out on. Raises: zmq.ZMQError: the address cannot be bound."""
    socket = context.socket(zmq.XPUB)
    socket.set(zmq.SNDHWM, settings.publish_hwm)
    socket.set(zmq.MAXMSGSIZE, SUBSCRIPTION_BYTES_MAX)
    return _bind(socket, address, settings, keys)


def _bind(socket: Socket, address: str, settings: IngestSettings, keys: ServerKeys | None) -> Socket:
    if keys is not None:
        secure(socket, keys)
    socket.set(zmq.LINGER, LINGER_MS)
    socket.set(zmq.BACKLOG, _BACKLOG)
    socket.set(zmq.HANDSHAKE_IVL, max(1, int(settings.handshake_s * 1000)))
    if settings.heartbeat_s:
        interval_ms = max(1, int(settings.heartbeat_s * 1000))
        socket.set(zmq.HEARTBEAT_IVL, interval_ms)
        socket.set(zmq.HEARTBEAT_TIMEOUT, 3 * interval_ms)
    try:
        socket.bind(address)
    except BaseException:
        socket.close(0)
        raise
    return socket
