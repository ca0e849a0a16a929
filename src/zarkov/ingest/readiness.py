"""Waiting in a greenlet: for a plain ZeroMQ socket to be readable, and for what another thread has to say.

A ZeroMQ socket's file descriptor tells that *something* happened, and is quiet again once any call on the socket
has looked, a send included. So the rule is: look (`EVENTS`) before waiting, and `poke` after sending on a socket
that another greenlet waits for. (http://api.zeromq.org/4-3:zmq-getsockopt, ZMQ_FD.)
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

import gevent
import zmq
from gevent.event import Event

T = TypeVar("T")

_FD_READABLE = 1
#: A wait ends by itself after this time, and the socket is looked at again.
WAIT_S_MAX = 1.0


class Readiness:
    """Lets one greenlet wait until a socket can be read. The socket is used by this thread only."""

    def __init__(self, socket: zmq.Socket[bytes]) -> None:
        self._socket = socket
        self._event = Event()
        self._watcher = gevent.get_hub().loop.io(socket.getsockopt(zmq.FD), _FD_READABLE)

    def wait(self, timeout_s: float = WAIT_S_MAX) -> bool:
        """Return at the latest after `timeout_s` or a poke; True if the socket can be read."""
        self._event.clear()
        if self._is_readable():
            return True
        self._watcher.start(self._event.set)
        try:
            self._event.wait(timeout_s)
        finally:
            self._watcher.stop()
        return self._is_readable()

    def poke(self) -> None:
        """End the wait, if there is one."""
        self._event.set()

    def close(self) -> None:
        """Let go of the file descriptor; before the socket is closed."""
        self._watcher.stop()
        self._watcher.close()
        self._event.set()

    def _is_readable(self) -> bool:
        return bool(int(self._socket.getsockopt(zmq.EVENTS)) & zmq.POLLIN)


class Mailbox(Generic[T]):
    """What other threads put in is handed to `receive`, in order, in the thread that made the mailbox.

    `receive` runs in gevent's hub: it must not block.
    """

    def __init__(self, receive: Callable[[T], None]) -> None:
        self._receive = receive
        self._items: deque[T] = deque()
        self._is_closed = False
        self._watcher = gevent.get_hub().loop.async_()
        self._watcher.start(self._empty)

    def put(self, item: T) -> None:
        """Safe in any thread; dropped when the mailbox is closed."""
        if self._is_closed:
            return
        self._items.append(item)
        self._watcher.send_ignoring_arg(None)

    def close(self) -> None:
        """Hand over what is there, and nothing after that."""
        self._is_closed = True
        self._empty()
        self._watcher.stop()
        self._watcher.close()

    def _empty(self) -> None:
        while self._items:
            self._receive(self._items.popleft())
