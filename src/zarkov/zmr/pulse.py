"""A worker's signs of life, from a thread of its own, so that they come while a function computes.

The thread ends the process when the router says so (its task is not wanted any more), when the router cannot be
reached any more, and when the worker leaves. What runs at that moment is lost; the router gives it to another.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from typing import Any

import zmq
from zmq.utils.monitor import recv_monitor_message

from zarkov.errors import BadFrame
from zarkov.event import Document
from zarkov.zmr.scheduler import TaskId
from zarkov.zmr.wire import message, read_message, task_document

#: What is added to a worker's id for its second socket.
BEAT_SUFFIX = ".beat"
#: A router that is alive answers a beat; so many are sent within the time after which it is taken for dead.
BEATS_IN_SILENCE = 5
_LINGER_MS = 200
_LOST = int(zmq.EVENT_DISCONNECTED | zmq.EVENT_CONNECT_RETRIED)


class Pulse(threading.Thread):
    """Sends beats until the process ends.

    Args:   uri: the router's source socket; silence_s: how long it may not answer; stamp: called at each beat;
            end: called, once, in this thread, with the reason to end; it ends the process.
    """

    def __init__(
        self,
        context: zmq.Context[zmq.Socket[bytes]],
        uri: str,
        worker: str,
        *,
        silence_s: float,
        secure: Callable[[zmq.Socket[bytes]], Any] | None,
        stamp: Callable[[], object],
        end: Callable[[str], object],
    ) -> None:
        super().__init__(name="pulse", daemon=True)
        self._worker = worker
        self._silence_s = silence_s
        self._stamp = stamp
        self._end = end
        self._task: tuple[TaskId, int] | None = None
        self._leaving = ""
        self._woken, self._waking = os.pipe()
        self._socket = context.socket(zmq.DEALER)
        self._socket.routing_id = f"{worker}{BEAT_SUFFIX}".encode()
        self._socket.linger = _LINGER_MS
        if secure is not None:
            secure(self._socket)
        self._monitor = self._socket.get_monitor_socket(_LOST)
        self._socket.connect(uri)

    def works_on(self, task: TaskId | None, attempt: int = 0) -> None:
        """What the next beats say."""
        self._task = None if task is None else (task, attempt)

    def leave(self, reason: str) -> None:
        """Say goodbye to the router; `end` is called then."""
        self._leaving = reason
        os.write(self._waking, b"x")

    def run(self) -> None:
        reason = self._beat_on()
        self._monitor.close(0)
        self._socket.close()
        self._end(reason)

    def _beat_on(self) -> str:
        """Send beats; returns the reason to end."""
        poller = zmq.Poller()
        for each in (self._socket, self._monitor, self._woken):
            poller.register(each, zmq.POLLIN)
        interval_s = self._silence_s / BEATS_IN_SILENCE
        heard_at, beat_at = time.monotonic(), 0.0
        while True:
            now = time.monotonic()
            if now - heard_at > self._silence_s:
                return f"the router did not answer for {self._silence_s:g} seconds"
            if now >= beat_at:
                self._stamp()
                self._socket.send_multipart(message("beat", self._head()), zmq.NOBLOCK)
                beat_at = now + interval_s
            ready = dict(poller.poll(max(1, int((beat_at - now) * 1000))))
            if self._woken in ready:
                self._socket.send_multipart(message("bye", {"worker": self._worker, "reason": self._leaving}))
                return self._leaving
            if self._monitor in ready and recv_monitor_message(self._monitor)["event"] & _LOST:
                return "the connection to the router was lost"
            if self._socket in ready:
                heard_at = time.monotonic()
                if self._is_to_stop():
                    return "the router said so"

    def _head(self) -> Document:
        working = self._task
        if working is None:
            return {"worker": self._worker, "attempt": 0}
        return {"worker": self._worker, "task": task_document(working[0]), "attempt": working[1]}

    def _is_to_stop(self) -> bool:
        try:
            said = read_message(self._socket.recv_multipart())
        except BadFrame:
            return False
        return said.what == "pulse" and said.head.get("stop") is True
