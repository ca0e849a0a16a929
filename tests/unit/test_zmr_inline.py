"""Jobs in this process: the functions themselves, with their tracebacks, and a debugger that stops in them."""

import pdb
import sys
import traceback
from pathlib import Path
from typing import Any

import pytest

from sites import by_project, counted, open_site, page_views, request, total
from zarkov.errors import FunctionFailed
from zarkov.zmr.executors import Ended
from zarkov.zmr.inline import InlineExecutor
from zarkov.zmr.job import Job, JobState
from zarkov.zmr.request import JobRequest
from zarkov.zmr.shipping import ship
from zarkov.zmr.site import Site

EVENTS = page_views(2_500)


def run(site: Site, asked: JobRequest, *functions: Any, debugging: bool = False) -> Ended:
    known = {ship(function): function for function in functions}
    executor = InlineExecutor(site, known, debugging=debugging)
    return executor.run("j", asked, watch=lambda job: None, is_cancelled=lambda: False)


def failing(events: Any) -> Any:
    for event in events:
        if event["extra"] == 1_234:
            raise ValueError("no such thing")
        yield event["context"]["project"], 1


def chatty(events: Any) -> Any:
    print("mapping")
    yield from by_project(events)


def test_a_job_gives_what_a_loop_over_the_events_gives(tmp_path: Path) -> None:
    with open_site(tmp_path, EVENTS) as site:
        ended = run(site, request(), by_project, total)
    assert ended.job.state == JobState.COMPLETE
    assert counted(ended.value) == {f"p{number}": 250 for number in range(10)}


def test_functions_are_called_as_they_are_and_not_as_text(tmp_path: Path) -> None:
    with open_site(tmp_path, EVENTS) as site:
        ended = run(site, request(failing), failing, total)
    assert f'File "{__file__}"' in ended.job.traceback
    assert 'raise ValueError("no such thing")' in ended.job.traceback
    assert "offset 1,234" in ended.job.error
    assert isinstance(ended.cause, ValueError)


def test_a_function_that_only_came_as_text_is_loaded(tmp_path: Path) -> None:
    with open_site(tmp_path, EVENTS) as site:
        ended = run(site, request(failing))
    assert 'File "<function failing' in ended.job.traceback


def test_what_a_function_raises_is_not_tried_again(tmp_path: Path) -> None:
    with open_site(tmp_path, EVENTS) as site:
        ended = run(site, request(failing), failing, total)
    assert ended.job.progress["retries"] == 0
    assert "attempts" not in ended.job.error


def test_what_functions_print_goes_where_the_process_prints(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with open_site(tmp_path, EVENTS, map_job_size=10_000) as site:
        ended = run(site, request(chatty), chatty, by_project, total)
    assert capsys.readouterr().out == "mapping\n"
    assert ended.job.printed == ""


def test_with_debugging_what_a_function_raises_is_raised_from_its_own_line(tmp_path: Path) -> None:
    with open_site(tmp_path, EVENTS) as site, pytest.raises(ValueError, match="no such thing") as raised:
        run(site, request(failing), failing, total, debugging=True)
    assert raised.value.__cause__ is None
    assert raised.value.__context__ is None
    assert traceback.extract_tb(raised.tb)[-1].name == "failing"


def test_with_debugging_a_function_is_called_once_however_it_fails(tmp_path: Path) -> None:
    calls: list[int] = []

    def counting(events: Any) -> Any:
        calls.append(1)
        yield from failing(events)

    asked = request(failing)
    with open_site(tmp_path, EVENTS, map_job_size=10_000) as site:
        executor = InlineExecutor(site, {ship(failing): counting, ship(total): total}, debugging=True)
        with pytest.raises(ValueError):
            executor.run("j", asked, watch=lambda job: None, is_cancelled=lambda: False)
    assert calls == [1]


def test_a_debugger_stops_in_the_function_and_sees_its_variables(tmp_path: Path) -> None:
    stopped: list[tuple[str, Any]] = []

    class Looking(pdb.Pdb):
        def user_line(self, frame: Any) -> None:
            stopped.append((frame.f_code.co_name, frame.f_locals.get("event")))
            self.set_continue()

    looking = Looking(stdin=sys.stdin, stdout=sys.stdout)
    lines = Path(__file__).read_text().splitlines()
    looking.set_break(__file__, lines.index('            raise ValueError("no such thing")') + 1)
    with open_site(tmp_path, EVENTS) as site, pytest.raises(ValueError):
        looking.runcall(run, site, request(failing), failing, total, debugging=True)
    looking.clear_all_breaks()
    assert [(name, event["extra"]) for name, event in stopped if name == "failing"][-1] == ("failing", 1_234)


def test_a_failure_elsewhere_is_the_jobs_also_with_debugging(tmp_path: Path) -> None:
    def unkeepable(key: Any, values: Any) -> Any:
        return {1, 2}

    with open_site(tmp_path, EVENTS) as site:
        ended = run(site, request(reduce=unkeepable), by_project, unkeepable, debugging=False)
    assert ended.job.state == JobState.ERROR
    assert isinstance(ended.cause, Exception)
    assert not isinstance(ended.cause, FunctionFailed)


def test_a_job_is_cancelled_between_two_tasks(tmp_path: Path) -> None:
    seen: list[Job] = []
    with open_site(tmp_path, EVENTS, map_job_size=100) as site:
        ended = InlineExecutor(site).run(
            "j",
            request(),
            watch=seen.append,
            is_cancelled=lambda: bool(seen) and seen[-1].counters.events_read >= 300,
        )
    assert ended.job.state == JobState.CANCELLED
    assert ended.job.counters.events_read == 300


def test_one_function_is_called_with_its_arguments(tmp_path: Path) -> None:
    with open_site(tmp_path, []) as site:
        ended = run(site, JobRequest("basic", function=ship("math:pow"), args=(2, 5)))
    assert (ended.job.state, ended.value) == (JobState.COMPLETE, 32.0)


def test_a_reduce_that_has_to_merge_on_the_way_keeps_it_with_the_job(tmp_path: Path) -> None:
    with open_site(tmp_path, EVENTS, map_job_size=50, task_memory_bytes=1024 * 1024, memory_bytes_max=0) as site:
        ended = run(site, request(reduce_count=1), by_project, total)
        assert counted(ended.value) == {f"p{number}": 250 for number in range(10)}
        assert list((tmp_path / "jobs").iterdir()) == []
