"""How far a job is, in one line, and as a bar on a terminal."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final

from zarkov.zmr.job import Job, JobState

#: The share of a job's time that its maps take, where nothing better is known: what remains is the reduces'.
_NOTHING_LEFT: Final = {JobState.FINALIZING, JobState.COMMITTING}


@dataclass(frozen=True, slots=True)
class Line:
    """`done` of `total` units of the phase; total is None where it is not known yet. `left_s`: of the phase."""

    phase: str
    done: int
    total: int | None
    unit: str
    events: int
    events_per_s: float
    left_s: float | None


def line_of(job: Job, elapsed_s: float) -> Line:
    """How far the job is, `elapsed_s` after its submission."""
    progress = job.progress
    events = job.counters.events_read
    rate = events / elapsed_s if elapsed_s > 0 else 0.0
    if job.state in (JobState.QUEUED, JobState.MAPPING):
        done, total = int(progress.get("maps_done", 0)), int(progress.get("maps_total", 0))
        expected = progress.get("events_total")
        left = None if not expected or not rate else max(0.0, (int(expected) - events) / rate)
        if expected and events < int(expected) and done:
            total = max(total, round(done * int(expected) / max(events, 1)))
        return Line(str(job.state), done, total or None, "splits", events, rate, left)
    done, total = int(progress.get("reduces_done", 0)), int(progress.get("reduces_total", 0))
    left = 0.0 if job.state in _NOTHING_LEFT or job.state.has_ended else None
    return Line(str(job.state), done, total or None, "partitions", events, rate, left)


class Bar:
    """A context manager: one line on standard error that `show` redraws, gone at the end; nothing off a terminal."""

    def __init__(self, *, enabled: bool | None = None) -> None:
        self._enabled = sys.stderr.isatty() if enabled is None else enabled
        self._progress: Any = None
        self._task: Any = None

    def show(self, job: Job, elapsed_s: float) -> None:
        """Redraw the line."""
        if self._progress is None:
            return
        line = line_of(job, elapsed_s)
        share = f"{line.done:,} of {line.total:,} {line.unit}" if line.total else f"{line.done:,} {line.unit}"
        left = "" if line.left_s is None else f"{line.left_s:,.0f} s left"
        facts = f"{share}  {line.events:,} events  {line.events_per_s:,.0f}/s  {left}"
        self._progress.update(
            self._task, description=f"{line.phase:<10}", total=line.total, completed=line.done, facts=facts
        )

    def __enter__(self) -> Bar:
        if self._enabled:
            from rich.console import Console
            from rich.progress import BarColumn, Progress, TextColumn

            columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[facts]}"))
            self._progress = Progress(*columns, console=Console(stderr=True), transient=True)
            self._task = self._progress.add_task("queued", total=None, facts="")
            self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._progress is not None:
            self._progress.stop()
            self._progress = None
