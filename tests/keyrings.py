"""Keys of a server and of clients, in a folder of the test."""

from __future__ import annotations

from pathlib import Path

import zmq

from zarkov.client import Keys
from zarkov.keyfiles import KeyPair, ServerKeys, write_pair, write_public


class Keyring:
    """`allow` is the folder of those that are let in; `client` makes a client's keys, `admit` lets them in."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "keys"
        self.allow = self.folder / "allow"
        self.allow.mkdir(parents=True)
        self.server_pair = new_pair()
        self.public_file, self.secret_file = write_pair(self.folder, "server", self.server_pair)

    @property
    def server(self) -> ServerKeys:
        return ServerKeys.load(self.secret_file, self.allow)

    def client(self, name: str, *, admitted: bool = True) -> Keys:
        _, secret = write_pair(self.folder, name, new_pair())
        keys = Keys.load(secret, self.public_file)
        if admitted:
            self.admit(name, keys)
        return keys

    def admit(self, name: str, keys: Keys) -> None:
        write_public(self.allow / f"{name}.key", keys.public)

    def revoke(self, name: str) -> None:
        (self.allow / f"{name}.key").unlink()


def new_pair() -> KeyPair:
    public, secret = zmq.curve_keypair()
    return KeyPair(public, secret)
