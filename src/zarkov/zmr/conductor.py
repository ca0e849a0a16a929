"""All jobs of a router, carried out: between the scheduler, the drivers, the workers and those who wait.

Theory of operation. Everything here runs in greenlets of one thread, and what blocks (journal, store, files) in the
hub's pools of threads, so that no job and no client waits for another's disk.

    submit -> (waiting) -> running -> ended          each is written down, as ZM.job, before anybody is told

A job waits while `jobs_running_max` others run, or one that may fill the same collection (`turns`). While it runs,
what the scheduler asks for is done in the order in which it asks: reading, planning and committing in greenlets of
their own, tasks by sending them. A worker's answer counts only if the worker has that attempt of that task; what
comes late is dropped (`attendance`).

What a crash leaves: jobs that are written down and have not ended. `resume` runs them again, from their input as it
was, up to `job_attempts_max` times; an output that was published before the crash is not published again, since its
commit has the job's id.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import gevent
from bson import ObjectId
from gevent.lock import BoundedSemaphore
from gevent.threadpool import ThreadPool

from zarkov.errors import FunctionFailed, JobInvalid, JobsFull, ShuttingDown, TaskLost, ZarkovError
from zarkov.zmr.attendance import Attendance, Work
from zarkov.zmr.driver import JobDriver
from zarkov.zmr.held import Held, Waiter
from zarkov.zmr.job import Job, JobState
from zarkov.zmr.kept import Piece
from zarkov.zmr.ledger import Ledger
from zarkov.zmr.request import JobRequest
from zarkov.zmr.scheduler import Abandon, Assign, Commit, Finish, Instruction, Plan, Read, Scheduler, TaskId
from zarkov.zmr.site import Site
from zarkov.zmr.tasks import Report, source_of
from zarkov.zmr.turns import may_begin

logger = logging.getLogger(__name__)

#: How often leases, silences and times are looked at, and the jobs that run are written down.
TICK_S = 0.25
WRITE_S = 1.0
#: Time that what blocks has to end when the router stops.
STOP_S = 5.0
THREADS = 8

#: Gives a worker a task, whose source begins with these bytes (None: it has none); False: it cannot be reached.
SendTask = Callable[[str, Assign, bytes | None], bool]
#: Has a worker process end, whose task is not wanted any more; the next one is there soon.
Halt = Callable[[str], object]


class Conductor:
    """See above. `first_bytes`: how much of a task's source is sent with it."""

    def __init__(
        self,
        site: Site,
        ledger: Ledger,
        send: SendTask,
        halt: Halt,
        *,
        first_bytes: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._site = site
        self._settings = site.settings
        self._ledger = ledger
        self._send = send
        self._halt = halt
        self._first_bytes = first_bytes
        self._clock = clock
        self._scheduler = Scheduler()
        self._attendance = Attendance()
        self._jobs: dict[str, Held] = {}
        self._todo: deque[Instruction] = deque()
        self._is_carrying_out = False
        self._is_stopping = False
        self._naming = BoundedSemaphore()
        self._pool = ThreadPool(THREADS)
        # What is to be done in the order of the calls, and is not to wait for what takes long.
        self._keep_pool = ThreadPool(1)

    def submit(self, request: JobRequest, job_id: str | None = None, waiter: Waiter | None = None) -> Job:
        """Take a job on: it is written down when this returns. An id that is known is that job, and not another.

        Raises: JobsFull, ShuttingDown; JobInvalid; JournalError, StoreError: its input cannot be opened.
        """
        if self._is_stopping:
            raise ShuttingDown("the router is stopping")
        if request.executor not in (None, "zmr"):
            raise JobInvalid(f"the router runs no jobs on {request.executor}", hint="Leave `executor` out.")
        if job_id is None:
            return self._take_on(str(ObjectId()), request, waiter)
        with self._naming:
            known = self.find(job_id)
            if known is None:
                return self._take_on(job_id, request, waiter)
        if waiter is not None and not self.wait(job_id, waiter):
            waiter(known, self.result(job_id))
        return known

    def resume(self) -> None:
        """Take on the jobs that an earlier router left. Raises: StoreError."""
        self._pool.apply(self._site.settle)
        for job in self._ledger.unfinished():
            if job.runs >= self._settings.job_attempts_max:
                self._ledger.lose(job, f"the router was killed {job.runs} times while the job ran (job_attempts_max)")
                continue
            try:
                held = self._open(job.id, JobRequest.from_wire(job.request), job.runs + 1, job)
            except ZarkovError as error:
                self._ledger.lose(job, f"it could not be run again after the router was restarted: {error}")
                continue
            logger.warning("job resumed id=%s runs=%d", job.id, held.runs)
            self._written(held)
        self._begin_more()

    def find(self, job_id: str) -> Job | None:
        """A job as it is now. Raises: StoreError."""
        held = self._jobs.get(job_id)
        return self._ledger.find(job_id) if held is None else held.job(self._scheduler)

    def result(self, job_id: str) -> Any:
        """What a job that has ended returned. Raises: StoreError."""
        return self._ledger.result(job_id)

    def newest(self, limit: int) -> list[Job]:
        """The jobs submitted last. Raises: StoreError."""
        found = self._ledger.newest(limit)
        return [self._jobs[job.id].job(self._scheduler) if job.id in self._jobs else job for job in found]

    def wait(self, job_id: str, waiter: Waiter) -> bool:
        """Have the waiter called when the job ends; False: it is not waiting or running."""
        held = self._jobs.get(job_id)
        if held is not None:
            held.waiters.append(waiter)
        return held is not None

    def wait_no_more(self, job_id: str, waiter: Waiter) -> None:
        """Forget a waiter."""
        held = self._jobs.get(job_id)
        if held is not None and waiter in held.waiters:
            held.waiters.remove(waiter)

    def cancel(self, job_id: str) -> None:
        """End a job, unless it has ended or is being published."""
        held = self._jobs.get(job_id)
        if held is not None and held.is_running:
            held.job(self._scheduler)
            self._carry_out(self._scheduler.cancel(job_id, self._clock()))
        elif held is not None:
            self._carry_out([Finish(job_id, "cancelled")])

    # Workers

    def hello(self, worker: str) -> None:
        """A worker process can take tasks."""
        self._attendance.arrived(worker, self._clock())
        self._carry_out(self._scheduler.worker_ready(worker, self._clock()))

    def left(self, worker: str, reason: str, *, in_order: bool = False) -> None:
        """A worker process is gone; its task is given to another."""
        if not self._attendance.is_present(worker):
            return
        logger.log(logging.INFO if in_order else logging.WARNING, "worker left id=%s reason=%s", worker, reason)
        said, work = f"the worker was lost: {reason}", self._attendance.left(worker)
        if work is not None:
            said = self._told(work, TaskLost(said))
        self._carry_out(self._scheduler.worker_left(worker, self._clock(), said))

    def beat(self, worker: str, task: TaskId | None, attempt: int) -> bool:
        """A worker lives, and works on this; False: it is to end."""
        return self._attendance.beat(worker, task, attempt, self._clock())

    def part(self, worker: str, task: TaskId, attempt: int, pieces: Sequence[Piece]) -> None:
        """Some of what a task gives."""
        work = self._attendance.work_of(worker, task, attempt)
        held = self._jobs.get(task.job)
        if work is None or held is None:
            return
        try:
            work.parts.append(self._keep_pool.apply(held.driver.keep, (pieces,)))
        except OSError as error:
            self._fail(task.job, f"intermediate data cannot be kept: {error}")

    def done(self, worker: str, task: TaskId, attempt: int, report: Report, *, leaves: bool) -> None:
        """A task is done; its parts came before."""
        work, held = self._attendance.work_of(worker, task, attempt), self._jobs.get(task.job)
        mark = None if work is None or held is None else held.driver.done(work.parts, report)
        self._attendance.answered(worker, task, attempt, self._clock(), leaves=leaves)
        self._carry_out(self._scheduler.done(worker, task, attempt, mark, self._clock(), leaves=leaves))

    def failed(self, worker: str, task: TaskId, attempt: int, error: FunctionFailed, *, leaves: bool) -> None:
        """A task raised."""
        work = self._attendance.work_of(worker, task, attempt)
        said = str(error) if work is None else self._told(work, error)
        self._attendance.answered(worker, task, attempt, self._clock(), leaves=leaves)
        self._carry_out(self._scheduler.failed(worker, task, attempt, said, self._clock(), leaves=leaves))

    def fetch(self, worker: str, task: TaskId, attempt: int, start: int, size: int) -> bytes | None:
        """More of the source of a worker's task; None: it is not its task any more."""
        work = self._attendance.work_of(worker, task, attempt)
        source = None if work is None else source_of(work.assign.payload)
        if source is None:
            return None
        try:
            data: bytes = self._keep_pool.apply(source.read_at, (start, size))
        except OSError as error:
            self._fail(task.job, f"intermediate data cannot be read: {error}")
            return None
        return data

    def run(self) -> None:
        """The body of a greenlet: what comes with time."""
        write_at = 0.0
        while not self._is_stopping:
            gevent.sleep(TICK_S)
            now = self._clock()
            silence_s = self._settings.worker_silence_s
            for worker in self._attendance.silent_since(now - silence_s):
                self.left(worker, f"not heard of for {silence_s:g} seconds")
            self._carry_out(self._scheduler.tick(now))
            for job_id, held in list(self._jobs.items()):
                if now > held.deadline and held.driver.job().state != JobState.COMMITTING:
                    self._fail(job_id, f"not done within {self._settings.job_timeout_s:,g} seconds (job_timeout_s)")
            if now >= write_at:
                write_at = now + WRITE_S
                self._write_down()

    def _write_down(self) -> None:
        """Write down the jobs that have moved on."""
        for held in list(self._jobs.values()):
            if not held.is_ended and held.written is not None and (job := held.job(self._scheduler)) != held.written:
                held.written = job if self._ledger.try_to_put(job) else held.written

    def stop(self) -> None:
        """Take on and give out nothing more; what has not ended is resumed by the next router."""
        self._is_stopping = True
        with gevent.Timeout(STOP_S, False):
            for held in [held for held in self._jobs.values() if not held.is_ended]:
                held.runs -= 1  # A stop in order is not held against it.
                self._ledger.try_to_put(held.job(self._scheduler))
                for waiter in held.waiters:
                    waiter(held.job(self._scheduler), None)
            self._keep_pool.join()
            self._pool.join()
            self._ledger.join()

    # Carrying out

    def _carry_out(self, instructions: Sequence[Instruction]) -> None:
        self._todo.extend(instructions)
        if self._is_carrying_out or self._is_stopping:
            return
        self._is_carrying_out = True
        try:
            while self._todo:
                one = self._todo.popleft()
                if isinstance(one, Assign):
                    self._assign(one)
                elif isinstance(one, Abandon):
                    self._attendance.abandoned(str(one.worker), one.task)
                    self._halt(str(one.worker))
                else:
                    gevent.spawn(self._finish if isinstance(one, Finish) else self._serve, one)
        finally:
            self._is_carrying_out = False

    def _assign(self, assign: Assign) -> None:
        self._attendance.given(assign)
        if source_of(assign.payload) is None:
            self._sent(assign, None)
        else:
            gevent.spawn(self._assign_with_source, assign)

    def _assign_with_source(self, assign: Assign) -> None:
        worker, task, attempt = str(assign.worker), assign.task, assign.attempt
        first = self.fetch(worker, task, attempt, 0, self._first_bytes)
        if first is not None and self._attendance.work_of(worker, task, attempt) is not None:
            self._sent(assign, first)

    def _sent(self, assign: Assign, first: bytes | None) -> None:
        if not self._send(str(assign.worker), assign, first):
            self.left(str(assign.worker), "it cannot be reached")

    def _serve(self, one: Read | Plan | Commit) -> None:
        """Do what blocks, and tell the scheduler."""
        held = self._jobs.get(one.job)
        if held is None or held.is_ended:
            return
        driver = held.driver
        try:
            if isinstance(one, Read):
                tasks, is_last = self._pool.apply(driver.read, (one.count,))
                then = self._scheduler.splits_read(one.job, tasks, is_last, self._clock())
            elif isinstance(one, Plan):
                tasks = self._pool.apply(driver.plan, (one.stage, one.results))
                then = self._scheduler.planned(one.job, tasks, self._clock())
            else:
                held.job(self._scheduler)
                self._pool.apply(driver.commit, (one.results,))
                then = self._scheduler.committed(one.job, self._clock())
        except (ZarkovError, OSError) as error:
            self._fail(one.job, str(error))
        except Exception as error:
            logger.exception("job failed id=%s in=%s", one.job, type(one).__name__)
            self._fail(one.job, f"a fault in Zarkov: {type(error).__name__}: {error}")
        else:
            self._carry_out(then)

    def _finish(self, finish: Finish) -> None:
        held = self._jobs.get(finish.job)
        if held is None or held.is_ended:
            return
        held.is_ended = True
        driver = held.driver
        job = replace(driver.ended(finish.state, finish.error), runs=held.runs)
        value = driver.value if finish.state == "complete" else None
        logger.info("job ended id=%s state=%s error=%s", job.id, job.state, job.error.partition("\n")[0])
        self._ledger.end(job, value)
        del self._jobs[job.id]
        self._pool.spawn(driver.close)
        for waiter in held.waiters:
            waiter(job, value)
        self._begin_more()

    def _fail(self, job_id: str, error: str) -> None:
        held = self._jobs.get(job_id)
        if held is not None and held.is_running:
            held.job(self._scheduler)
            self._carry_out(self._scheduler.job_failed(job_id, error, self._clock()))
        elif held is not None:
            self._carry_out([Finish(job_id, "error", error)])

    def _told(self, work: Work, error: ZarkovError) -> str:
        """What the scheduler is told of a task that failed."""
        held = self._jobs.get(work.assign.task.job)
        if held is None:
            return str(error)
        held.job(self._scheduler)
        return held.driver.failed(work.assign.payload, error)

    # Beginning

    def _take_on(self, job_id: str, request: JobRequest, waiter: Waiter | None) -> Job:
        if len(self._jobs) >= self._settings.jobs_queued_max:
            raise JobsFull(f"{len(self._jobs):,} jobs are waiting or running (jobs_queued_max)")
        held = self._open(job_id, request, 1, None)
        try:
            self._written(held)
        except ZarkovError:
            del self._jobs[job_id]
            raise
        if waiter is not None:
            held.waiters.append(waiter)
        job = held.job(self._scheduler)
        self._begin_more()
        return job

    def _open(self, job_id: str, request: JobRequest, runs: int, before: Job | None) -> Held:
        workers = max(1, len(self._attendance), self._settings.local_workers)
        parts = () if before is None else before.parts

        def make() -> JobDriver:
            return self._site.driver(job_id, request, workers=workers, captured=True, parts=parts)

        held = Held(self._pool.apply(make), self._clock() + self._settings.job_timeout_s, runs)
        self._jobs[job_id] = held
        return held

    def _begin_more(self) -> None:
        """Begin the jobs that need not wait any more."""
        running = [held.driver.request for held in self._jobs.values() if held.is_running]
        waiting = [
            (job_id, held.driver.request)
            for job_id, held in self._jobs.items()
            if not held.is_running and not held.is_ended and held.written is not None
        ]
        for job_id in may_begin(running, waiting, self._settings.jobs_running_max):
            held = self._jobs[job_id]
            held.is_running = True
            self._carry_out(self._scheduler.submit(job_id, held.driver.limits, self._clock()))

    def _written(self, held: Held) -> None:
        """Raises: StoreError."""
        job = held.job(self._scheduler)
        self._ledger.put(job)
        held.written = job
