"""The keys that the settings under `curve:` name: a server's, and those of zcmd's own clients."""

from __future__ import annotations

from typing import TYPE_CHECKING

from zarkov.config import Settings
from zarkov.errors import KeyInvalid
from zarkov.keyfiles import ServerKeys

if TYPE_CHECKING:
    from zarkov.client.keys import Keys


def server_keys(settings: Settings) -> ServerKeys | None:
    """The keys of a server with these settings; None: its sockets are plain.

    Raises: KeyInvalid: they cannot be read, or nothing says who is let in.
    """
    curve = settings.curve
    if curve.server_key_file is None:
        if curve.allow is not None:
            raise KeyInvalid(
                "curve.allow is set and curve.server_key_file is not: the sockets would ask nobody for a key",
                hint="Set curve.server_key_file to the server's secret key file, or leave curve.allow out.",
            )
        return None
    if curve.allow is None:
        raise KeyInvalid(
            "curve.server_key_file is set and curve.allow is not: every client would be let in",
            hint="Set curve.allow to the folder that `zcmd keygen` made, or to a file with a public key a line.",
        )
    return ServerKeys.load(curve.server_key_file, curve.allow)


def client_keys(settings: Settings) -> Keys | None:
    """The keys of a client of these settings; None: it talks to plain sockets.

    Raises: KeyInvalid: they cannot be read, or one of the two is missing.
    """
    from zarkov.client.keys import Keys

    curve = settings.curve
    if curve.client_key_file is None and curve.server_public_key is None:
        if curve.server_key_file is not None:
            raise KeyInvalid(
                "the server of these settings asks for keys, and they name none of a client",
                hint="Set curve.client_key_file and curve.server_public_key, as `zcmd keygen` printed them.",
            )
        return None
    if curve.client_key_file is None or curve.server_public_key is None:
        raise KeyInvalid(
            "curve.client_key_file and curve.server_public_key go together, and one is missing",
            hint="Set both, as `zcmd keygen` printed them.",
        )
    return Keys.load(curve.client_key_file, curve.server_public_key)
