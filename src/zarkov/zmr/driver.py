"""One job as every executor drives it: its input, its tasks, what they gave, its end.

Theory of operation. The scheduler says what is to be done; the driver does it, an executor stands between them and
gives the tasks to workers:

    Read            read                the tasks that map the next page of the input
    Assign          (the executor)      a task to a worker; then
                    keep, done          what it gave, as a mark for the scheduler; or
                    failed              what it raised, as a sentence for the scheduler
    Plan            plan                the tasks that reduce, reduce again with what is stored, or finalize
    Commit          commit              the output is published
    Finish          ended               the last word; then `close`

    queued -> mapping -> reducing (-> finalizing) -> committing -> complete; error or cancelled from any of them

No sockets and no gevent: every method may block (it reads the journal, the store, files), and is meant for a pool of
threads. `read`, `plan` and `commit` are called one at a time, as the scheduler asks for them; the others at any time,
from any thread. Nothing here survives the process: a job that was cut off is run again from its request.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, Literal, Protocol

from zarkov.codec import decode
from zarkov.config import ZmrSettings
from zarkov.errors import FunctionFailed, OutputInvalid, StoreUnreachable, ZarkovError
from zarkov.event import Document
from zarkov.zmr import scheduler
from zarkov.zmr.execute import Limits
from zarkov.zmr.inputs import ChunkInput
from zarkov.zmr.job import Job, JobState, Timings
from zarkov.zmr.kept import KeptPart, KeptSource, Mark, Piece, Slice, by_partition, keep_pieces
from zarkov.zmr.reading import JobInput
from zarkov.zmr.request import JobRequest
from zarkov.zmr.runs import RunSource
from zarkov.zmr.spill import Spill
from zarkov.zmr.split import partition_count_for
from zarkov.zmr.tasks import BasicTask, Code, FinalizeTask, MapTask, ReduceTask, Report, RereduceTask, Task

#: Characters of what a job's functions printed that are kept, all tasks together.
PRINTED_CHARS_MAX = 1_000_000
#: Seconds before a commit is tried again, doubled each time.
RETRY_S = 0.5


class Output(Protocol):
    """Where a job's results go, which are runs of documents; see `output.JobOutput`."""

    @property
    def reduces(self) -> bool:
        """Whether results have to be reduced with what is stored."""

    def stored(self, sources: Sequence[RunSource]) -> Iterator[bytes]:
        """The pieces of a run: the documents that are stored under the keys of these results."""

    def commit(self, sources: Sequence[RunSource]) -> Any:
        """Publish; a second call for the same job changes nothing. Raises: ZarkovError."""


class JobDriver:
    """A job under way.

    Args:   source: None in `basic`; workers: how many there are, which decides on the partitions where the request
            does not; captured: standard output of the functions is kept, and not left alone.
    """

    def __init__(
        self,
        job_id: str,
        request: JobRequest,
        *,
        source: JobInput | None,
        output: Output | None,
        spill: Spill,
        settings: ZmrSettings,
        workers: int,
        now: Callable[[], datetime],
        captured: bool = True,
    ) -> None:
        self.id = job_id
        self.request = request
        #: What the job returns, once it is committed: documents, by collection in xmapreduce, where those that were
        #: stored are a number; in `basic` what the function gave; None where all was stored.
        self.value: Any = None
        self._source = source
        self._output = output
        self._spill = spill
        self._settings = settings
        self._workers = workers
        self._now = now
        self._lock = threading.Lock()
        self._code = Code.of(request, _limits(settings, captured))
        self._partition_count = 0
        self._called: Sequence[Mark] = ()
        self._failure: FunctionFailed | None = None
        self._events_total = 0
        self._job = Job(
            job_id,
            JobState.QUEUED,
            request.to_wire(),
            {} if source is None else source.position,
            timings=Timings(submitted_at=now()),
            parts=[] if source is None else source.parts(),
        )

    @property
    def limits(self) -> scheduler.Limits:
        """What the scheduler is to be told of the job."""
        settings = self._settings
        return scheduler.Limits(
            outstanding_maps=settings.outstanding_maps,
            outstanding_reduces=settings.outstanding_reduces,
            attempts_max=settings.task_attempts_max,
            lease_s=settings.task_timeout_s,
            more=self._stages_more(),
        )

    def read(self, count: int) -> tuple[list[Task], bool]:
        """Up to `count` more map tasks, at least one of them unless there are no more; whether these were the last.

        Raises: JournalError, StoreError: the input cannot be read, and the job fails.
        """
        self._enter(JobState.MAPPING)
        if self._source is None:
            return [BasicTask(self._code, self.request.args, self.request.kwargs)], True
        if not self._partition_count:
            self._events_total = self._source.count()
            most = self._settings.reduce_count
            self._partition_count = self.request.reduce_count or partition_count_for(
                self._events_total, self._workers, most
            )
        found, is_last = self._source.read(count)
        return [MapTask(self._code, inputs, self._partition_count) for inputs in found], is_last

    def keep(self, pieces: Sequence[Piece]) -> KeptPart:
        """Keep (partition, piece)s that a task gave, all of them or some. Raises: OSError: the disk."""
        return keep_pieces(self._spill, self.id, pieces)

    def done(self, parts: Sequence[KeptPart], report: Report) -> Mark:
        """A task succeeded and gave these parts: its mark. To be called once a task, for the attempt that counts."""
        with self._lock:
            self._job = replace(
                self._job,
                counters=self._job.counters + report.counters,
                printed=_joined(self._job.printed, report.printed),
            )
        return tuple(parts)

    def failed(self, task: Task, error: ZarkovError) -> str:
        """A task raised: what the scheduler is to be told."""
        said = f"{error}{_place_of(task)}"
        with self._lock:
            self._failure = error if isinstance(error, FunctionFailed) else None
            if self._failure is not None:
                self._job = replace(self._job, printed=_joined(self._job.printed, self._failure.printed))
        return said

    def plan(self, stage: scheduler.Stage, marks: Sequence[Mark]) -> list[Task]:
        """The tasks of the next stage from the marks of the one before, in the order of the tasks."""
        if self._source is None:
            self._called = marks
            return []
        if stage == "reduce":
            self._enter(JobState.REDUCING)
            partitions = by_partition(marks).values()
            return [ReduceTask(self._code, KeptSource(self._spill, slices)) for slices in partitions]
        if stage == "rereduce":
            return [RereduceTask(self._code, self._with_stored(mark)) for mark in marks]
        self._enter(JobState.FINALIZING)
        return [FinalizeTask(self._code, KeptSource(self._spill, _slices(marks)))]

    def commit(self, marks: Sequence[Mark]) -> None:
        """Publish what the last stage gave; a store that is away is asked as often as a task is tried.

        Raises: ZarkovError: nothing of it is there, and the job fails.
        """
        self._enter(JobState.COMMITTING)
        attempts = self._settings.task_attempts_max
        for attempt in range(1, attempts + 1):
            try:
                self._publish(marks)
                return
            except StoreUnreachable:
                if attempt == attempts:
                    raise
                time.sleep(RETRY_S * 2**attempt)

    def ended(self, state: Literal["complete", "error", "cancelled"], error: str = "") -> Job:
        """The job has ended."""
        with self._lock:
            timings = replace(self._job.timings, ended_at=self._now())
            self._job = replace(self._job, state=JobState(state), error=error, timings=timings)
            if state == "error" and (failed := self._failure) is not None:
                self._job = replace(self._job, traceback=failed.traceback, event=failed.event)
            return self._job

    def job(self, progress: scheduler.Progress | None = None) -> Job:
        """The job as it is now, with what the scheduler knows of it."""
        with self._lock:
            if progress is not None:
                self._job = replace(self._job, progress=self._told(progress))
            return self._job

    def close(self) -> None:
        """Let go of what was kept."""
        self._spill.drop(self.id)

    def _publish(self, marks: Sequence[Mark]) -> None:
        marks = marks or self._called
        sources = [KeptSource(self._spill, _slices([mark])) for mark in marks]
        if self._source is None:
            (source,) = sources
            if source.size > self._settings.inline_bytes_max:
                raise OutputInvalid(f"the function returned {source.size:,} bytes, more than inline_bytes_max")
            self.value = decode(source.read_at(0, source.size))["value"]
        elif self._output is not None:
            got = self._output.commit(sources)
            self.value = None if isinstance(got, int) else got

    def _stages_more(self) -> tuple[scheduler.Stage, ...]:
        found: list[scheduler.Stage] = []
        if self._output is not None and self._output.reduces:
            found.append("rereduce")
        if self.request.finalize is not None:
            found.append("finalize")
        return tuple(found)

    def _with_stored(self, mark: Mark) -> KeptSource:
        """The results of one reduce, and before them what is stored under their keys."""
        assert self._output is not None
        results = _slices([mark])
        stored = [self.keep([(0, piece)]) for piece in self._output.stored([KeptSource(self._spill, results)])]
        return KeptSource(self._spill, [*_slices([stored]), *results])

    def _told(self, progress: scheduler.Progress) -> Document:
        return {
            "phase": progress.phase,
            "maps_done": progress.maps_done,
            "maps_total": progress.maps_total,
            "all_read": progress.all_read,
            "reduces_done": progress.reduces_done,
            "reduces_total": progress.reduces_total,
            "retries": progress.retries,
            "events_total": self._events_total,
        }

    def _enter(self, state: JobState) -> None:
        with self._lock:
            if self._job.state != state:
                timings = replace(self._job.timings, **{f"{state}_at": self._now()})
                self._job = replace(self._job, state=state, timings=timings)


def _limits(settings: ZmrSettings, captured: bool) -> Limits:
    return Limits(
        memory_bytes=settings.task_memory_bytes,
        compress=settings.compress,
        printed_chars=settings.printed_chars_max if captured else None,
    )


def _slices(marks: Iterable[Sequence[KeptPart]]) -> list[Slice]:
    """Everything that is kept under the marks, in order."""
    return [place for mark in marks for part in mark for _, place in part.slices()]


def _joined(before: str, more: str) -> str:
    return (before + more)[:PRINTED_CHARS_MAX] if more else before


def _place_of(task: Task) -> str:
    """Which part of the input a map task had, for a sentence about its failure."""
    if not isinstance(task, MapTask) or not task.inputs:
        return ""
    first, last = task.inputs[0], task.inputs[-1]
    count = sum(each.count for each in task.inputs)
    if isinstance(first, ChunkInput) and isinstance(last, ChunkInput):
        span = f"offsets {first.chunk.start:,} to {last.chunk.stop - 1:,} of journal {first.journal}"
        return f" (in a split of {count:,} events, {span})"
    return f" (in a split of {count:,} documents)"
