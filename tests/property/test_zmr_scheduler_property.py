"""The scheduler under any order of events: every task's result counts once, and every job ends."""

from collections import Counter
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

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
)

WORKERS = ["a", "b", "c"]
LEASE_S = 10.0


class Cluster(RuleBasedStateMachine):
    """Workers, input and output as an executor would drive them; jobs add up numbers."""

    @initialize(outstanding=st.integers(1, 4), attempts=st.integers(2, 3))
    def begin(self, outstanding: int, attempts: int) -> None:
        self.scheduler = Scheduler()
        self.now = 0.0
        self.limits = Limits(outstanding, outstanding, attempts, LEASE_S)
        self.inputs: dict[str, list[int]] = {}
        self.expected: dict[str, int] = {}
        self.work: dict[str, Assign] = {}  # what each worker believes it works on
        self.todo: list[Instruction] = []
        self.published: dict[str, int] = {}
        self.finished: dict[str, Finish] = {}
        self.cancelled: set[str] = set()
        self.failures: Counter[Any] = Counter()
        for worker in WORKERS:
            self.carry_out(self.scheduler.worker_ready(worker, self.now))

    def carry_out(self, instructions: list[Instruction]) -> None:
        for one in instructions:
            if isinstance(one, Assign):
                self.work[str(one.worker)] = one
            elif isinstance(one, Finish):
                assert one.job not in self.finished
                self.finished[one.job] = one
            elif not isinstance(one, Abandon):
                self.todo.append(one)

    @rule(numbers=st.lists(st.integers(0, 9), max_size=9))
    def submit(self, numbers: list[int]) -> None:
        job = f"job{len(self.expected)}"
        self.inputs[job], self.expected[job] = list(numbers), sum(numbers)
        self.carry_out(self.scheduler.submit(job, self.limits, self.now))

    @rule(at=st.integers(0, 20), fewer=st.integers(0, 2))
    def serve(self, at: int, fewer: int) -> None:
        """Carry out one of the instructions that wait: the executor answers in any order."""
        if not self.todo:
            return
        one = self.todo.pop(at % len(self.todo))
        if isinstance(one, Read):
            left = self.inputs[one.job]
            taken = left[: max(1, one.count - fewer)]
            del left[: len(taken)]
            self.carry_out(self.scheduler.splits_read(one.job, taken, not left, self.now))
        elif isinstance(one, Plan):
            halves = [list(one.results[::2]), list(one.results[1::2])]
            self.carry_out(self.scheduler.planned(one.job, [half for half in halves if half], self.now))
        elif isinstance(one, Commit):
            assert one.job not in self.published
            self.published[one.job] = sum(one.results)
            self.carry_out(self.scheduler.committed(one.job, self.now))

    @rule(worker=st.sampled_from(WORKERS))
    def answer(self, worker: str) -> None:
        if (given := self.work.pop(worker, None)) is not None:
            result = given.payload if given.task.stage == "map" else sum(given.payload)
            self.carry_out(self.scheduler.done(worker, given.task, given.attempt, result, self.now))

    @rule(worker=st.sampled_from(WORKERS))
    def answer_twice(self, worker: str) -> None:
        """A duplicate of an answer, or one that comes from nowhere, changes nothing."""
        if (given := self.work.get(worker)) is not None:
            self.answer(worker)
            if worker not in self.work:
                self.carry_out(self.scheduler.done(worker, given.task, given.attempt, 1_000_000, self.now))

    @rule(worker=st.sampled_from(WORKERS))
    def fail(self, worker: str) -> None:
        if (given := self.work.pop(worker, None)) is not None:
            self.failures[given.task] += 1
            self.carry_out(self.scheduler.failed(worker, given.task, given.attempt, "it raised", self.now))

    @rule(worker=st.sampled_from(WORKERS), comes_back=st.booleans())
    def die(self, worker: str, comes_back: bool) -> None:
        if (given := self.work.pop(worker, None)) is not None:
            self.failures[given.task] += 1
        self.carry_out(self.scheduler.worker_left(worker, self.now))
        if comes_back:
            self.carry_out(self.scheduler.worker_ready(worker, self.now))

    @rule(worker=st.sampled_from(WORKERS))
    def begin_anew(self, worker: str) -> None:
        if (given := self.work.pop(worker, None)) is not None:
            self.failures[given.task] += 1
        self.carry_out(self.scheduler.worker_ready(worker, self.now))

    @rule(seconds=st.sampled_from([1.0, LEASE_S / 2, LEASE_S]))
    def wait(self, seconds: float) -> None:
        """A worker that is frozen keeps believing in its task, and answers later."""
        self.now += seconds
        for given in self.work.values():
            self.failures[given.task] += 1
        self.carry_out(self.scheduler.tick(self.now))

    @rule(at=st.integers(0, 20))
    def cancel(self, at: int) -> None:
        if self.scheduler.jobs:
            job = self.scheduler.jobs[at % len(self.scheduler.jobs)]
            self.carry_out(self.scheduler.cancel(job, self.now))
            if job in self.finished:
                self.cancelled.add(job)

    @invariant()
    def is_valid(self) -> None:
        if hasattr(self, "scheduler"):
            self.scheduler.validate()

    def teardown(self) -> None:
        """However it came to this, workers that work and an executor that answers end every job."""
        if not hasattr(self, "scheduler"):
            return
        for worker in WORKERS:
            self.begin_anew(worker)
        for _ in range(1000):
            for worker in WORKERS:
                self.answer(worker)
            self.serve(0, 0)
            self.scheduler.validate()
            if not self.scheduler.jobs:
                break
        assert not self.scheduler.jobs
        for job, expected in self.expected.items():
            state = self.finished[job].state
            if state == "complete":
                assert self.published[job] == expected
            elif state == "cancelled":
                assert job in self.cancelled
                assert job not in self.published
            else:
                assert any(task.job == job and count for task, count in self.failures.items())


TestScheduler = Cluster.TestCase
TestScheduler.settings = settings(max_examples=150, stateful_step_count=60, deadline=None)
