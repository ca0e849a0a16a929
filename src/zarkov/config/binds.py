"""What a ZeroMQ address says: is it well formed, and can other machines reach it?"""

from __future__ import annotations

import ipaddress
import re

_TCP = re.compile(r"^tcp://(?P<host>\[[^\]\s]+\]|[^:\s/\[\]]+):(?P<port>\d{1,5}|\*)$")
_TCP_HOST = re.compile(r"^tcp://(?:\[[^\]\s]+\]|[^:\s/\[\]]+)(?::\d{1,5})?$")
_LOCAL = re.compile(r"^(?:ipc|inproc)://\S+$")

_EVERYWHERE = {"0.0.0.0": "127.0.0.1", "*": "127.0.0.1", "[::]": "[::1]"}


def is_address(text: str, *, port_required: bool = True) -> bool:
    """Tell whether `text` is an address that ZeroMQ can bind or connect to."""
    if _LOCAL.match(text):
        return True
    found = _TCP.match(text)
    if found is None:
        return not port_required and _TCP_HOST.match(text) is not None
    port = found["port"]
    return port == "*" or int(port) <= 65_535


def is_loopback(address: str) -> bool:
    """Tell whether only this machine can reach a socket bound to `address`.

    A name other than localhost counts as reachable: it may resolve to anything.
    """
    if _LOCAL.match(address):
        return True
    found = _TCP.match(address)
    if found is None:
        return False
    host = found["host"].strip("[]")
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def loopback_uri(bind_address: str) -> str:
    """The address a client on this machine uses for a socket bound to `bind_address`."""
    found = _TCP.match(bind_address)
    if found is None:
        return bind_address
    host = found["host"]
    return f"tcp://{_EVERYWHERE.get(host, host)}:{found['port']}"
