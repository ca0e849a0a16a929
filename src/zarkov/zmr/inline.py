"""Jobs in this process: one task after another, in the thread that asks for it.

For tests and debugging: functions are called as they are, not as text, so that a traceback shows the lines of their
file and a debugger stops in them; what they print goes where the process prints. And for small inputs, since nothing
has to be started.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from zarkov.errors import FunctionFailed, ZarkovError
from zarkov.zmr.execute import Keep as KeepMerged
from zarkov.zmr.executors import Answer, Ended, Keep, Watch, run_job
from zarkov.zmr.kept import KeptPart, Piece
from zarkov.zmr.request import JobRequest
from zarkov.zmr.shipping import FunctionSource, load
from zarkov.zmr.site import Site
from zarkov.zmr.tasks import Task, run_task

WORKER = "inline"
#: Bytes of pieces that are gathered before they are kept, so that many small ones are one part.
GATHERED_BYTES = 1024 * 1024

Functions = Mapping[FunctionSource, Callable[..., Any]]


class InlineExecutor:
    """Runs jobs in the calling thread.

    Args:   functions: those of the request as they are here; what is missing is loaded from its source;
            debugging: what a function raises is raised, as it is, and the event to blame is not looked for.
    """

    def __init__(self, site: Site, functions: Functions | None = None, *, debugging: bool = False) -> None:
        self._site = site
        self._functions = functions or {}
        self._debugging = debugging

    def run(self, job_id: str, request: JobRequest, *, watch: Watch, is_cancelled: Callable[[], bool]) -> Ended:
        """See `Executor`. Raises: with `debugging`, also what a function raised."""
        driver = self._site.driver(job_id, request, workers=1, captured=False)
        crew = InlineCrew(self._functions, self._site.keep_merged(job_id), debugging=self._debugging)
        limits = replace(driver.limits, attempts_max=1)  # The same would fail in the same way.
        timeout_s = self._site.settings.job_timeout_s
        return run_job(driver, crew, limits, timeout_s=timeout_s, watch=watch, is_cancelled=is_cancelled)


class InlineCrew:
    """One worker, which does its task when its answer is asked for."""

    def __init__(self, functions: Functions, keep_merged: KeepMerged, *, debugging: bool) -> None:
        self._functions = functions
        self._keep_merged = keep_merged
        self._debugging = debugging
        self._begun: tuple[Task, Keep] | None = None

    def workers(self) -> Sequence[Hashable]:
        return (WORKER,)

    def begin(self, worker: Hashable, task: Task, keep: Keep) -> None:
        self._begun = task, keep

    def answers(self, timeout_s: float) -> Sequence[Answer]:
        if self._begun is None:
            return ()
        (task, keep), self._begun = self._begun, None
        if self._debugging:
            task = replace(task, code=replace(task.code, limits=replace(task.code.limits, blame_events=0)))
        pieces = _Gathered(keep)
        try:
            report = run_task(task, pieces.add, self._keep_merged, load=self._function)
            return [Answer(WORKER, pieces.finish(), report)]
        except ZarkovError as error:
            answer = Answer(WORKER, error=error)
        if self._debugging and isinstance(answer.error, FunctionFailed) and answer.error.__cause__ is not None:
            raise answer.error.__cause__  # Not while the other is handled, which would stand above it.
        return [answer]

    def abandon(self, worker: Hashable) -> None:
        self._begun = None

    def _function(self, source: FunctionSource) -> Callable[..., Any]:
        return self._functions.get(source) or load(source)


class _Gathered:
    """The pieces that a task gives, kept some at a time."""

    def __init__(self, keep: Keep) -> None:
        self._keep = keep
        self._pieces: list[Piece] = []
        self._size = 0
        self._parts: list[KeptPart] = []

    def add(self, partition: int, data: bytes) -> None:
        self._pieces.append((partition, data))
        self._size += len(data)
        if self._size >= GATHERED_BYTES:
            self._let_go()

    def finish(self) -> list[KeptPart]:
        if self._pieces:
            self._let_go()
        return self._parts

    def _let_go(self) -> None:
        self._parts.append(self._keep(self._pieces))
        self._pieces, self._size = [], 0
