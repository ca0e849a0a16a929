"""Asking a running event server: one JSON line there and one back, over data_dir/control.sock."""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path
from typing import Any

from zarkov.errors import ServerUnreachable, ZarkovError, error_codes

ANSWER_BYTES_MAX = 16 * 1024 * 1024
PATH_BYTES_MAX = 100


def ask(path: Path, command: str, *, timeout_s: float = 30.0, **arguments: object) -> dict[str, Any]:
    """Send one command and return the server's answer.

    Raises: ServerUnreachable: no server listens there, or none answers in time; the error the server
        answered with.
    """
    request = json.dumps({"command": command, **arguments}).encode() + b"\n"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as peer:
        peer.settimeout(timeout_s)
        try:
            _connect(peer, path)
            peer.sendall(request)
            line = _read_line(peer)
        except OSError as error:
            raise ServerUnreachable(f"no server answers on {path} ({error.strerror or error})") from None
    answer: dict[str, Any] = json.loads(line)
    if "error" in answer:
        raise _error(answer["error"])
    return answer


def is_running(path: Path) -> bool:
    """Tell whether an event server listens on this control socket."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as peer:
        peer.settimeout(5)
        try:
            _connect(peer, path)
        except OSError:
            return False
    return True


def _connect(peer: socket.socket, path: Path) -> None:
    """Connect to a socket whose path may be longer than the 108 bytes that sockaddr_un has room for."""
    if len(os.fsencode(path)) <= PATH_BYTES_MAX:
        peer.connect(str(path))
        return
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY)
    try:
        peer.connect(f"/proc/self/fd/{folder}/{path.name}")
    finally:
        os.close(folder)


def _read_line(peer: socket.socket) -> bytes:
    parts: list[bytes] = []
    size = 0
    while not parts or not parts[-1].endswith(b"\n"):
        part = peer.recv(65_536)
        size += len(part)
        if not part or size > ANSWER_BYTES_MAX:
            raise OSError("the answer is cut off")
        parts.append(part)
    return b"".join(parts)


def _error(found: dict[str, Any]) -> ZarkovError:
    """The server's error as the same error here."""
    kind = error_codes().get(str(found.get("code")), ZarkovError)
    error = kind(str(found.get("message")), hint=str(found.get("hint")))
    error.code = str(found.get("code"))
    return error
