"""Running one job from this process, whoever does its tasks: the port `Executor`, and the loop behind it.

Theory of operation. An executor runs a request to its end. Between the scheduler, which says what is to be done, and
the driver, which knows the job, stands a crew: it does tasks, and answers. The loop in `run_job` carries out one
instruction after another and takes answers when there is nothing else to do; all of it in one thread, so that the
scheduler needs no lock.

    inline    the crew is this process: a task is done while its answer is waited for
    dask      the crew is a Dask cluster: a task is a future

The router (`zmr`) drives jobs in the same way, many at once, in a process of its own.

Every wait has a limit: an answer's by the lease of its task, the job's by `job_timeout_s`. Whatever happens, the job
ends with a state, and what it kept is let go.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from zarkov.errors import FunctionFailed, ZarkovError
from zarkov.zmr.driver import JobDriver
from zarkov.zmr.job import Job
from zarkov.zmr.kept import KeptPart, Piece
from zarkov.zmr.request import JobRequest
from zarkov.zmr.scheduler import (
    Abandon,
    Assign,
    Commit,
    Finish,
    Instruction,
    Limits,
    Plan,
    Read,
    Scheduler,
    TaskId,
)
from zarkov.zmr.tasks import Report, Task

#: How long an answer is waited for before the job is looked at again: whether it was cancelled, how far it is.
LOOK_S = 0.1

#: Takes the job as it is now.
Watch = Callable[[Job], object]
Keep = Callable[[Sequence[Piece]], KeptPart]


@dataclass(frozen=True, slots=True)
class Ended:
    """How a job ended. `value`: what its output gave (`basic`: the function); `cause`: what a function raised."""

    job: Job
    value: Any = None
    cause: BaseException | None = None


class Executor(Protocol):
    """Runs jobs, one at a time."""

    def run(self, job_id: str, request: JobRequest, *, watch: Watch, is_cancelled: Callable[[], bool]) -> Ended:
        """Run a job to its end.

        Args:   watch: called with the job when it has moved on, from the calling thread; is_cancelled: asked often.
        Returns: also when the job failed or was cancelled: `Ended.job` says so.
        Raises: ZarkovError: it could not begin: its input cannot be opened, no cluster answers.
        """


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of a worker's task: the parts that it gave, kept, and its report; or the error."""

    worker: Hashable
    parts: Sequence[KeptPart] = ()
    report: Report = Report()
    error: ZarkovError | None = None


class Crew(Protocol):
    """Who does the tasks; for one job, from one thread."""

    def workers(self) -> Sequence[Hashable]:
        """All there are now: each takes one task at a time. More may come while the job runs."""

    def begin(self, worker: Hashable, task: Task, keep: Keep) -> None:
        """Give a worker a task; `keep` takes what it gives."""

    def answers(self, timeout_s: float) -> Sequence[Answer]:
        """Answers that are there, or come within this time. Raises: ZarkovError: there will be none any more."""

    def abandon(self, worker: Hashable) -> None:
        """The worker's task is not wanted any more; an answer to it is not given."""


def run_job(
    driver: JobDriver,
    crew: Crew,
    limits: Limits,
    *,
    timeout_s: float,
    watch: Watch,
    is_cancelled: Callable[[], bool],
    clock: Callable[[], float] = time.monotonic,
) -> Ended:
    """Drive a job to its end with this crew. Raises: what is nobody's fault but ours, or KeyboardInterrupt."""
    run = _Run(driver, crew, limits, watch, clock)
    try:
        return run.to_the_end(clock() + timeout_s, timeout_s, is_cancelled)
    except BaseException as error:
        said = "interrupted" if isinstance(error, KeyboardInterrupt) else f"{type(error).__name__}: {error}"
        watch(driver.ended("cancelled" if isinstance(error, KeyboardInterrupt) else "error", said))
        raise
    finally:
        run.abandon_all()
        driver.close()


class _Run:
    """The loop's state: the tasks under way, by worker."""

    def __init__(
        self, driver: JobDriver, crew: Crew, limits: Limits, watch: Watch, clock: Callable[[], float]
    ) -> None:
        self._driver = driver
        self._crew = crew
        self._watch = watch
        self._clock = clock
        self._scheduler = Scheduler()
        self._known: set[Hashable] = set()
        self._busy: dict[Hashable, tuple[TaskId, int, Task]] = {}
        self._cause: BaseException | None = None
        self._pending: deque[Instruction] = deque(self._scheduler.submit(driver.id, limits, clock()))

    def to_the_end(self, deadline: float, timeout_s: float, is_cancelled: Callable[[], bool]) -> Ended:
        while True:
            while self._pending:
                instruction = self._pending.popleft()
                if isinstance(instruction, Finish):
                    return self._ended(instruction)
                self._carry_out(instruction)
            self._watch(self._driver.job(self._scheduler.progress(self._driver.id)))
            now = self._clock()
            if is_cancelled():
                self._pending += self._scheduler.cancel(self._driver.id, now)
            elif now >= deadline:
                self._fail(f"not done within job_timeout_s, {timeout_s:,.0f} seconds")
            else:
                self._go_on()

    def abandon_all(self) -> None:
        for worker in self._busy:
            self._crew.abandon(worker)
        self._busy.clear()

    def _go_on(self) -> None:
        """New workers, answers, leases that ran out."""
        now = self._clock()
        try:
            for worker in self._crew.workers():
                if worker not in self._known:
                    self._known.add(worker)
                    self._pending += self._scheduler.worker_ready(worker, now)
            answers = () if self._pending else self._crew.answers(LOOK_S)
        except ZarkovError as error:
            self._cause = error
            self._fail(str(error))
            return
        for answer in answers:
            self._take(answer)
        self._pending += self._scheduler.tick(self._clock())

    def _take(self, answer: Answer) -> None:
        found = self._busy.pop(answer.worker, None)
        if found is None:
            return
        task_id, attempt, task = found
        now = self._clock()
        if answer.error is None:
            mark = self._driver.done(answer.parts, answer.report)
            self._pending += self._scheduler.done(answer.worker, task_id, attempt, mark, now)
            return
        self._cause = answer.error.__cause__ if isinstance(answer.error, FunctionFailed) else answer.error
        said = self._driver.failed(task, answer.error)
        self._pending += self._scheduler.failed(answer.worker, task_id, attempt, said, now)

    def _carry_out(self, instruction: Instruction) -> None:
        driver, scheduler = self._driver, self._scheduler
        try:
            if isinstance(instruction, Assign):
                self._busy[instruction.worker] = (instruction.task, instruction.attempt, instruction.payload)
                self._crew.begin(instruction.worker, instruction.payload, driver.keep)
            elif isinstance(instruction, Abandon):
                self._busy.pop(instruction.worker, None)
                self._crew.abandon(instruction.worker)
                self._pending += scheduler.worker_ready(instruction.worker, self._clock())
            elif isinstance(instruction, Read):
                tasks, is_last = driver.read(instruction.count)
                self._pending += scheduler.splits_read(driver.id, tasks, is_last, self._clock())
            elif isinstance(instruction, Plan):
                tasks = driver.plan(instruction.stage, instruction.results)
                self._pending += scheduler.planned(driver.id, tasks, self._clock())
            elif isinstance(instruction, Commit):
                driver.job(scheduler.progress(driver.id))
                driver.commit(instruction.results)
                self._pending += scheduler.committed(driver.id, self._clock())
        except (ZarkovError, OSError) as error:
            self._cause = error
            self._fail(str(error))

    def _fail(self, said: str) -> None:
        self._pending += self._scheduler.job_failed(self._driver.id, said, self._clock())

    def _ended(self, finish: Finish) -> Ended:
        job = self._driver.ended(finish.state, finish.error)
        self._watch(job)
        return Ended(job, self._driver.value, self._cause if finish.state == "error" else None)
