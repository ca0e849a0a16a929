"""A job of a router that has not ended, and who waits for it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from zarkov.zmr.driver import JobDriver
from zarkov.zmr.job import Job
from zarkov.zmr.scheduler import Scheduler

#: Called with a job that has ended (or that the router lets go of, stopping), and what it returns.
Waiter = Callable[[Job, Any], object]


@dataclass(slots=True, eq=False)
class Held:
    """`runs`: how often it was begun; `written`: as it stands in the book, None before it is there."""

    driver: JobDriver
    deadline: float
    runs: int
    is_running: bool = False
    is_ended: bool = False
    written: Job | None = None
    waiters: list[Waiter] = field(default_factory=list)

    def job(self, scheduler: Scheduler) -> Job:
        """The job as it is now; the driver notes how far it is."""
        job_id = self.driver.id
        progress = scheduler.progress(job_id) if job_id in scheduler.jobs else None
        return replace(self.driver.job(progress), runs=self.runs)
