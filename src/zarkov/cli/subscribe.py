"""What a server publishes as it is stored (`publish_bind_address`): for `tail` on a machine without the journal.

The server drops what a subscriber does not read in time; whoever must see every event reads the journal.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import zmq

from zarkov.codec import decode
from zarkov.config.binds import is_address
from zarkov.errors import ConfigError

if TYPE_CHECKING:
    from zarkov.client.keys import Keys

#: Events that wait here while the terminal is slow.
WAITING_MAX = 10_000


def published(uri: str, keys: Keys | None) -> Iterator[dict[str, Any]]:
    """The events published at an address, from now on, without end; it waits for a server that is not there yet.

    Args: keys: the client's, where the server asks for keys.
    Raises: ConfigError: not an address.
    """
    if not is_address(uri):
        raise ConfigError(f"{uri} is not an address", hint="Write it as tcp://localhost:6545.")
    with zmq.Context() as context, context.socket(zmq.SUB) as socket:
        socket.linger = 0
        socket.rcvhwm = WAITING_MAX
        if keys is not None:
            keys.secure(socket)
        socket.connect(uri)
        socket.subscribe(b"")
        while True:
            event = decode(socket.recv_multipart()[-1])
            if "$command" not in event:
                yield event
