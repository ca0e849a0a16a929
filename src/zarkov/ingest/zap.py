"""Keys on a server's sockets: they ask for one, and a handler answers libzmq whether it is let in.

Theory of operation. libzmq asks over `inproc://zeromq.zap.01` of the sockets' own context; without somebody there it
would let everybody in, so the handler is bound before any of the sockets, and each of them names a domain, which
makes libzmq refuse everybody when nobody answers. A connection that is open stays open for ZeroMQ, whatever becomes
of its key: when a key is revoked, the connections from the addresses it was used at are cut at the level of TCP. Each
of those clients connects again by itself, and the revoked one is refused then.

Nothing here waits, and nothing needs gevent: `turn` is called by a greenlet (`doorkeeper`), or by a loop that polls
`socket` (the balancer's).
"""

from __future__ import annotations

import ipaddress
import logging
import os
import socket as tcp
from collections.abc import Callable, Iterable, Iterator, Set
from contextlib import suppress

import zmq

from zarkov.errors import KeyInvalid
from zarkov.ingest.admission import EVERYWHERE, Admission
from zarkov.keyfiles import ServerKeys
from zarkov.metrics import Metrics

logger = logging.getLogger(__name__)

ZAP_ADDRESS = "inproc://zeromq.zap.01"
#: A list of keys that changed is noticed within this time.
LOOK_S = 1.0
#: Handshakes answered at one go.
ANSWERS_MAX = 16
_DOMAIN = b"zarkov"
_NOBLOCK = int(zmq.NOBLOCK)
_DESCRIPTORS = "/proc/self/fd"


def secure(socket: zmq.Socket[bytes], keys: ServerKeys) -> None:
    """Have a socket ask every peer for a key; before `bind`. A `ZapHandler` in its context decides."""
    socket.curve_server = True
    socket.curve_secretkey = keys.pair.secret
    socket.set(zmq.ZAP_DOMAIN, _DOMAIN)


class ZapHandler:
    """Decides for all sockets of a context who is let in. Not thread safe.

    Args:   ports: the TCP ports of those sockets, asked for when a key is revoked.
    Raises: KeyInvalid: the server's keys are no pair, or the list cannot be read; zmq.ZMQError: the context has a
            handler already.
    """

    def __init__(
        self,
        context: zmq.Context[zmq.Socket[bytes]],
        keys: ServerKeys,
        metrics: Metrics,
        ports: Callable[[], Set[int]],
    ) -> None:
        if zmq.curve_public(keys.pair.secret) != keys.pair.public:
            raise KeyInvalid("the server's public key does not belong to its secret one")
        self._ports = ports
        self._admission = Admission(keys.allow, metrics)
        self._cut = metrics.counter("connections_cut", "connections cut because a key was revoked")
        self.socket = context.socket(zmq.REP)
        self.socket.linger = 0
        try:
            self.socket.bind(ZAP_ADDRESS)
        except BaseException:
            self.socket.close()
            raise
        logger.info("sockets ask for keys allowed=%d path=%s", self._admission.allowed_count, keys.allow)

    def turn(self) -> bool:
        """Answer what was asked, and see whether keys were revoked; at least every LOOK_S.

        Returns: whether anything was asked; there may be more.
        """
        asked = self._answer()
        revoked = self._admission.look()
        if revoked:
            count = cut_connections(self._ports(), revoked)
            self._cut.add(count)
            logger.warning("connections cut count=%d", count)
        return asked

    def close(self) -> None:
        self.socket.close()

    def _answer(self) -> bool:
        for count in range(ANSWERS_MAX):
            try:
                request = self.socket.recv_multipart(_NOBLOCK)
            except zmq.Again:
                return count > 0
            self.socket.send_multipart(self._admission.answer(request), _NOBLOCK)
        return True


def cut_connections(ports: Set[int], addresses: Set[str]) -> int:
    """Shut down this process's connections to these local ports from these addresses; returns how many they were.

    What has arrived is still read; what is on its way is lost, as when a network fails.
    """
    peers = {_plain(address) for address in addresses}
    count = 0
    for connection in _connections():
        with connection, suppress(OSError):  # It may be a listening one, or be gone by now.
            host, port = connection.getpeername()[0], connection.getsockname()[1]
            if port in ports and (EVERYWHERE in addresses or _plain(host) in peers):
                connection.shutdown(tcp.SHUT_RDWR)
                count += 1
    return count


def ports_of(endpoints: Iterable[str]) -> frozenset[int]:
    """The TCP ports among addresses that sockets are bound to."""
    tails = (address.rpartition(":")[2] for address in endpoints if address.startswith("tcp://"))
    return frozenset(int(tail) for tail in tails)


def _connections() -> Iterator[tcp.socket]:
    """This process's TCP sockets, each through a descriptor of its own: libzmq may close its own at any moment."""
    for name in os.listdir(_DESCRIPTORS):
        with suppress(OSError):
            descriptor = os.dup(int(name))
            try:
                found = tcp.socket(fileno=descriptor)
            except OSError:  # It is no socket.
                os.close(descriptor)
                continue
            if found.family in (tcp.AF_INET, tcp.AF_INET6):
                yield found
            else:
                found.close()


def _plain(address: str) -> str:
    """An IPv4 address that stands in an IPv6 one, as itself."""
    with suppress(ValueError):
        found = ipaddress.ip_address(address.partition("%")[0])
        mapped = found.ipv4_mapped if isinstance(found, ipaddress.IPv6Address) else None
        return str(mapped or found)
    return address
