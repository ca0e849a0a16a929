"""`keygen`: keys for a server and its clients, and the folder of those that are let in."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import typer

from zarkov.cli.output import print_json
from zarkov.cli.selection import AsJson
from zarkov.errors import KeyInvalid
from zarkov.keyfiles import PUBLIC_SUFFIX, SECRET_SUFFIX, KeyPair, read_public, write_pair, write_public

PANEL = "Set up"
SERVER = "server"
ALLOW = "allow"

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


def register(app: typer.Typer) -> None:
    """Add the command to zcmd."""
    app.command(rich_help_panel=PANEL)(keygen)


def keygen(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="Where the keys are, or are to be made.")],
    client: Annotated[
        str, typer.Option("--client", "-c", metavar="NAME", help="Name of the client to make keys for.")
    ] = "client",
    as_json: AsJson = False,
) -> None:
    """Make keys for a server and a client, and let the client in.

    Where DIR has the server's keys already, it makes a further client's. Nothing is ever overwritten. It prints the
    lines for the settings of both. A client needs its NAME.key_secret and the server's public key; a client whose
    file is removed from DIR/allow is locked out, without a restart.

    Example: [bold]zcmd keygen /etc/zarkov/keys --client app1[/bold]
    """
    made = make(directory.expanduser(), client)
    if as_json:
        print_json(asdict(made))
        return
    if made.server_is_new:
        print(f"Made the keys of the server and of {client!r} in {directory}.\n\nIn the server's settings:\n")
        print(f"curve:\n  server_key_file: {made.server_key_file}\n  allow: {made.allow}\n")
    else:
        print(f"Made the keys of {client!r} in {directory}; the server lets it in from now on.\n")
    print(f"In the client's settings, with {made.client_key_file} copied to where it runs (mode 0600):\n")
    print(f"curve:\n  client_key_file: {made.client_key_file}\n  server_public_key: '{made.server_public_key}'")


@dataclass(frozen=True, slots=True)
class Made:
    """The values for the settings under `curve:`, and whether the server's keys were made just now."""

    server_key_file: str
    allow: str
    client_key_file: str
    server_public_key: str
    client_public_key: str
    server_is_new: bool


def make(directory: Path, client: str) -> Made:
    """Make the server's keys where there are none, and a client's, which is let in.

    Raises: KeyInvalid: a file of the client's is there already, or something cannot be written.
    """
    if not _NAME.fullmatch(client) or client == SERVER:
        raise KeyInvalid(
            f"{client!r} cannot be a client's name",
            hint=f"Use letters, digits, '.', '_' and '-', at most 64, and not {SERVER!r}.",
        )
    allow = directory / ALLOW
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        allow.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise KeyInvalid(
            f"{error.filename} cannot be made: {error.strerror}", hint="Name a directory you may write to."
        ) from None
    directory, allow = directory.resolve(), allow.resolve()
    admitted = allow / f"{client}{PUBLIC_SUFFIX}"
    if admitted.exists():
        raise KeyInvalid(
            f"{admitted} is there already, and keys are never overwritten", hint="Name another --client."
        )
    server, server_is_new = _server(directory)
    pair = _new_pair()
    _, secret = write_pair(directory, client, pair)
    write_public(admitted, pair.public)
    return Made(
        str(directory / f"{SERVER}{SECRET_SUFFIX}"),
        str(allow),
        str(secret),
        server.decode(),
        pair.public.decode(),
        server_is_new,
    )


def _server(directory: Path) -> tuple[bytes, bool]:
    """The server's public key, and whether it is new."""
    public = directory / f"{SERVER}{PUBLIC_SUFFIX}"
    if public.exists():
        return read_public(public), False
    pair = _new_pair()
    write_pair(directory, SERVER, pair)
    return pair.public, True


def _new_pair() -> KeyPair:
    """A pair whose public key begins with a letter or a digit: it is to be passed as an option and in lists."""
    import zmq

    while True:
        public, secret = zmq.curve_keypair()
        if public[:1].isalnum():
            return KeyPair(public, secret)
