"""A job that was submitted, as its submitter follows it: in a thread of this process, or at the router."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import datetime
from typing import Any, Protocol

from zarkov.errors import JobCancelled, ZarkovError
from zarkov.zmr.executors import Ended, Executor
from zarkov.zmr.job import Job, JobState, Timings
from zarkov.zmr.request import JobRequest


class Running(Protocol):
    """A job under way, or ended."""

    @property
    def id(self) -> str: ...

    def job(self) -> Job:
        """The job as it is now. Raises: JobUnknown, RouterUnreachable."""

    def wait(self, timeout_s: float) -> Job:
        """The job when it has ended, or after this time. Raises: as `job`; what kept the job from beginning."""

    def cancel(self) -> None:
        """Have it end; it may take until the tasks that run are done. Raises: as `job`."""

    def value(self) -> Any:
        """What it returned, once it has ended: documents where it stores none, or what a function of `basic` gave."""

    def cause(self) -> BaseException | None:
        """The exception that a function raised, where it was raised in this process."""


class LocalJob:
    """A job that an executor drives from this process; in a thread of its own, unless `run` is called.

    Args:   remember: called with the job when it has ended.
    """

    def __init__(
        self,
        job_id: str,
        request: JobRequest,
        executor: Executor,
        *,
        remember: Callable[[Job], object],
        now: Callable[[], datetime],
    ) -> None:
        self._id = job_id
        self._request = request
        self._executor = executor
        self._remember = remember
        self._now = now
        self._job = Job(job_id, JobState.QUEUED, request.to_wire(), timings=Timings(submitted_at=now()))
        self._ended: Ended | None = None
        self._error: BaseException | None = None
        self._is_cancelled = threading.Event()
        self._has_ended = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def id(self) -> str:
        return self._id

    def start(self) -> None:
        """Run it in a thread."""
        self._thread = threading.Thread(target=self._run_aside, name=f"job {self._id}", daemon=True)
        self._thread.start()

    def run(self, watch: Callable[[Job], object]) -> None:
        """Run it here, to its end. Raises: what kept it from beginning; with a debugger, what a function raised."""

        seen = self._job

        def watch_both(job: Job) -> None:
            nonlocal seen
            seen = job
            if not job.state.has_ended:  # Its end is told when all that belongs to it is there.
                self._job = job
            watch(job)

        try:
            self._ended = self._executor.run(
                self._id, self._request, watch=watch_both, is_cancelled=self._is_cancelled.is_set
            )
            seen = self._ended.job
        except BaseException as error:
            self._error = error
            if not seen.state.has_ended:
                seen = _failed(seen, error, self._now())
            raise
        finally:
            try:
                self._remember(seen)
            finally:
                self._job = seen
                self._has_ended.set()

    def job(self) -> Job:
        return self._job

    def wait(self, timeout_s: float) -> Job:
        self._has_ended.wait(timeout_s)
        job = self._job
        if job.state.has_ended and self._error is not None:
            raise self._error
        return job

    def cancel(self) -> None:
        self._is_cancelled.set()

    def close(self, timeout_s: float) -> None:
        """Cancel it, and wait until it has ended."""
        self.cancel()
        if self._thread is not None:
            self._thread.join(timeout_s)

    def value(self) -> Any:
        return None if self._ended is None else self._ended.value

    def cause(self) -> BaseException | None:
        return None if self._ended is None else self._ended.cause

    def _run_aside(self) -> None:
        try:
            self.run(lambda job: None)
        except BaseException:  # noqa: BLE001  # kept: `wait` raises it
            return


def _failed(job: Job, error: BaseException, now: datetime) -> Job:
    """The job that could not begin."""
    said = str(error) if isinstance(error, ZarkovError) else f"{type(error).__name__}: {error}"
    timings = Timings(submitted_at=job.timings.submitted_at, ended_at=now)
    state = JobState.CANCELLED if isinstance(error, JobCancelled | KeyboardInterrupt) else JobState.ERROR
    return Job(job.id, state, job.request, job.position, timings=timings, error=said)
