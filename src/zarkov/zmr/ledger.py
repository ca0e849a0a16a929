"""The job book as greenlets use it: read and written in one thread, in the order of the calls."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeVar

from gevent.threadpool import ThreadPool

from zarkov.errors import ZarkovError
from zarkov.zmr.job import Job, JobState
from zarkov.zmr.jobbook import JobBook
from zarkov.zmr.site import utc_now

logger = logging.getLogger(__name__)

T = TypeVar("T")


class Ledger:
    """Raises: StoreError: from every method that does not say otherwise."""

    def __init__(self, book: JobBook) -> None:
        self._book = book
        self._pool = ThreadPool(1)

    def put(self, job: Job) -> None:
        """Write a job down."""
        self._call(self._book.put, job)

    def try_to_put(self, job: Job) -> bool:
        """As `put`; a store that does not take it is logged, and False."""
        try:
            self.put(job)
        except ZarkovError as error:
            logger.warning("job not written id=%s reason=%s", job.id, error)
            return False
        return True

    def end(self, job: Job, value: Any) -> None:
        """Write down the end; where the store does not take it, the next router finds the job unfinished."""
        try:
            self._call(self._book.end, job, value)
        except ZarkovError:
            logger.exception("end of a job not written id=%s", job.id)

    def lose(self, job: Job, reason: str) -> None:
        """Write down that a job of an earlier router has failed; as `end`."""
        timings = replace(job.timings, ended_at=utc_now())
        logger.error("job lost id=%s reason=%s", job.id, reason)
        self.end(replace(job, state=JobState.ERROR, error=reason, timings=timings), None)

    def find(self, job_id: str) -> Job | None:
        return self._call(self._book.get, job_id)

    def result(self, job_id: str) -> Any:
        return self._call(self._book.result, job_id)

    def newest(self, limit: int) -> list[Job]:
        return self._call(self._book.newest, limit)

    def unfinished(self) -> list[Job]:
        return self._call(self._book.unfinished)

    def join(self) -> None:
        """Return when everything is written."""
        self._pool.join()

    def _call(self, call: Callable[..., T], *arguments: Any) -> T:
        found: T = self._pool.apply(call, arguments)
        return found
