"""A router and workers in processes of their own, over a log with given events, and a client that speaks raw BSON."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any

import bson
import psutil
import zmq

from running import free_port
from waiting import wait_until
from zarkov.journal.journals import Journals
from zarkov.store.sqlite import SqliteStore

ANSWER_S = 60.0

#: Functions as a client of any language sends them: text.
COUNT_MAP = """
def count(events):
    for event in events:
        yield event['context']['number'] % 10, 1
"""
TOTAL = "def total(key, values): return sum(values)"
COUNTING = {"map_text": COUNT_MAP, "map_name": "count", "reduce_text": TOTAL, "reduce_name": "total"}


class Client:
    """A REQ socket, as any program has one."""

    def __init__(self, uri: str, *, keys: Any = None, answer_s: float = ANSWER_S) -> None:
        self.context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self.socket = self.context.socket(zmq.REQ)
        self.socket.linger = 0
        self.socket.rcvtimeo = int(answer_s * 1000)
        if keys is not None:
            keys.secure(self.socket)
        self.socket.connect(uri)

    def send(self, command: str, **fields: Any) -> None:
        self.socket.send(bson.encode({"$command": command, **fields}))

    def receive(self) -> dict[str, Any]:
        return bson.decode(self.socket.recv())

    def ask(self, command: str, **fields: Any) -> dict[str, Any]:
        self.send(command, **fields)
        return self.receive()

    def close(self) -> None:
        self.context.destroy(linger=0)


class Cluster:
    """A router and a crew of workers; a context manager that leaves no process behind."""

    def __init__(self, folder: Path, *, workers: int = 2, **settings: Any) -> None:
        self.folder = folder
        self.workers = workers
        self.log = folder / "zmr.log"
        self.uri = f"tcp://127.0.0.1:{free_port()}"
        chosen = {"req_bind": self.uri, "req_uri": self.uri, "job_root": folder / "root", "worker_silence_s": 5}
        more = settings.pop("more", {})
        self._settings = {f"zmr.{name}": value for name, value in {**chosen, **settings}.items()} | more
        self.router: subprocess.Popen[bytes] | None = None
        self.crew: subprocess.Popen[bytes] | None = None
        self._clients: list[Client] = []

    def start_router(self) -> None:
        self.router = self._start("zarkov.cli.zmr_router")

    def start_crew(self) -> None:
        self.crew = self._start("zarkov.cli.zmr_worker", f"--processes={self.workers}")

    def client(self, **options: Any) -> Client:
        client = Client(self.uri, **options)
        self._clients.append(client)
        return client

    def ask(self, command: str, **fields: Any) -> dict[str, Any]:
        """One request on a socket of its own."""
        client = Client(self.uri)
        try:
            return client.ask(command, **fields)
        finally:
            client.close()

    def job(self, job_id: str) -> dict[str, Any]:
        """The job's document, as `status` gives it."""
        return self.ask("status", job_id=job_id, full=True)["job"]

    def until(self, job_id: str, *states: str) -> dict[str, Any]:
        """The job's document once it is in one of these states."""
        wait_until(lambda: self.job(job_id)["state"] in states, ANSWER_S)
        return self.job(job_id)

    def ended(self, job_id: str) -> dict[str, Any]:
        return self.until(job_id, "complete", "error", "cancelled")

    def worker_pids(self) -> list[int]:
        assert self.crew is not None
        with suppress(psutil.NoSuchProcess):
            return [child.pid for child in psutil.Process(self.crew.pid).children()]
        return []

    def documents(self, name: str) -> list[dict[str, Any]]:
        with stored(self.folder) as store:
            return list(store.collection(name).find())

    def result(self, name: str) -> dict[Any, Any]:
        """A collection as key -> value."""
        return {document["_id"]: document["value"] for document in self.documents(name)}

    def kill_router(self) -> None:
        assert self.router is not None
        self.router.kill()
        self.router.wait(30)

    def _start(self, module: str, *arguments: str) -> subprocess.Popen[bytes]:
        given = [f"--set={name}={value}" for name, value in self._settings.items()]
        argv = [sys.executable, "-P", "-m", module, "--data-dir", str(self.folder), *given, *arguments]
        read, write = os.pipe()
        with self.log.open("ab") as log:
            process = subprocess.Popen(
                [*argv, "--ready-fd", str(write)], stdin=subprocess.DEVNULL, stdout=log, stderr=log, pass_fds=(write,)
            )
        os.close(write)
        with os.fdopen(read, "rb") as ready:
            if ready.readline() != b"ready\n":
                process.wait(30)
                raise AssertionError(self.log.read_text())
        return process

    def __enter__(self) -> Cluster:
        self.start_router()
        self.start_crew()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for client in self._clients:
            client.close()
        for pid in self.worker_pids() if self.crew is not None else []:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)
        for process in (self.crew, self.router):
            if process is not None and process.poll() is None:
                process.terminate()
                try:
                    process.wait(20)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait(20)
        if kind is not None:
            print(self.log.read_text()[-6000:])


@contextmanager
def stored(folder: Path) -> Iterator[SqliteStore]:
    """The store of a cluster."""
    with Journals.open([folder / "journal"]) as journals, SqliteStore(journals, folder / "documents.sqlite") as store:
        yield store


def counted(numbers: Sequence[int]) -> dict[int, int]:
    """What COUNTING gives for events of these numbers, in plain Python."""
    found: dict[int, int] = {}
    for number in numbers:
        found[number % 10] = found.get(number % 10, 0) + 1
    return found
