"""Closed by default: a socket that other machines can reach, without keys, is not opened by accident."""

from __future__ import annotations

from dataclasses import fields

from zarkov.config import Resolved, is_loopback
from zarkov.errors import ConfigError


def refuse_wide_binds(resolved: Resolved) -> None:
    """Refuse to serve on an address beyond loopback unless sockets ask for keys, or `allow_plain` is set.

    Raises: ConfigError: names the first such key and the three ways out.
    """
    ingest = resolved.settings.ingest
    if ingest.allow_plain or resolved.settings.curve.server_key_file is not None:
        return
    names = [field.name for field in fields(ingest) if field.name.endswith("_bind_address")]
    binds = {name: (getattr(ingest, name), "send and read events there") for name in names}
    binds["zmr.req_bind"] = (resolved.settings.zmr.req_bind, "run programs here")
    for name, (address, what) in binds.items():
        if not is_loopback(address):
            raise ConfigError(
                f"{name} in {resolved.origins[name]} is {address}: other machines could {what} without a key",
                hint=f"Three ways out: bind loopback ({_on_loopback(address)}); make keys with `zcmd keygen DIR` and "
                "put the lines it prints into the settings; or set `allow_plain: true` on a network you trust.",
            )


def _on_loopback(address: str) -> str:
    return f"tcp://127.0.0.1:{address.rpartition(':')[2]}"
