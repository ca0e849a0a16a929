"""A client's keys: its own pair, and the server's public key, by which it knows the server."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import zmq

from zarkov.errors import KeyInvalid
from zarkov.keyfiles import is_key, public_key, read_secret

#: The way out where the keys of both sides keep a connection from being made.
HINT_REFUSED = "Compare the keys of both sides with what `zcmd keygen` printed; `curve.allow` says who is let in."


@dataclass(frozen=True, slots=True)
class Keys:
    """CURVE keys, each as 40 characters of Z85.

        keys = Keys.load("app.key_secret", "server.key")
        ZarkovClient("tcp://zarkov.example:6546", ack=True, keys=keys)

    secret, public: the client's own pair; server: the public key of the server, and of no other, that it talks to.
    Raises: KeyInvalid: one is no key, or `public` does not belong to `secret`.
    """

    secret: bytes = field(repr=False)
    public: bytes
    server: bytes

    def __post_init__(self) -> None:
        for name in ("secret", "public", "server"):
            if not is_key(getattr(self, name).decode("latin-1")):
                raise KeyInvalid(f"the {name} key is no key: it must be 40 characters of Z85")
        if zmq.curve_public(self.secret) != self.public:
            raise KeyInvalid("the client's public key does not belong to its secret one")

    @classmethod
    def load(cls, client_key_file: str | Path, server_public_key: str | Path) -> Self:
        """Read the client's secret key file, and the server's public key or the file that holds it.

        Raises: KeyInvalid: a file is unreadable or malformed, or the secret one is readable by its group or by all.
        """
        pair = read_secret(Path(client_key_file))
        server = public_key(str(server_public_key))
        if server == pair.public:
            raise KeyInvalid(
                f"{server_public_key} is the client's own key, and not the server's",
                hint="Give the key that `zcmd keygen` printed as server_public_key.",
            )
        return cls(pair.secret, pair.public, server)

    def secure(self, socket: zmq.Socket[bytes]) -> None:
        """Have this socket use the keys for what it connects to; before `connect`."""
        socket.curve_secretkey = self.secret
        socket.curve_publickey = self.public
        socket.curve_serverkey = self.server
