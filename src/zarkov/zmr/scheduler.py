"""Which worker does what next: the state of every running job, without a socket or a clock. Pure.

Theory of operation. What happens comes in as a call (a stimulus: a worker is ready, a task is done), and what is to
be done goes out as a list of instructions; the router and the other executors carry them out. A job goes through

    mapping      its input is read page by page (`Read`), each split is a map task; at most `outstanding_maps` of its
                 splits are in memory, queued or running
    reducing     when every map task is done: one task for each partition that has anything
    rereducing, finalizing   likewise, one after the other, in jobs that have these stages
    committing   when every task is done: `Commit`, and the answer `committed`

and ends with one `Finish`. Always true (`validate` checks it, the tests call it after every stimulus):

- A worker has at most one task, and a task at most one worker: its *attempt*. A result counts only if it is the
  running attempt's, so a task that was given to another is not counted twice, however late the first one answers.
- A task whose lease runs out, or whose worker leaves, is queued again, at the front. It fails its job after
  `attempts_max` attempts, whatever became of them.
- A worker that let a lease run out gets nothing more until it speaks again.
- Jobs take turns; within one, map tasks come in the order of their splits.

Memory: a task's input is kept until it is done; results are the executor's, and only their marks are kept here.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

Stage = Literal["map", "reduce", "rereduce", "finalize"]
Phase = Literal["mapping", "reducing", "rereducing", "finalizing", "committing"]
JobId = str
WorkerId = Hashable


@dataclass(frozen=True, slots=True)
class TaskId:
    job: JobId
    stage: Stage
    index: int


@dataclass(frozen=True, slots=True)
class Limits:
    """A job's own: see the settings of the same names. `lease_s`: a task without an answer by then is given away.

    `more`: the stages after reduce, in order.
    """

    outstanding_maps: int = 16
    outstanding_reduces: int = 16
    attempts_max: int = 3
    lease_s: float = 600.0
    more: tuple[Stage, ...] = ()


@dataclass(frozen=True, slots=True)
class Read:
    """Read up to `count` more splits of the job's input, and call `splits_read`."""

    job: JobId
    count: int


@dataclass(frozen=True, slots=True)
class Assign:
    """Send the task to the worker; its answer must name the attempt."""

    worker: WorkerId
    task: TaskId
    attempt: int
    payload: Any


@dataclass(frozen=True, slots=True)
class Abandon:
    """The worker's task is not wanted any more: stop it if that is possible."""

    worker: WorkerId
    task: TaskId


@dataclass(frozen=True, slots=True)
class Plan:
    """Every task of the stage before is done, with these marks: make those of `stage`, and call `planned`."""

    job: JobId
    results: Sequence[Any]
    stage: Stage = "reduce"


@dataclass(frozen=True, slots=True)
class Commit:
    """Every task is done, the last stage's with these marks, in order: publish them, and call `committed`."""

    job: JobId
    results: Sequence[Any]


@dataclass(frozen=True, slots=True)
class Finish:
    """The job has ended: complete, error (with the reason) or cancelled."""

    job: JobId
    state: Literal["complete", "error", "cancelled"]
    error: str = ""


Instruction = Read | Assign | Abandon | Plan | Commit | Finish


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a job is; `maps_total` grows until `all_read`."""

    phase: Phase
    maps_done: int
    maps_total: int
    all_read: bool
    reduces_done: int
    reduces_total: int
    retries: int


@dataclass(slots=True)
class _Task:
    id: TaskId
    payload: Any
    attempt: int = 0
    worker: WorkerId | None = None
    lease_until: float = 0.0
    errors: list[str] = field(default_factory=list)


@dataclass(slots=True)
class _Job:
    id: JobId
    limits: Limits
    phase: Phase = "mapping"
    waiting: deque[_Task] = field(default_factory=deque)
    running: dict[TaskId, _Task] = field(default_factory=dict)
    results: dict[int, Any] = field(default_factory=dict)
    total: int = 0
    maps_total: int = 0
    reduces_total: int = 0
    to_come: deque[Stage] = field(default_factory=deque)
    is_reading: bool = False
    all_read: bool = False
    retries: int = 0

    @property
    def outstanding(self) -> int:
        return len(self.waiting) + len(self.running)


class Scheduler:
    """Not thread safe. Every method returns what is to be done now, in order. Times are seconds of any one clock."""

    def __init__(self) -> None:
        self._jobs: dict[JobId, _Job] = {}
        self._turns: deque[JobId] = deque()
        self._idle: dict[WorkerId, None] = {}  # in the order in which they became so
        self._busy: dict[WorkerId, _Task] = {}
        self._silent: set[WorkerId] = set()

    @property
    def jobs(self) -> list[JobId]:
        """The jobs that have not ended."""
        return list(self._jobs)

    @property
    def workers(self) -> int:
        """How many workers are idle or busy; silent ones are not counted."""
        return len(self._idle) + len(self._busy)

    def progress(self, job: JobId) -> Progress:
        """How far a job is. Raises: KeyError: it has ended, or never began."""
        found = self._jobs[job]
        done, total = len(found.results), found.total
        maps = (done, total) if found.phase == "mapping" else (found.maps_total, found.maps_total)
        reduces = (done, total) if found.phase == "reducing" else (found.reduces_total, found.reduces_total)
        return Progress(found.phase, *maps, found.all_read, *reduces, found.retries)

    def submit(self, job: JobId, limits: Limits, now: float) -> list[Instruction]:
        """Begin a job. Raises: ValueError: one of that id is running."""
        if job in self._jobs:
            raise ValueError(f"job {job} is running")
        self._jobs[job] = _Job(job, limits, to_come=deque(("reduce", *limits.more)))
        self._turns.append(job)
        return self._go_on(now)

    def splits_read(self, job: JobId, payloads: Sequence[Any], is_last: bool, now: float) -> list[Instruction]:
        """The answer to `Read`: the next splits of the job's input, and whether there are no more."""
        found = self._jobs.get(job)
        if found is None or found.phase != "mapping" or found.all_read:
            return []
        found.is_reading, found.all_read = False, is_last
        self._queue(found, "map", payloads)
        found.maps_total = found.total
        return self._go_on(now)

    def planned(self, job: JobId, payloads: Sequence[Any], now: float) -> list[Instruction]:
        """The answer to `Plan`: the input of each task; none when there is nothing to do."""
        found = self._jobs.get(job)
        if found is None or not found.is_reading or (stage := _STAGE_OF.get(found.phase)) is None:
            return []
        self._queue(found, stage, payloads)
        if stage == "reduce":
            found.reduces_total = found.total
        found.is_reading = False
        return self._go_on(now)

    def worker_ready(self, worker: WorkerId, now: float) -> list[Instruction]:
        """A worker can take a task: a new one, or one that spoke again. What it had before is given to another."""
        self._silent.discard(worker)
        lost = self._lose(worker, "the worker began anew")
        self._idle[worker] = None
        return lost + self._go_on(now)

    def worker_left(self, worker: WorkerId, now: float, reason: str = "the worker died") -> list[Instruction]:
        """A worker is gone."""
        self._silent.discard(worker)
        self._idle.pop(worker, None)
        return self._lose(worker, reason) + self._go_on(now)

    def done(
        self, worker: WorkerId, task: TaskId, attempt: int, result: Any, now: float, *, leaves: bool = False
    ) -> list[Instruction]:
        """A task succeeded; `result` is any mark of where its result is. A late or unknown answer changes nothing.

        `leaves`: the worker takes no more.
        """
        job = self._jobs.get(task.job)
        running = self._release(worker, task, attempt, leaves)
        if running is not None and job is not None:
            job.results[task.index] = result
        return self._go_on(now)

    def failed(
        self, worker: WorkerId, task: TaskId, attempt: int, error: str, now: float, *, leaves: bool = False
    ) -> list[Instruction]:
        """A task raised; it is tried again unless it was its last attempt. `leaves`: as for `done`."""
        running = self._release(worker, task, attempt, leaves)
        tried = [] if running is None else self._try_again(running, error)
        return tried + self._go_on(now)

    def committed(self, job: JobId, now: float) -> list[Instruction]:
        """The output is published."""
        found = self._jobs.get(job)
        if found is None or found.phase != "committing":
            return []
        return [*self._end(found, "complete"), *self._go_on(now)]

    def job_failed(self, job: JobId, error: str, now: float) -> list[Instruction]:
        """What the job needs outside its tasks failed: its input, its output."""
        found = self._jobs.get(job)
        return [] if found is None else [*self._end(found, "error", error), *self._go_on(now)]

    def cancel(self, job: JobId, now: float) -> list[Instruction]:
        """End a job; unknown ones are ended already. One that is being published is not stopped any more."""
        found = self._jobs.get(job)
        if found is None or found.phase == "committing":
            return []
        return [*self._end(found, "cancelled"), *self._go_on(now)]

    def tick(self, now: float) -> list[Instruction]:
        """Time has passed: give away the tasks whose lease ran out."""
        instructions: list[Instruction] = []
        for worker, task in list(self._busy.items()):
            if task.lease_until <= now:
                del self._busy[worker]
                self._silent.add(worker)
                instructions.append(Abandon(worker, task.id))
                job = self._jobs.get(task.id.job)
                if job is not None:
                    lease = f"no answer within {job.limits.lease_s:g} seconds"
                    instructions += self._try_again(task, lease)
        return instructions + self._go_on(now)

    def next_tick(self) -> float | None:
        """When the next lease runs out; None when nothing runs."""
        return min((task.lease_until for task in self._busy.values()), default=None)

    def validate(self) -> None:
        """Raises: AssertionError: what is always true is not."""
        assert not (self._idle.keys() & self._busy.keys())
        assert not (self._silent & (self._idle.keys() | self._busy.keys()))
        assert set(self._turns) == set(self._jobs)
        assert len(self._turns) == len(self._jobs)
        for worker, task in self._busy.items():
            job = self._jobs.get(task.id.job)
            assert task.worker == worker
            assert job is None or job.running.get(task.id) is task
        for job in self._jobs.values():
            assert all(self._busy[task.worker] is task for task in job.running.values() if task.worker is not None)
            assert not {task.id.index for task in job.waiting} & job.results.keys()
            assert job.outstanding + len(job.results) == job.total
            assert job.phase != "mapping" or job.outstanding <= job.limits.outstanding_maps
            assert job.phase == "mapping" or len(job.running) <= job.limits.outstanding_reduces

    def _queue(self, job: _Job, stage: Stage, payloads: Sequence[Any]) -> None:
        for payload in payloads:
            job.waiting.append(_Task(TaskId(job.id, stage, job.total), payload))
            job.total += 1

    def _release(self, worker: WorkerId, task: TaskId, attempt: int, leaves: bool) -> _Task | None:
        """The worker is idle, or gone; its task, if it is this attempt that runs and its job has not ended."""
        self._silent.discard(worker)
        running = self._busy.get(worker)
        if running is not None and (running.id != task or running.attempt != attempt):
            return None
        if leaves:
            self._idle.pop(worker, None)
        else:
            self._idle[worker] = None
        if running is None:
            return None
        del self._busy[worker]
        job = self._jobs.get(task.job)
        return None if job is None else job.running.pop(task, None)

    def _lose(self, worker: WorkerId, reason: str) -> list[Instruction]:
        task = self._busy.pop(worker, None)
        if task is None or task.id.job not in self._jobs:
            return []
        return self._try_again(task, reason)

    def _try_again(self, task: _Task, error: str) -> list[Instruction]:
        job = self._jobs[task.id.job]
        job.running.pop(task.id, None)
        task.worker = None
        task.errors.append(error)
        if task.attempt >= job.limits.attempts_max:
            return self._end(job, "error", _told(task))
        job.retries += 1
        job.waiting.appendleft(task)
        return []

    def _end(self, job: _Job, state: Literal["complete", "error", "cancelled"], error: str = "") -> list[Instruction]:
        del self._jobs[job.id]
        self._turns.remove(job.id)
        abandoned: list[Instruction] = [
            Abandon(task.worker, task.id) for task in job.running.values() if task.worker is not None
        ]
        return [*abandoned, Finish(job.id, state, error)]

    def _go_on(self, now: float) -> list[Instruction]:
        """Everything that can happen now: reads, assignments, the next phase."""
        instructions: list[Instruction] = []
        for job in list(self._jobs.values()):
            instructions += self._advance(job)
        while self._idle and (task := self._next_task()) is not None:
            worker = next(iter(self._idle))
            del self._idle[worker]
            job = self._jobs[task.id.job]
            task.attempt += 1
            task.worker, task.lease_until = worker, now + job.limits.lease_s
            job.running[task.id] = task
            self._busy[worker] = task
            instructions.append(Assign(worker, task.id, task.attempt, task.payload))
        return instructions

    def _advance(self, job: _Job) -> list[Instruction]:
        if job.phase == "mapping" and not job.all_read:
            room = job.limits.outstanding_maps - job.outstanding
            if job.is_reading or room <= 0:
                return []
            job.is_reading = True
            return [Read(job.id, room)]
        if job.outstanding or job.is_reading or job.phase == "committing":
            return []
        results = [job.results[index] for index in sorted(job.results)]
        if not job.to_come:
            job.phase = "committing"
            return [Commit(job.id, results)]
        stage = job.to_come.popleft()
        job.phase, job.is_reading = _PHASE_OF[stage], True
        job.results, job.total = {}, 0
        return [Plan(job.id, results, stage)]

    def _next_task(self) -> _Task | None:
        """The next task of the next job in turn that may run one."""
        for _ in range(len(self._turns)):
            job = self._jobs[self._turns[0]]
            self._turns.rotate(-1)
            most = job.limits.outstanding_maps if job.phase == "mapping" else job.limits.outstanding_reduces
            if job.waiting and len(job.running) < most:
                return job.waiting.popleft()
        return None


_PHASE_OF: dict[Stage, Phase] = {"reduce": "reducing", "rereduce": "rereducing", "finalize": "finalizing"}
_STAGE_OF: dict[Phase, Stage] = {phase: stage for stage, phase in _PHASE_OF.items()}


def _told(task: _Task) -> str:
    """Why a task's last attempt failed, and how many there were."""
    last = task.errors[-1]
    return last if task.attempt == 1 else f"{last}\n(the last of {task.attempt} attempts)"
