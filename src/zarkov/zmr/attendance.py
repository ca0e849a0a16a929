"""Which worker processes there are, what each works on, and what of that is still wanted. Pure.

A worker is *present* from its hello until it leaves, is replaced, or is not heard of for too long. What it was given
and is not wanted any more (its job ended, its lease ran out) is *unwanted*: when the worker next shows itself, it is
told to end. An answer counts only from the worker that has this attempt of this task.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from zarkov.zmr.kept import KeptPart
from zarkov.zmr.scheduler import Assign, TaskId


@dataclass(slots=True)
class Work:
    """An attempt of a task that a worker has, and what it gave of it so far."""

    assign: Assign
    parts: list[KeptPart] = field(default_factory=list)


class Attendance:
    """Times are seconds of any one clock."""

    def __init__(self) -> None:
        self._heard: dict[str, float] = {}
        self._work: dict[str, Work] = {}
        self._unwanted: set[tuple[str, TaskId, int]] = set()

    def __len__(self) -> int:
        return len(self._heard)

    def arrived(self, worker: str, now: float) -> None:
        """It begins, or begins anew: what it had is forgotten."""
        self._heard[worker] = now
        self._forget(worker)

    def left(self, worker: str) -> Work | None:
        """It is gone; what it had. Raises: KeyError: it is not present."""
        del self._heard[worker]
        work = self._work.get(worker)
        self._forget(worker)
        return work

    def is_present(self, worker: str) -> bool:
        return worker in self._heard

    def silent_since(self, moment: float) -> list[str]:
        """Those that were last heard of before this."""
        return [worker for worker, at in self._heard.items() if at < moment]

    def beat(self, worker: str, task: TaskId | None, attempt: int, now: float) -> bool:
        """It lives and works on this; False: it is to end."""
        if worker not in self._heard:
            return False
        self._heard[worker] = now
        return task is None or (worker, task, attempt) not in self._unwanted

    def given(self, assign: Assign) -> None:
        """It got a task."""
        self._work[str(assign.worker)] = Work(assign)

    def work_of(self, worker: str, task: TaskId, attempt: int) -> Work | None:
        """What it has, if that is this attempt."""
        work = self._work.get(worker)
        if work is None or work.assign.task != task or work.assign.attempt != attempt:
            return None
        return work

    def abandoned(self, worker: str, task: TaskId) -> None:
        """Its task is not wanted any more."""
        work = self._work.get(worker)
        if work is not None and work.assign.task == task:
            del self._work[worker]
            self._unwanted.add((worker, task, work.assign.attempt))

    def answered(self, worker: str, task: TaskId, attempt: int, now: float, *, leaves: bool) -> None:
        """It is done with an attempt, wanted or not."""
        if self.work_of(worker, task, attempt) is not None:
            del self._work[worker]
        self._unwanted.discard((worker, task, attempt))
        if worker in self._heard:
            self._heard[worker] = now
        if leaves:
            self._heard.pop(worker, None)
            self._forget(worker)

    def _forget(self, worker: str) -> None:
        self._work.pop(worker, None)
        self._unwanted = {each for each in self._unwanted if each[0] != worker}
