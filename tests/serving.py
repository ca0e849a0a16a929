"""A real EventServer on a real journal, in a thread of this process, with sockets to talk to it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import bson
import gevent
import zmq
from bson import ObjectId

from waiting import wait_until
from zarkov.batch import Entry, Rejection
from zarkov.config import IngestSettings, JournalSettings
from zarkov.errors import ZarkovError
from zarkov.ingest.control import Command
from zarkov.ingest.ports import Done
from zarkov.ingest.server import EventServer
from zarkov.journal.committer import Committer
from zarkov.journal.reader import Journal
from zarkov.journal.rejected import RejectedStore
from zarkov.journal.writer import JournalWriter
from zarkov.keyfiles import ServerKeys
from zarkov.metrics import Metrics
from zarkov.position import OffsetRange

ANY_PORT = "tcp://127.0.0.1:*"


class Gate:
    """A committer that can be told to hold requests back, or to have no space, or to have failed."""

    def __init__(self, committer: Committer) -> None:
        self.committer = committer
        self.refusal: ZarkovError | None = None
        self.held: list[tuple[Entry | None, Sequence[Rejection], Done]] | None = None
        self.held_bytes_max = 0

    @property
    def failed(self) -> ZarkovError | None:
        return self.committer.failed

    def submit(self, entry: Entry | None, rejections: Sequence[Rejection], done: Done) -> None:
        if self.refusal is not None:
            done(None, self.refusal)
        elif self.held is not None:
            self.held.append((entry, rejections, done))
            held = sum(len(each.data) for each, _, _ in self.held if each is not None)
            self.held_bytes_max = max(self.held_bytes_max, held)
        else:
            self.committer.submit(entry, rejections, done)

    def try_now(self, entry: Entry, rejections: Sequence[Rejection]) -> OffsetRange | None:
        if self.refusal is not None:
            raise self.refusal
        return None if self.held is not None else self.committer.try_now(entry, rejections)

    def hold(self) -> None:
        self.held = []

    def release(self) -> None:
        held, self.held = self.held or [], None
        for entry, rejections, done in held:
            self.committer.submit(entry, rejections, done)


class Serving:
    """The server while the context lasts; `stop` and a new `Serving` on the same folder are a restart."""

    def __init__(
        self,
        folder: Path,
        *,
        commands: Mapping[str, Command] | None = None,
        control_path: Path | None = None,
        journal: JournalSettings | None = None,
        settle_s: float = 10,
        keys: ServerKeys | None = None,
        **settings: Any,
    ) -> None:
        addresses = dict.fromkeys(
            ("bson_bind_address", "json_bind_address", "publish_bind_address", "ack_bind_address"), ANY_PORT
        )
        self.folder = folder
        self.settings = replace(IngestSettings(), **(addresses | settings))
        self.journal_settings = journal or JournalSettings()
        self.metrics = Metrics()
        self.error: BaseException | None = None
        self.settled: bool | None = None
        self._settle_s = settle_s
        self._keys = keys
        self._control_path = control_path
        self._commands = commands or {}
        self._ready, self._stopping = threading.Event(), threading.Event()
        self._context = zmq.Context()
        self._sockets: list[zmq.Socket[bytes]] = []
        self._thread = threading.Thread(target=self._run)

    def start(self) -> Serving:
        self._thread.start()
        wait_until(self._ready.is_set)
        if self.error is not None:
            self._thread.join()
            self._context.destroy(linger=0)
            raise self.error
        return self

    def stop(self) -> None:
        """Stop the server, journal and all; the test's sockets stay."""
        self._stopping.set()
        self._thread.join(60)
        assert not self._thread.is_alive()
        if self.error is not None:
            raise self.error

    def __enter__(self) -> Serving:
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if self._thread.is_alive():
                self.stop()
        finally:
            self._context.destroy(linger=0)

    def _run(self) -> None:
        try:
            with ExitStack() as stack:
                journal = self.journal_settings
                writer = stack.enter_context(JournalWriter.open(self.folder / "journal", journal))
                rejected = stack.enter_context(RejectedStore.open(self.folder / "rejected.sqlite", journal))
                committer = stack.enter_context(Committer(writer, rejected, settings=journal, metrics=self.metrics))
                self.gate = Gate(committer)
                self.server = EventServer(
                    self.settings,
                    self.gate,
                    journal_id=writer.journal_id,
                    producers=list(writer.producer_records()),
                    producers_max=journal.producers_max,
                    metrics=self.metrics,
                    control_path=self._control_path,
                    commands=self._commands,
                    keys=self._keys,
                )
                self.server.start()
                self._ready.set()
                while not self._stopping.is_set() and not self.server.join(0.01):
                    pass
                self.settled = self.server.stop(drain_s=2, settle_s=self._settle_s)
        except BaseException as error:  # noqa: BLE001 - it is raised again in the test's thread
            self.error = error
        finally:
            self._ready.set()
            gevent.get_hub().destroy(destroy_loop=True)

    # What a test says to it.

    def connect(self, kind: int, name: str, **options: int) -> zmq.Socket[bytes]:
        """A socket connected to the address of this setting, with these options (`rcvhwm=1`)."""
        socket = self._context.socket(kind)
        self._sockets.append(socket)
        socket.linger = 0
        for option, value in options.items():
            setattr(socket, option, value)
        socket.connect(self.server.endpoints[name])
        return socket

    def push(self, *messages: bytes, name: str = "bson_bind_address") -> None:
        """Send messages and return when they have left."""
        context = zmq.Context()
        socket = context.socket(zmq.PUSH)
        socket.linger = 20_000
        socket.sndhwm = 1_000_000
        socket.connect(self.server.endpoints[name])
        for message in messages:
            socket.send(message)
        socket.close()
        context.term()

    def dealer(self, **options: int) -> Dealer:
        return Dealer(self.connect(zmq.DEALER, "ack_bind_address", **options))

    def port(self, name: str) -> int:
        return int(self.server.endpoints[name].rpartition(":")[2])

    def metric(self, name: str) -> Any:
        return self.metrics.snapshot()[name]

    # What came of it.

    def events(self) -> list[dict[str, Any]]:
        """What the journal holds, in order."""
        with Journal.open(self.folder / "journal") as journal:
            return [document for _, document in journal.read(0)]

    def rejections(self) -> list[Rejection]:
        with RejectedStore.open_readonly(self.folder / "rejected.sqlite") as rejected:
            return [kept.rejection for kept in rejected.list(1_000_000)]

    def wait_for_events(self, count: int) -> list[dict[str, Any]]:
        wait_until(lambda: len(self.events()) >= count)
        found = self.events()
        assert len(found) == count
        return found

    def wait_for_metric(self, name: str, holds: Callable[[Any], bool]) -> None:
        wait_until(lambda: holds(self.metric(name)))


class Dealer:
    """A client of the acknowledging channel, spoken by hand."""

    def __init__(self, socket: zmq.Socket[bytes], producer: bytes = b"producer") -> None:
        self.socket = socket
        self.producer = producer

    def send(self, *frames: bytes) -> None:
        self.socket.send_multipart([b"ZK1", *frames])

    def batch(self, sequence: int, *payloads: bytes, command: bytes = b"BATCH") -> None:
        self.send(command, self.producer, sequence.to_bytes(8, "big"), *payloads)

    def answer(self, timeout_s: float = 20) -> list[bytes]:
        """The next answer's frames, after the first."""
        assert self.socket.poll(int(timeout_s * 1000)), "no answer came"
        magic, *frames = self.socket.recv_multipart()
        assert magic == b"ZK1"
        return frames

    def is_silent(self) -> bool:
        """Whether no answer is waiting, after the server has dealt with all that was sent before."""
        self.send(b"PING", b"are you there")
        frames = self.answer()
        return frames == [b"PONG", b"are you there"]

    def acknowledged(self, sequence: int) -> dict[str, Any]:
        kind, number, body = self.answer()
        assert (kind, int.from_bytes(number, "big")) == (b"ACK", sequence), (kind, bson.decode(body))
        return bson.decode(body)

    def not_taken(self, sequence: int) -> dict[str, Any]:
        kind, number, body = self.answer()
        assert (kind, int.from_bytes(number, "big")) == (b"NACK", sequence)
        return bson.decode(body)


def event(**fields: Any) -> bytes:
    return bson.encode({"_id": ObjectId(), "type": "nop", **fields})
