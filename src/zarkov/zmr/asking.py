"""The router as its clients see it: requests with an answer each, and the jobs that it runs.

A request has a socket of its own, so that any number of threads may ask at once, and one that waits for a job holds
up no other. Every wait has a limit. A request that was answered too late may have been carried out: a submission
names its job, so that it can be sent again.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Mapping
from typing import Any

import zmq

from zarkov.codec import decode, encode
from zarkov.errors import EventRefused, JobUnknown, RouterUnreachable, ZarkovError, error_codes
from zarkov.event import Document
from zarkov.zmr.job import Job
from zarkov.zmr.request import JobRequest

#: After this long without an answer it is looked whether anybody listens at all.
DOUBT_S = 0.5
#: When nobody listens, it is tried again after this long.
AGAIN_S = 0.2
#: The router answers `wait` after this long, ended or not, so that progress can be shown.
WAIT_S = 0.25

#: Has a socket use keys for what it connects to.
Secure = Callable[["zmq.Socket[bytes]"], object]


class Router:
    """The router at an address. Thread-safe.

    Args:   timeout_s: how long an answer is waited for; secure: with keys, what puts them on a socket.
    """

    def __init__(self, uri: str, *, timeout_s: float, secure: Secure | None = None) -> None:
        self.uri = uri
        self.timeout_s = timeout_s
        self._secure = secure

    def ask(self, command: str, fields: Mapping[str, Any] | None = None, *, longer_s: float = 0.0) -> Document:
        """One request and its answer.

        Args:   longer_s: how much longer than usual the answer may take.
        Raises: RouterUnreachable: no answer in time. The error that the router answers with.
        """
        asking: zmq.Socket[bytes] = zmq.Context.instance().socket(zmq.REQ)
        with asking:
            asking.linger = 0
            if self._secure is not None:
                self._secure(asking)
            asking.connect(self.uri)
            asking.send(encode({"$command": command, **(fields or {})}))
            answer = self._answer(asking, self.timeout_s + longer_s)
        if "error" in answer:
            raise _error_of(answer)
        return answer

    def submit(self, job_id: str, request: JobRequest) -> RemoteJob:
        """Have a job run. Raises: as `ask`; JobInvalid, FunctionUnshippable and what else the router refuses."""
        fields = request.to_wire()
        command = fields.pop("$command")
        self.ask(command, {**fields, "job_id": job_id, "wait": False})
        return RemoteJob(self, job_id)

    def jobs(self, limit: int) -> list[Job]:
        """The newest jobs, without their functions. Raises: as `ask`."""
        return [Job.from_document(each) for each in self.ask("jobs", {"limit": limit})["jobs"]]

    def _answer(self, asking: zmq.Socket[bytes], timeout_s: float) -> Document:
        deadline = time.monotonic() + timeout_s
        if not asking.poll(round(min(DOUBT_S, timeout_s) * 1000)):
            if not _listens(self.uri, timeout_s):
                raise RouterUnreachable(f"no router of map-reduce listens at {self.uri}")
            if not asking.poll(max(0, round((deadline - time.monotonic()) * 1000))):
                raise RouterUnreachable(f"the router at {self.uri} did not answer within {timeout_s:g} seconds")
        try:
            return decode(asking.recv())
        except EventRefused as refused:
            raise RouterUnreachable(f"what answers at {self.uri} is no router of map-reduce: {refused}") from refused


class RemoteJob:
    """A job that the router runs; see `running.Running`. A router that is being restarted is waited for."""

    def __init__(self, router: Router, job_id: str) -> None:
        self._router = router
        self._id = job_id
        self._value: Any = None

    @property
    def id(self) -> str:
        return self._id

    def job(self) -> Job:
        return self._asked("status", {})

    def wait(self, timeout_s: float) -> Job:
        left_s = min(timeout_s, WAIT_S)
        return self._asked("wait", {"timeout_s": left_s}, longer_s=left_s)

    def cancel(self) -> None:
        self._asked("cancel", {})

    def value(self) -> Any:
        return self._value

    def cause(self) -> BaseException | None:
        return None

    def _asked(self, command: str, fields: Mapping[str, Any], *, longer_s: float = 0.0) -> Job:
        deadline = time.monotonic() + self._router.timeout_s
        while True:
            try:
                answer = self._router.ask(command, {**fields, "job_id": self._id, "full": True}, longer_s=longer_s)
            except RouterUnreachable:
                if time.monotonic() >= deadline:
                    raise
                time.sleep(AGAIN_S)
            else:
                return self._read(answer)

    def _read(self, answer: Document) -> Job:
        document = answer.get("job")
        if document is None:
            if answer["status"]["state"] == "UNKNOWN":
                raise JobUnknown(f"the router knows no job {self._id}")
            document = {"_id": self._id, "state": answer["status"]["state"], "request": {}}
        if "result" in answer:
            self._value = answer["result"]
        return Job.from_document(document)


def _listens(uri: str, timeout_s: float) -> bool:
    """Whether anybody takes connections there; of addresses that are not TCP this says yes."""
    transport, _, rest = uri.partition("://")
    host, _, port = rest.rpartition(":")
    if transport != "tcp" or not port.isdecimal():
        return True
    try:
        with socket.create_connection((host.strip("[]"), int(port)), timeout_s):
            return True
    except OSError:
        return False


def _error_of(answer: Document) -> ZarkovError:
    """The error that was answered."""
    kind = error_codes().get(str(answer.get("code")), ZarkovError)
    error = kind(str(answer["error"]), hint=answer.get("hint"))
    error.retryable = bool(answer.get("retryable", False))
    return error
