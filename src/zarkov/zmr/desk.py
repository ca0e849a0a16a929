"""What clients ask of the router, answered: at once, or when a job has ended.

A request that waits holds nothing but its place: the greenlet that read it goes on to the next. Every request is
answered once, whatever goes wrong.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import gevent

from zarkov.codec import encode
from zarkov.config import ZmrSettings
from zarkov.errors import EventRefused, JobsFull, ZarkovError
from zarkov.event import Document
from zarkov.zmr.conductor import Conductor
from zarkov.zmr.job import Job
from zarkov.zmr.request import JobRequest
from zarkov.zmr.wire import (
    SUBMISSIONS,
    Request,
    checked_job_id,
    error_reply,
    read_request,
    status_reply,
    summary_of,
    unknown_reply,
)

logger = logging.getLogger(__name__)

#: Requests that wait for jobs, at most.
WAITING_MAX = 10_000

#: Sends an answer; called once for each request, from any greenlet.
Reply = Callable[[bytes], object]


class Desk:
    """Answers requests.

    Args:   ports: {src_port, sink_port} as they are; terminate: stops the router.
    """

    def __init__(
        self, conductor: Conductor, settings: ZmrSettings, ports: dict[str, int], terminate: Callable[[], object]
    ) -> None:
        self._conductor = conductor
        self._settings = settings
        self._ports = ports
        self._terminate = terminate
        self._waiting = 0

    def serve(self, body: bytes, reply: Reply) -> None:
        """Answer one request, now or later."""
        try:
            request = read_request(body)
            answer = self._submit(request, reply) if request.command in SUBMISSIONS else self._answer(request, reply)
        except ZarkovError as error:
            answer = error_reply(error)
        except Exception as error:
            logger.exception("request failed")
            answer = error_reply(ZarkovError(f"{type(error).__name__}: {error}"))
        if answer is not None:
            reply(_encoded(answer))

    def _answer(self, request: Request, reply: Reply) -> Document | None:
        fields, conductor = request.fields, self._conductor
        if request.command == "echo":
            return {"message": fields.get("message")}
        if request.command == "config":
            return {**config_of(self._settings), **self._ports}
        if request.command == "jobs":
            return {"jobs": [summary_of(job) for job in conductor.newest(request.limit)]}
        if request.command == "terminate" and "job_id" not in fields:
            gevent.spawn_later(0, self._terminate)
            return {"message": "the router stops"}
        if request.command == "wait":
            return self._wait(request, reply)
        if request.command in ("cancel", "terminate"):
            conductor.cancel(request.job_id)
        return self._status(request)

    def _submit(self, request: Request, reply: Reply) -> Document | None:
        fields = dict(request.fields)
        job_id = fields.pop("job_id", None)
        if job_id is not None:
            job_id = checked_job_id(str(job_id))
        wanted = JobRequest.from_wire({"$command": request.command, **fields})
        if not wanted.wait:
            return status_reply(self._conductor.submit(wanted, job_id))
        waiter = self._waiter(reply, full=False)
        try:
            self._conductor.submit(wanted, job_id, waiter)
        except BaseException:
            self._waiting -= 1
            raise
        return None

    def _wait(self, request: Request, reply: Reply) -> Document | None:
        timeout_s, full = request.timeout_s, request.fields.get("full") is True
        waiter = self._waiter(reply, full=full)
        if not self._conductor.wait(request.job_id, waiter):
            self._waiting -= 1
            return self._status(request)
        if timeout_s is not None:
            gevent.spawn_later(timeout_s, self._time_over, request, waiter)
        return None

    def _time_over(self, request: Request, waiter: _Waiter) -> None:
        if not waiter.is_over:
            self._conductor.wait_no_more(request.job_id, waiter)
            waiter.answer(self._status(request))

    def _status(self, request: Request) -> Document:
        job_id = request.job_id
        job = self._conductor.find(job_id)
        if job is None:
            return unknown_reply(job_id)
        result = self._conductor.result(job_id) if job.state.has_ended else None
        return status_reply(job, result, full=request.fields.get("full") is True)

    def _waiter(self, reply: Reply, *, full: bool) -> _Waiter:
        if self._waiting >= WAITING_MAX:
            raise JobsFull(f"{self._waiting:,} requests wait for jobs")
        self._waiting += 1
        return _Waiter(self, reply, full)

    def over(self) -> None:
        """A request does not wait any more."""
        self._waiting -= 1


class _Waiter:
    """One request that waits for a job; answers once."""

    def __init__(self, desk: Desk, reply: Reply, full: bool) -> None:
        self.is_over = False
        self._desk = desk
        self._reply = reply
        self._full = full

    def __call__(self, job: Job, result: Any) -> None:
        if not self.is_over:
            self.answer(status_reply(job, result, full=self._full))

    def answer(self, document: Document) -> None:
        self.is_over = True
        self._desk.over()
        self._reply(_encoded(document))


def config_of(settings: ZmrSettings) -> Document:
    """The settings as `config` answers them."""
    return {name: str(value) if isinstance(value, Path) else value for name, value in asdict(settings).items()}


def _encoded(answer: Document) -> bytes:
    try:
        return encode(answer)
    except EventRefused as refused:
        return encode(error_reply(ZarkovError(f"the answer cannot be sent: {refused}")))
