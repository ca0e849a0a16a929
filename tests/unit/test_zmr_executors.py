"""A job driven from this process: whatever its crew does, it ends once, with the right result or the reason."""

from collections.abc import Hashable, Sequence
from pathlib import Path
from typing import Any

import pytest

from sites import counted, open_site, page_views, request
from zarkov.errors import ClusterUnreachable, TaskLost, ZarkovError
from zarkov.zmr.executors import Answer, Ended, Keep, run_job
from zarkov.zmr.job import Job, JobState
from zarkov.zmr.kept import Piece
from zarkov.zmr.output import JobOutput
from zarkov.zmr.site import Site
from zarkov.zmr.tasks import Task, run_task

EVENTS = page_views(3_000)
EXPECTED = {f"p{number}": 300 for number in range(10)}


class Workers:
    """A crew of so many workers; `trouble` says for each task begun, by its number, what goes wrong.

    lose: it is answered with an error; never: it is not answered; twice: it is answered two times.
    """

    def __init__(self, count: int = 2, trouble: dict[int, str] | None = None) -> None:
        self.count = count
        self.trouble = trouble or {}
        self.begun = 0
        self.most = 0
        self.abandoned: list[Hashable] = []
        self._tasks: dict[Hashable, tuple[Task, Keep, str]] = {}

    def workers(self) -> Sequence[Hashable]:
        return range(self.count)

    def begin(self, worker: Hashable, task: Task, keep: Keep) -> None:
        assert worker not in self._tasks
        self._tasks[worker] = task, keep, self.trouble.get(self.begun, "")
        self.begun += 1
        self.most = max(self.most, len(self._tasks))

    def answers(self, timeout_s: float) -> Sequence[Answer]:
        found: list[Answer] = []
        for worker, (task, keep, trouble) in list(self._tasks.items()):
            if trouble == "never":
                continue
            del self._tasks[worker]
            if trouble == "lose":
                found.append(Answer(worker, error=TaskLost("the worker died")))
                continue
            pieces: list[Piece] = []
            try:
                report = run_task(task, lambda *piece, into=pieces: into.append(piece))
            except ZarkovError as error:
                found.append(Answer(worker, error=error))
                continue
            found += [Answer(worker, [keep(pieces)], report)] * (2 if trouble == "twice" else 1)
        return found

    def abandon(self, worker: Hashable) -> None:
        self.abandoned.append(worker)
        self._tasks.pop(worker, None)


class Clock:
    """Time that passes by `step_s` whenever somebody looks."""

    def __init__(self, step_s: float = 0.0) -> None:
        self.now, self.step_s = 0.0, step_s

    def __call__(self) -> float:
        self.now += self.step_s
        return self.now


def drive(site: Site, crew: Any, clock: Clock | None = None, seen: list[Job] | None = None, **options: Any) -> Ended:
    driver = site.driver("j", request(), workers=2, captured=True)
    return run_job(
        driver,
        crew,
        driver.limits,
        timeout_s=options.pop("timeout_s", 1e9),
        watch=(seen if seen is not None else []).append,
        is_cancelled=options.pop("is_cancelled", lambda: False),
        clock=clock or Clock(),
    )


@pytest.mark.parametrize("trouble", [{}, {0: "lose"}, {1: "lose", 4: "lose"}, {0: "twice", 2: "twice"}, {3: "lose"}])
def test_the_result_is_the_same_whatever_becomes_of_tasks(tmp_path: Path, trouble: dict[int, str]) -> None:
    with open_site(tmp_path, EVENTS, map_job_size=1_000) as site:
        ended = drive(site, Workers(2, trouble))
    assert ended.job.state == JobState.COMPLETE
    assert counted(ended.value) == EXPECTED
    assert ended.job.counters.events_read == 3_000
    assert ended.job.progress["retries"] == list(trouble.values()).count("lose")


def test_a_task_that_is_never_answered_goes_to_another_worker_when_its_lease_is_over(tmp_path: Path) -> None:
    crew = Workers(2, {0: "never"})
    with open_site(tmp_path, EVENTS, map_job_size=1_000, task_timeout_s=5) as site:
        ended = drive(site, crew, Clock(0.1))
    assert counted(ended.value) == EXPECTED
    assert ended.job.progress["retries"] == 1
    assert crew.abandoned == [0]


def test_a_task_that_is_lost_too_often_fails_the_job_with_the_reason(tmp_path: Path) -> None:
    with open_site(tmp_path, EVENTS, map_job_size=1_000, task_attempts_max=2) as site:
        ended = drive(site, Workers(1, {0: "lose", 1: "lose"}))
    assert ended.job.state == JobState.ERROR
    assert "the worker died" in ended.job.error
    assert "of 2 attempts" in ended.job.error
    assert isinstance(ended.cause, TaskLost)


def test_no_more_tasks_are_under_way_than_are_allowed(tmp_path: Path) -> None:
    crew = Workers(8)
    with open_site(tmp_path, EVENTS, map_job_size=100, outstanding_maps=3, outstanding_reduces=2) as site:
        assert counted(drive(site, crew).value) == EXPECTED
    assert crew.most == 3


def test_workers_that_come_while_the_job_runs_take_part(tmp_path: Path) -> None:
    class Growing(Workers):
        def answers(self, timeout_s: float) -> Sequence[Answer]:
            self.count = 4
            return super().answers(timeout_s)

    crew = Growing(1)
    with open_site(tmp_path, EVENTS, map_job_size=100) as site:
        assert counted(drive(site, crew).value) == EXPECTED
    assert crew.most == 4


def test_a_cancelled_job_ends_without_a_result_and_its_tasks_are_abandoned(tmp_path: Path) -> None:
    crew = Workers(2, dict.fromkeys(range(9), "never"))
    with open_site(tmp_path, EVENTS, map_job_size=1_000) as site:
        ended = drive(site, crew, is_cancelled=lambda: crew.begun == 2)
    assert (ended.job.state, ended.value) == (JobState.CANCELLED, None)
    assert sorted(crew.abandoned) == [0, 1]


def test_a_job_that_takes_too_long_fails_and_says_which_setting_bounds_it(tmp_path: Path) -> None:
    crew = Workers(1, {0: "never"})
    with open_site(tmp_path, EVENTS) as site:
        ended = drive(site, crew, Clock(1.0), timeout_s=20)
    assert ended.job.state == JobState.ERROR
    assert "job_timeout_s, 20 seconds" in ended.job.error


def test_a_crew_that_is_gone_fails_the_job(tmp_path: Path) -> None:
    class Gone(Workers):
        def answers(self, timeout_s: float) -> Sequence[Answer]:
            raise ClusterUnreachable("the scheduler went away")

    with open_site(tmp_path, EVENTS) as site:
        ended = drive(site, Gone())
    assert (ended.job.state, ended.job.error) == (JobState.ERROR, "the scheduler went away")


def test_an_output_that_cannot_be_written_fails_the_job(tmp_path: Path) -> None:
    class Full(JobOutput):
        def commit(self, sources: Any) -> Any:
            raise OSError(28, "No space left on device")

    with open_site(tmp_path, EVENTS) as site:
        site._open_output = lambda job_id, request: Full(site.store, job_id, request)
        ended = drive(site, Workers())
    assert ended.job.state == JobState.ERROR
    assert "No space left" in ended.job.error


def test_a_fault_of_ours_is_raised_and_the_job_has_ended_all_the_same(tmp_path: Path) -> None:
    class Broken(Workers):
        def answers(self, timeout_s: float) -> Sequence[Answer]:
            raise RuntimeError("a bug")

    seen: list[Job] = []
    with open_site(tmp_path, EVENTS) as site, pytest.raises(RuntimeError, match="a bug"):
        drive(site, Broken(), seen=seen)
    assert (seen[-1].state, seen[-1].error) == (JobState.ERROR, "RuntimeError: a bug")


def test_an_interrupted_job_counts_as_cancelled(tmp_path: Path) -> None:
    class Interrupted(Workers):
        def answers(self, timeout_s: float) -> Sequence[Answer]:
            raise KeyboardInterrupt

    seen: list[Job] = []
    with open_site(tmp_path, EVENTS) as site, pytest.raises(KeyboardInterrupt):
        drive(site, Interrupted(), seen=seen)
    assert seen[-1].state == JobState.CANCELLED


def test_what_a_job_kept_is_gone_when_it_has_ended(tmp_path: Path) -> None:
    with open_site(tmp_path, EVENTS, map_job_size=100, memory_bytes_max=0) as site:
        assert counted(drive(site, Workers()).value) == EXPECTED
        assert site._spill.spilled_bytes > 0
        assert list((tmp_path / "jobs").iterdir()) == []


def test_the_job_that_is_watched_goes_through_its_states_in_order(tmp_path: Path) -> None:
    seen: list[Job] = []
    with open_site(tmp_path, EVENTS, map_job_size=1_000) as site:
        drive(site, Workers(), seen=seen)
    states = [state for at, state in enumerate(job.state for job in seen) if at == 0 or state != seen[at - 1].state]
    assert states == [JobState.MAPPING, JobState.REDUCING, JobState.COMPLETE]
    assert seen[-1].timings.committing_at is not None
