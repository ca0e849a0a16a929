"""`zmr` as a program uses it: submission returns at once, and what fails fails in `wait` and `result`."""

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sites import START, by_project, open_site, page_views, total
from zarkov.config import ZmrSettings
from zarkov.errors import (
    FunctionFailed,
    FunctionUnshippable,
    JobCancelled,
    JobFailed,
    JobInvalid,
    JobUnfinished,
    RouterUnreachable,
)
from zarkov.zmr import Job, Zmr
from zarkov.zmr.job import Counters, JobState
from zarkov.zmr.job import Job as JobRecord
from zarkov.zmr.jobbook import JobBook
from zarkov.zmr.output import JobOutput
from zarkov.zmr.progress import Bar, line_of
from zarkov.zmr.resultset import SHOWN_MAX, Results
from zarkov.zmr.site import Site

EVENTS = page_views(2_000)
EXPECTED = {f"p{number}": 200 for number in range(10)}


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with open_site(tmp_path, EVENTS, executor="inline", map_job_size=500) as opened:
        yield opened


@pytest.fixture
def zmr(site: Site) -> Iterator[Zmr]:
    with Zmr(site.settings, site=site, store=site.store) as opened:
        yield opened


def poisoned(events: Any) -> Any:
    for event in events:
        yield event["nothing"], 1


def test_submission_returns_before_the_job_ends_and_the_result_waits_for_it(zmr: Zmr) -> None:
    job = zmr.mapreduce(by_project, total)
    assert isinstance(job, Job)
    assert job.result().to_dict() == EXPECTED
    assert job.state == JobState.COMPLETE
    assert job.status().counters.events_read == 2_000


def test_wait_gives_the_job_itself_so_that_calls_can_be_chained(zmr: Zmr) -> None:
    assert zmr.mapreduce(by_project, total, wait=True).wait().result().to_dict() == EXPECTED


def test_what_is_to_be_read_is_chosen_by_filter_time_and_limit(zmr: Zmr) -> None:
    job = zmr.mapreduce(
        by_project,
        lambda key, values: sum(values),
        query={"context.project": {"$in": ["p1", "p2"]}},
        time_from=START,
        time_to=START.replace(hour=10),
        inputs="event",
        event_limit=1_000,
    )
    assert job.result().to_dict() == {"p1": 60, "p2": 60}


def test_several_collections_are_filled_in_one_pass(zmr: Zmr) -> None:
    def both(events: Any) -> Any:
        for event in events:
            for kind in ("project", "user"):
                yield {"c": f"by_{kind}", "k": event["context"][kind], "v": 1}

    found = zmr.xmapreduce(both, lambda collection, key, values: sum(values)).result()
    assert sorted(found) == ["by_project", "by_user"]
    assert found["by_project"].to_dict() == EXPECTED
    assert sum(found["by_user"].to_dict().values()) == 2_000


def test_a_single_function_is_called(zmr: Zmr) -> None:
    assert zmr.basic(lambda a, b=1: {"sum": a + b}, (3,), {"b": 4}).result() == {"sum": 7}


def test_a_failing_job_fails_in_wait_with_the_functions_traceback_and_its_event(zmr: Zmr) -> None:
    job = zmr.mapreduce(poisoned, total)
    with pytest.raises(FunctionFailed, match="map raised KeyError: 'nothing'") as raised:
        job.wait()
    assert "in poisoned" in raised.value.traceback
    assert raised.value.event is not None
    assert raised.value.event["offset"] == 0
    assert isinstance(raised.value.__cause__, KeyError)
    with pytest.raises(FunctionFailed):
        job.result()
    assert "KeyError" in repr(job)


def test_with_debug_what_the_function_raises_is_raised(zmr: Zmr) -> None:
    with pytest.raises(KeyError):
        zmr.mapreduce(poisoned, total, debug=True)


def test_a_function_that_cannot_be_sent_is_refused_at_submission_wherever_it_would_run(zmr: Zmr) -> None:
    lock = threading.Lock()
    with pytest.raises(FunctionUnshippable, match="lock"):
        zmr.mapreduce(lambda events: [(lock, event) for event in events], total)


def test_a_job_that_is_not_waited_for_long_enough_runs_on(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = threading.Event()
    with _slow(site, opened, monkeypatch) as zmr:
        job = zmr.mapreduce(by_project, total)
        with pytest.raises(JobUnfinished, match=r"after 0\.05 seconds"):
            job.wait(0.05)
        opened.set()
        assert job.result().to_dict() == EXPECTED


def test_a_cancelled_job_says_so_and_stores_nothing(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = threading.Event()
    with _slow(site, opened, monkeypatch) as zmr:
        job = zmr.mapreduce(by_project, total)
        job.cancel()
        opened.set()
        with pytest.raises(JobCancelled):
            job.wait()
        assert zmr.job(job.id).state == JobState.CANCELLED


def test_the_end_of_the_program_cancels_what_still_runs(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = threading.Event()
    zmr = _slow(site, opened, monkeypatch)
    job = zmr.mapreduce(by_project, total)
    threading.Timer(0.05, opened.set).start()
    zmr.close()
    assert job.state == JobState.CANCELLED


def test_jobs_that_ended_are_remembered_newest_first(zmr: Zmr, site: Site) -> None:
    first = zmr.mapreduce(by_project, total, wait=True)
    failed = zmr.mapreduce(poisoned, total)
    with pytest.raises(FunctionFailed):
        failed.wait()
    assert [(job.id, job.state) for job in zmr.jobs()] == [
        (failed.id, JobState.ERROR),
        (first.id, JobState.COMPLETE),
    ]
    kept = JobBook(site.store, 10).get(failed.id)
    assert kept is not None
    assert "in poisoned" in kept.traceback


def test_what_cannot_run_here_says_what_is_missing() -> None:
    bare = Zmr(ZmrSettings(executor="zmr"))
    with pytest.raises(RouterUnreachable, match="no router is known"):
        bare.mapreduce(by_project, total)
    with pytest.raises(JobInvalid, match="executor inline needs the log"):
        bare.mapreduce(by_project, total, executor="inline")


def test_a_request_that_contradicts_itself_is_refused_at_submission(zmr: Zmr) -> None:
    with pytest.raises(JobInvalid, match="contradict"):
        zmr.mapreduce(by_project, total, output="x", output_type="inline")


def test_an_executor_that_cannot_begin_fails_in_wait(zmr: Zmr) -> None:
    job = zmr.mapreduce(by_project, total, executor="dask")
    with pytest.raises(JobInvalid, match="dask_address"):
        job.wait()
    assert job.state == JobState.ERROR


def test_an_error_that_is_no_functions_is_job_failed(zmr: Zmr, site: Site) -> None:
    class Full(JobOutput):
        def commit(self, sources: Any) -> Any:
            raise OSError(28, "No space left on device")

    site._open_output = lambda job_id, request: Full(site.store, job_id, request)
    with pytest.raises(JobFailed, match="No space left"):
        zmr.mapreduce(by_project, total, wait=True)


def test_results_are_read_as_documents_as_a_dict_and_by_eye() -> None:
    results = Results([{"_id": {"0": "a", "1": 2}, "value": 3}, {"_id": {"x": [1]}, "value": {"n": 4}}])
    assert len(results) == 2
    assert results.to_dict() == {("a", 2): 3, (("x", (1,)),): {"n": 4}}
    assert repr(results) == "[{'_id': {'0': 'a', '1': 2}, 'value': 3}, {'_id': {'x': [1]}, 'value': {'n': 4}}]"


def test_of_many_results_the_first_are_shown_and_how_many_there_are() -> None:
    shown = repr(Results([{"_id": number, "value": 0} for number in range(1_000)]))
    assert shown.count("_id") == SHOWN_MAX
    assert shown.endswith("... 1,000 in all]")


def test_progress_counts_splits_and_says_how_long_the_maps_will_take() -> None:
    record = JobRecord(
        "j",
        JobState.MAPPING,
        {},
        progress={"maps_done": 25, "maps_total": 41, "events_total": 1_000},
        counters=Counters(events_read=250),
    )
    line = line_of(record, 5.0)
    assert (line.phase, line.done, line.total, line.unit) == ("mapping", 25, 100, "splits")
    assert (line.events, line.events_per_s, line.left_s) == (250, 50.0, 15.0)


def test_progress_of_a_job_that_has_read_nothing_knows_no_end() -> None:
    line = line_of(JobRecord("j", JobState.QUEUED, {}), 0.0)
    assert (line.done, line.total, line.left_s) == (0, None, None)


def test_the_reduces_are_counted_when_the_maps_are_done() -> None:
    progress = {"maps_done": 4, "maps_total": 4, "reduces_done": 1, "reduces_total": 2}
    line = line_of(JobRecord("j", JobState.REDUCING, {}, progress=progress), 1.0)
    assert (line.phase, line.done, line.total, line.unit) == ("reducing", 1, 2, "partitions")


def test_the_bar_is_drawn_on_a_terminal_and_nowhere_else(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    record = JobRecord("j", JobState.MAPPING, {}, progress={"maps_done": 1, "maps_total": 2})
    with Bar() as bar:
        bar.show(record, 1.0)
    assert capsys.readouterr().err == ""
    monkeypatch.setenv("TTY_COMPATIBLE", "1")
    with Bar(enabled=True) as bar:
        bar.show(record, 1.0)
    assert "1 of 2 splits" in capsys.readouterr().err


def _slow(site: Site, opened: threading.Event, monkeypatch: pytest.MonkeyPatch) -> Zmr:
    """A Zmr whose jobs go no further than their first task until `opened`."""
    from zarkov.zmr.inline import InlineCrew

    answers = InlineCrew.answers

    def held(self: InlineCrew, timeout_s: float) -> Any:
        assert opened.wait(30)
        return answers(self, timeout_s)

    monkeypatch.setattr(InlineCrew, "answers", held)
    return Zmr(site.settings, site=site, store=site.store)
