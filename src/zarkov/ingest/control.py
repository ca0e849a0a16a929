"""Commands to the running event server, over a Unix socket: one JSON line there, one JSON line back.

    {"command": "stats", ...}   ->   {...}   or   {"error": {code, message, retryable, hint}}

Who may open the socket (mode 0600) is trusted. A command runs in a thread of the hub's pool, so that it may block;
one marked as `in_hub` runs in a greenlet instead, and may use the event server's sockets.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gevent
from gevent import socket
from gevent.pool import Pool

from zarkov.errors import ProtocolError, ZarkovError

logger = logging.getLogger(__name__)

#: A Unix socket's address holds 108 bytes; a longer path is reached through its open directory.
PATH_BYTES_MAX = 100
LINE_BYTES_MAX = 32 * 1024 * 1024
CONNECTIONS_MAX = 16
IDLE_S_MAX = 600.0

Arguments = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Command:
    """What answers a command: the request's other keys in, the answer as an object out. May raise ZarkovError."""

    answer: Callable[[Arguments], dict[str, Any]]
    in_hub: bool = False


class ControlServer:
    """Listens on `path` from `start` to `stop`. The data directory's lock makes sure that nobody else does."""

    def __init__(self, path: Path, commands: Mapping[str, Command]) -> None:
        self._path = path
        self._commands = commands
        self._listener: socket.socket | None = None
        self._pool = Pool(CONNECTIONS_MAX)
        self._accepter: gevent.Greenlet | None = None

    def start(self) -> None:
        """Raises: OSError: the socket cannot be made."""
        with contextlib.suppress(FileNotFoundError):
            self._path.unlink()
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        mask = os.umask(0o177)
        try:
            _bind(listener, self._path)
        finally:
            os.umask(mask)
        listener.listen(CONNECTIONS_MAX)
        self._listener = listener
        self._accepter = gevent.spawn(self._accept, listener)

    def stop(self) -> None:
        """Cut off who is connected, and remove the socket."""
        if self._accepter is not None:
            self._accepter.kill()
        self._pool.kill()
        if self._listener is not None:
            self._listener.close()
            with contextlib.suppress(FileNotFoundError):
                self._path.unlink()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                peer, _ = listener.accept()
            except OSError as error:  # Too many open files, for one: it passes.
                logger.warning("control accept failed error=%s", error)
                gevent.sleep(0.1)
                continue
            self._pool.spawn(self._serve, peer)

    def _serve(self, peer: socket.socket) -> None:
        with peer, contextlib.suppress(OSError):
            peer.settimeout(IDLE_S_MAX)
            with peer.makefile("rb") as lines:
                while line := lines.readline(LINE_BYTES_MAX):
                    peer.sendall(json.dumps(self.answer(line)).encode() + b"\n")
                    if not line.endswith(b"\n"):
                        return

    def answer(self, line: bytes) -> dict[str, Any]:
        """The answer to one line; never raises."""
        try:
            return self._run(line)
        except ZarkovError as error:
            return {"error": error.to_dict()}
        except Exception:  # One command's fault must not end the server; outside, it is "internal".
            logger.exception("control command failed line=%r", line[:200])
            return {"error": ZarkovError("the command failed inside the server").to_dict()}

    def _run(self, line: bytes) -> dict[str, Any]:
        try:
            request = json.loads(line)
            name = request.pop("command")
            command = self._commands[name]
        except (ValueError, RecursionError, TypeError, AttributeError):
            raise ProtocolError('a control request is one line of JSON: {"command": ...}') from None
        except KeyError:
            known = ", ".join(sorted(self._commands))
            raise ProtocolError(f"unknown control command; known are {known}") from None
        if command.in_hub:
            return command.answer(request)
        result: dict[str, Any] = gevent.get_hub().threadpool.apply(command.answer, (request,))
        return result


def _bind(listener: socket.socket, path: Path) -> None:
    if len(os.fsencode(path)) <= PATH_BYTES_MAX:
        listener.bind(str(path))
        return
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY)
    try:
        listener.bind(f"/proc/self/fd/{folder}/{path.name}")
    finally:
        os.close(folder)
