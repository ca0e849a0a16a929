"""The router: clients in front, workers behind, jobs in between.

Theory of operation. Three sockets, each read by one greenlet: requests are answered by up to `request_greenlets`
others, workers' messages in the order in which they come, so that a task's parts are kept before its end. Nothing of
the router waits on a socket: what cannot be sent at once is an error, and the client asks again, or the worker is
taken for lost. `stop` answers those who wait, and leaves the jobs to the next router.

Sockets are plain ZeroMQ sockets used without blocking; see `ingest.readiness`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from types import TracebackType

import gevent
import zmq
from gevent.event import Event
from gevent.pool import Pool

from zarkov.codec import encode
from zarkov.config import ZmrSettings
from zarkov.errors import BadFrame, FunctionFailed
from zarkov.event import Document
from zarkov.ingest.doorkeeper import Doorkeeper
from zarkov.ingest.readiness import Readiness
from zarkov.ingest.zap import ZapHandler, ports_of
from zarkov.keyfiles import ServerKeys
from zarkov.metrics import Metrics
from zarkov.zmr import doors, failure
from zarkov.zmr.conductor import Conductor
from zarkov.zmr.desk import Desk
from zarkov.zmr.job import Counters
from zarkov.zmr.jobbook import JobBook
from zarkov.zmr.ledger import Ledger
from zarkov.zmr.pulse import BEAT_SUFFIX
from zarkov.zmr.scheduler import Assign
from zarkov.zmr.site import Site
from zarkov.zmr.tasks import Report, source_of, to_document
from zarkov.zmr.wire import (
    FRAME_BYTES_MAX,
    Message,
    error_reply,
    message,
    read_message,
    split_envelope,
    task_document,
    task_of,
)

logger = logging.getLogger(__name__)

_NOBLOCK = int(zmq.NOBLOCK)
#: Messages taken from a socket before other greenlets have their turn.
DRAIN_MAX = 64


class Router:
    """A context manager; the site stays its owner's.

    Args:   keys: with them every socket lets in only peers whose key is on the list.
    """

    def __init__(
        self, settings: ZmrSettings, site: Site, *, keys: ServerKeys | None = None, metrics: Metrics | None = None
    ) -> None:
        self.endpoints: dict[str, str] = {}
        self._settings = settings
        self._keys = keys
        self._metrics = metrics or Metrics()
        self._terminated = Event()
        ledger = Ledger(JobBook(site.store, settings.jobs_max))
        self._conductor = Conductor(site, ledger, self._send_task, self._halt, first_bytes=FRAME_BYTES_MAX)
        self._pool = Pool(settings.request_greenlets)
        self._greenlets: list[gevent.Greenlet] = []
        self._doorkeeper: Doorkeeper | None = None
        self._context: doors.Context | None = None

    def start(self) -> None:
        """Bind, and take up the jobs that an earlier router left.

        Raises: KeyInvalid; zmq.ZMQError: an address cannot be bound; StoreError.
        """
        self._context = context = zmq.Context()
        try:
            if self._keys is not None:  # Before any socket: without a handler libzmq has nobody to ask.
                ports = self.endpoints.values
                handler = ZapHandler(context, self._keys, self._metrics, lambda: ports_of(ports()))
                self._doorkeeper = Doorkeeper(handler)
            self._requests = doors.bind_requests(context, self._settings, self._keys)
            self._source = doors.bind_source(context, self._settings, self._keys)
            self._sink = doors.bind_sink(context, self._settings, self._keys)
        except BaseException:
            context.destroy(linger=0)
            raise
        sockets = {"req": self._requests, "src": self._source, "sink": self._sink}
        self.endpoints.update({name: doors.endpoint_of(socket) for name, socket in sockets.items()})
        config: dict[str, int] = {
            "src_port": doors.port_of(self._source),
            "sink_port": doors.port_of(self._sink),
        }
        self._desk = Desk(self._conductor, self._settings, config, self._terminated.set)
        self._ready = {socket: Readiness(socket) for socket in sockets.values()}
        loops: list[Callable[[], None]] = [
            lambda: self._read(self._requests, self._take_request),
            lambda: self._read(self._source, self._take_from_worker),
            lambda: self._read(self._sink, self._take_answer),
            self._conductor.run,
        ]
        if self._doorkeeper is not None:
            loops.append(self._doorkeeper.run)
        self._conductor.resume()
        self._greenlets = [gevent.spawn(loop) for loop in loops]
        logger.info("listening %s", " ".join(f"{name}={address}" for name, address in self.endpoints.items()))

    def join(self) -> None:
        """Return when a client terminated the router, or a part of it failed."""
        gevent.wait([self._terminated, *self._greenlets], count=1)

    @property
    def has_failed(self) -> bool:
        """Whether a part of it ended that should not."""
        return any(greenlet.dead for greenlet in self._greenlets)

    def stop(self) -> None:
        """Answer those who wait, and close; jobs that have not ended stay to be resumed."""
        if self._context is None:
            return
        self._conductor.stop()
        gevent.killall(self._greenlets)
        self._pool.kill()
        for readiness in self._ready.values():
            readiness.close()
        if self._doorkeeper is not None:
            self._doorkeeper.close()
        self._context.destroy(linger=doors.LINGER_MS)
        self._context = None

    def __enter__(self) -> Router:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    # In

    def _read(self, socket: doors.Socket, take: Callable[[list[bytes]], None]) -> None:
        readiness = self._ready[socket]
        while True:
            for _ in range(DRAIN_MAX):
                try:
                    frames = socket.recv_multipart(_NOBLOCK)
                except zmq.Again:
                    readiness.wait()
                    break
                try:
                    take(frames)
                except BadFrame as error:
                    logger.warning("message refused reason=%s", error)
                except Exception:
                    logger.exception("message failed")
            else:
                gevent.sleep(0)

    def _take_request(self, frames: list[bytes]) -> None:
        try:
            envelope, body = split_envelope(frames)
        except BadFrame as error:
            self._send(self._requests, [frames[0], b"", encode(error_reply(error))])
            return
        self._pool.spawn(self._desk.serve, body, lambda answer: self._send(self._requests, [*envelope, answer]))

    def _take_from_worker(self, frames: list[bytes]) -> None:
        sender, said = frames[0], read_message(frames[1:])
        conductor = self._conductor
        if said.what == "hello":
            replaces = said.head.get("replaces")
            if isinstance(replaces, str):
                conductor.left(replaces, said.text("reason"))
            self._send(self._source, [sender, *message("welcome", {})])
            conductor.hello(said.worker)
        elif said.what == "beat":
            lives = conductor.beat(said.worker, task_of(said.head.get("task")), said.attempt)
            self._send(self._source, [sender, *message("pulse", {"stop": not lives})])
        elif said.what == "fetch":
            gevent.spawn(self._fetch, sender, said)
        elif said.what == "bye":
            conductor.left(said.worker, said.text("reason"), in_order=True)
        else:
            raise BadFrame(f"a worker says {said.what[:40]!r}")

    def _take_answer(self, frames: list[bytes]) -> None:
        said = read_message(frames)
        conductor, worker, task, attempt = self._conductor, said.worker, said.task, said.attempt
        if said.what not in ("part", "done", "failed"):
            raise BadFrame(f"a worker answers {said.what[:40]!r}")
        if said.what != "failed" and said.frames:
            conductor.part(worker, task, attempt, said.pieces)
        leaves = said.head.get("leaves") is True
        if said.what == "done":
            conductor.done(worker, task, attempt, _report_of(said), leaves=leaves)
        elif said.what == "failed":
            conductor.failed(worker, task, attempt, _failure_of(said), leaves=leaves)
        if leaves:
            self._send(self._source, [worker.encode(), *message("released", {})])

    def _fetch(self, sender: bytes, said: Message) -> None:
        worker, task, attempt, start = said.worker, said.task, said.attempt, said.number("start")
        data = self._conductor.fetch(worker, task, attempt, start, FRAME_BYTES_MAX)
        if data is not None:
            self._send(self._source, [sender, *message("data", {"start": start}, [data])])

    # Out

    def _send_task(self, worker: str, assign: Assign, first: bytes | None) -> bool:
        source = source_of(assign.payload)
        head: Document = {
            "task": task_document(assign.task),
            "attempt": assign.attempt,
            "body": to_document(assign.payload),
            "size": 0 if source is None else source.size,
        }
        frames = message("task", head, [] if first is None else [first])
        return self._send(self._source, [worker.encode(), *frames])

    def _halt(self, worker: str) -> None:
        self._send(self._source, [f"{worker}{BEAT_SUFFIX}".encode(), *message("pulse", {"stop": True})])

    def _send(self, socket: doors.Socket, frames: Sequence[bytes]) -> bool:
        """Send, or give it up: whoever it was for is gone, or does not read."""
        try:
            socket.send_multipart(frames, _NOBLOCK)
        except zmq.ZMQError as error:
            logger.debug("message not sent reason=%s", error)
            return False
        finally:
            self._ready[socket].poke()
        return True


def _report_of(said: Message) -> Report:
    counters = said.head.get("counters")
    printed = said.head.get("printed")
    return Report(
        Counters.from_document(counters) if isinstance(counters, dict) else Counters(),
        printed if isinstance(printed, str) else "",
    )


def _failure_of(said: Message) -> FunctionFailed:
    found = said.head.get("failure")
    try:
        return failure.from_document(found if isinstance(found, dict) else {})
    except KeyError as missing:
        raise BadFrame(f"a failure lacks {missing}") from missing
