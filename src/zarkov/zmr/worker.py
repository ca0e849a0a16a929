"""A worker process: takes a task from the router, does it, answers, takes the next.

Theory of operation. The process owns nothing: no store, no journal, only the task at hand. Its main thread runs the
functions, under limits of memory and CPU time; another sends signs of life (`pulse`), and ends the process when they
are not answered or the task is not wanted any more. `run` returns when the process is to be replaced: after so many
tasks, or when it has grown too large. Whoever started it starts the next one (cli.crew); a process that died has
nothing that is missed but its task, which the router gives to another.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from typing import Any

import zmq

from zarkov.codec import decode, encode
from zarkov.config import ZmrSettings
from zarkov.errors import EventRefused, FunctionFailed, TaskLost
from zarkov.event import Document
from zarkov.zmr import failure
from zarkov.zmr.limits import cpu_limited, limit_process, resident_bytes
from zarkov.zmr.pulse import Pulse
from zarkov.zmr.runs import Held, RunSource
from zarkov.zmr.scratch import Scratch
from zarkov.zmr.tasks import Report, from_document, run_task
from zarkov.zmr.wire import Message, Packing, message, read_message, task_document

logger = logging.getLogger(__name__)

#: How long the router has to answer where it is, before it is asked again; and the pause before that.
LOCATE_MS = 2_000
PAUSE_S = 0.25
#: Messages queued for the router.
QUEUED_MAX = 8
LINGER_MS = 2_000

Socket = zmq.Socket[bytes]


class Worker:
    """One worker process.

    Args:   name: its id, never used before; replaces: the id of the process in whose place it was started, which
            ended for this `reason`; stamp: called at each sign of life; end: ends the process, from any thread;
            secure: with keys, what puts them on a socket.
    """

    def __init__(
        self,
        settings: ZmrSettings,
        name: str,
        *,
        replaces: str | None = None,
        reason: str = "",
        stamp: Callable[[], object],
        end: Callable[[str], object],
        secure: Callable[[Socket], Any] | None = None,
    ) -> None:
        self._settings = settings
        self._name = name
        self._replaces = replaces
        self._reason = reason
        self._stamp = stamp
        self._end = end
        self._secure = secure
        self._done_count = 0
        self._pulse: Pulse | None = None

    def run(self) -> None:
        """Take tasks until the process is to be replaced."""
        context: zmq.Context[Socket] = zmq.Context()
        source_uri, sink_uri = self._locate(context)
        self._source = self._connected(context, zmq.DEALER, source_uri)
        self._sink = self._connected(context, zmq.PUSH, sink_uri)
        head = {"worker": self._name, "replaces": self._replaces, "reason": self._reason}
        self._source.send_multipart(message("hello", head))
        if not self._source.poll(LOCATE_MS):
            return
        self._pulse = Pulse(
            context,
            source_uri,
            self._name,
            silence_s=self._settings.worker_silence_s,
            secure=self._secure,
            stamp=self._stamp,
            end=self._end,
        )
        self._pulse.start()
        limit_process(self._settings.task_memory_bytes_max)
        leaves = False
        while not leaves:
            said = read_message(self._source.recv_multipart())
            if said.what == "task":
                leaves = self._serve(said)
        # Its successor's hello comes by another way: it must not overtake the answer.
        self._source.poll(int(self._settings.worker_silence_s * 1000))
        self._sink.close()
        self._source.close()

    def leave(self, reason: str) -> None:
        """End the process soon, and say so to the router."""
        if self._pulse is None:
            self._end(reason)
        else:
            self._pulse.leave(reason)

    def _locate(self, context: zmq.Context[Socket]) -> tuple[str, str]:
        """The addresses of the router's sockets for workers; asked for until it answers."""
        while True:
            self._stamp()
            with self._connected(context, zmq.REQ, self._settings.req_uri) as asking:
                asking.linger = 0
                asking.send(encode({"$command": "config"}))
                if asking.poll(LOCATE_MS):
                    try:
                        found = decode(asking.recv())
                        host = host_of(self._settings.worker_uri)
                        return f"{host}:{int(found['src_port'])}", f"{host}:{int(found['sink_port'])}"
                    except (EventRefused, KeyError, TypeError, ValueError) as error:
                        logger.warning("no router at %s: %s", self._settings.req_uri, error)
            time.sleep(PAUSE_S)

    def _connected(self, context: zmq.Context[Socket], kind: int, uri: str) -> Socket:
        socket = context.socket(kind)
        if kind == zmq.DEALER:
            socket.routing_id = self._name.encode()
        socket.sndhwm = QUEUED_MAX
        socket.linger = LINGER_MS
        if self._secure is not None:
            self._secure(socket)
        socket.connect(uri)
        return socket

    def _serve(self, said: Message) -> bool:
        """Do a task, and answer; whether it was the last."""
        assert self._pulse is not None
        name = {"worker": self._name, "task": task_document(said.task), "attempt": said.attempt}
        self._pulse.works_on(said.task, said.attempt)
        packing = Packing()

        def emit(partition: int, piece: bytes) -> None:
            for partitions, frames in packing.add(partition, piece):
                self._sink.send_multipart(message("part", {**name, "partitions": partitions}, frames))

        self._done_count += 1
        try:
            report = self._done(said, emit)
        except Exception as error:  # noqa: BLE001  # whatever it is, it is the router's to know
            stage = str(said.head["task"]["stage"])
            failed = error if isinstance(error, FunctionFailed) else failure.function_failed(stage, error)
            answer = message("failed", {**name, "failure": failure.to_document(failed), "leaves": self._leaves()})
        else:
            partitions, frames = packing.take()
            head: Document = {**name, "partitions": partitions, "leaves": self._leaves()}
            head |= {"counters": report.counters.to_document(), "printed": report.printed}
            answer = message("done", head, frames)
        self._pulse.works_on(None)
        leaves = self._leaves()
        self._sink.send_multipart(answer)
        return leaves

    def _done(self, said: Message, emit: Callable[[int, bytes], object]) -> Report:
        body = said.head.get("body")
        if not isinstance(body, dict):
            raise TaskLost("the task has no body")
        task = from_document(body, self._source_of(said))
        with cpu_limited(self._settings.task_timeout_s):
            return run_task(task, emit, self._keep)

    def _source_of(self, said: Message) -> RunSource:
        """The source of a task: the first of it came along, the rest is fetched."""
        size = said.number("size")
        first = said.frames[0] if said.frames else b""
        if len(first) >= size:
            return Held(first)
        place = Scratch(self._settings.job_root)
        place.write(first)
        while place.size < size:
            head = {"task": task_document(said.task), "attempt": said.attempt, "start": place.size}
            self._source.send_multipart(message("fetch", {"worker": self._name, **head}))
            if not self._source.poll(int(self._settings.task_timeout_s * 1000)):
                raise TaskLost("the router does not send the rest of the task")
            more = read_message(self._source.recv_multipart())
            if more.what == "data" and more.number("start") == place.size and more.frames:
                place.write(more.frames[0])
        return place

    def _keep(self, pieces: Iterator[bytes]) -> RunSource:
        place = Scratch(self._settings.job_root)
        for piece in pieces:
            place.write(piece)
        return place

    def _leaves(self) -> bool:
        """Whether the process is to be replaced after this task."""
        settings = self._settings
        too_many = self._done_count >= settings.requests_per_worker_process
        return too_many or resident_bytes() > settings.worker_memory_bytes_max


def host_of(worker_uri: str) -> str:
    """`worker_uri` without a port, if it has one."""
    head, colon, tail = worker_uri.rpartition(":")
    return head if colon and tail.isdecimal() else worker_uri
