"""A job as its submitter holds it: wait for it, look at it, take its results."""

from __future__ import annotations

import time
from typing import Any

from zarkov.errors import FunctionFailed, JobCancelled, JobFailed, JobInvalid, JobUnfinished, ZarkovError
from zarkov.event import Document
from zarkov.store.contract import Collection, Store
from zarkov.zmr.job import Job as JobRecord
from zarkov.zmr.job import JobState
from zarkov.zmr.progress import Bar
from zarkov.zmr.resultset import Results
from zarkov.zmr.running import Running

#: How long a job is waited for before the bar is drawn anew.
LOOK_S = 0.1


class Job:
    """A job that was submitted, or found by its id."""

    def __init__(self, running: Running, store: Store | None) -> None:
        self._running = running
        self._store = store
        self._last: JobRecord | None = None

    @property
    def id(self) -> str:
        return self._running.id

    @property
    def state(self) -> JobState:
        """queued, mapping, reducing, finalizing, committing; complete, error, cancelled."""
        return self.status().state

    @property
    def printed(self) -> str:
        """What its functions wrote to standard output, up to a limit; inline they write to the terminal."""
        return self.status().printed

    def status(self) -> JobRecord:
        """The job as it is now: state, progress, counters, timings, error. Raises: JobUnknown, RouterUnreachable."""
        if self._last is None or not self._last.state.has_ended:
            self._last = self._running.job()
        return self._last

    def wait(self, timeout: float | None = None, *, progress: bool | None = None) -> Job:
        """Wait until it has ended, with a progress bar on a terminal.

        Args:   timeout: seconds; None waits as long as the job takes (`job_timeout_s` bounds that). progress: draw
                the bar or not, whatever standard error is.
        Raises: FunctionFailed: one of its functions raised, JobFailed: something else failed; JobCancelled;
                JobUnfinished: it runs on. What kept it from beginning. RouterUnreachable, JobUnknown.
        """
        began = time.monotonic()
        deadline = None if timeout is None else began + timeout
        with Bar(enabled=progress) as bar:
            while True:
                left = LOOK_S if deadline is None else min(LOOK_S, deadline - time.monotonic())
                found = self._last = self._running.wait(max(0.0, left))
                if found.state.has_ended:
                    break
                bar.show(found, time.monotonic() - began)
                if deadline is not None and time.monotonic() >= deadline:
                    raise JobUnfinished(f"job {self.id} is still {found.state} after {timeout:g} seconds")
        _require_complete(found, self._running.cause())
        return self

    def result(self) -> Any:
        """Its results, when it has ended: a `Results`, in xmapreduce one for each collection by its name.

        `basic` gives what the function returned. Raises: as `wait`.
        """
        self.wait()
        request = self.status().request
        value = self._running.value()
        if request.get("$command") == "basic":
            return value
        if request.get("output_name") is not None:
            return Results(self._collection(request["output_name"]))
        if request.get("$command") == "xmapreduce":
            return {name: self._results_of(found, name) for name, found in (value or {}).items()}
        return Results(value or [])

    def cancel(self) -> None:
        """Have it end as soon as it can; nothing of it is stored, unless that is just being done."""
        self._running.cancel()

    def __repr__(self) -> str:
        try:
            return f"<Job {_line(self.status())}>"
        except ZarkovError as error:
            return f"<Job {self.id}: {error}>"

    def _results_of(self, found: Any, name: str) -> Results:
        return Results(found) if isinstance(found, list) else Results(self._collection(name))

    def _collection(self, name: str) -> Collection:
        if self._store is None:
            raise JobInvalid(
                f"the results lie in the collection {name}, and no store is open here",
                hint=f"Read it in `zcmd shell`, as ZM.db[{name!r}], or with `zcmd find --in {name}`.",
            )
        return self._store.collection(name)


def _require_complete(job: JobRecord, cause: BaseException | None) -> None:
    """Raises: what a job that failed or was cancelled has to say; a function's own exception as its cause."""
    if job.state == JobState.COMPLETE:
        return
    if job.state == JobState.CANCELLED:
        raise JobCancelled(f"job {job.id} was cancelled")
    if not (job.traceback or job.event):
        raise JobFailed(f"job {job.id} failed: {job.error}") from cause
    event: Document | None = None if job.event is None else dict(job.event)
    failed = FunctionFailed(job.error, traceback=job.traceback, event=event, printed=job.printed)
    if cause is None and job.traceback:
        failed.add_note(f"\nOn the worker:\n{job.traceback}")
    raise failed from cause


def _line(job: JobRecord) -> str:
    """A job in one line."""
    output = job.request.get("output_name") or job.request.get("func_name")
    parts = [job.id + (f" -> {output}" if output else "")]
    parts.append(f"{job.state}, {job.counters.events_mapped:,} events, {job.counters.keys_out:,} keys")
    times = job.timings
    if times.submitted_at is not None and times.ended_at is not None:
        parts.append(f"{(times.ended_at - times.submitted_at).total_seconds():.3g} s")
    return ", ".join(parts) + (f": {job.error}" if job.error else "")
