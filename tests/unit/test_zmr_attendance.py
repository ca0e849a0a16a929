"""Which worker has what, and which job may begin."""

from __future__ import annotations

import pytest

from zarkov.zmr.attendance import Attendance
from zarkov.zmr.request import JobRequest
from zarkov.zmr.scheduler import Assign, TaskId
from zarkov.zmr.shipping import FunctionSource
from zarkov.zmr.turns import may_begin

TASK, OTHER = TaskId("j", "map", 0), TaskId("j", "map", 1)


@pytest.fixture
def one() -> Attendance:
    """A worker `w` with the first attempt at TASK."""
    found = Attendance()
    found.arrived("w", 0.0)
    found.given(Assign("w", TASK, 1, "payload"))
    return found


def test_an_answer_counts_for_this_attempt_of_this_task_by_this_worker(one: Attendance) -> None:
    work = one.work_of("w", TASK, 1)
    assert work is not None
    assert work.assign.payload == "payload"
    assert one.work_of("w", TASK, 2) is None
    assert one.work_of("w", OTHER, 1) is None
    assert one.work_of("v", TASK, 1) is None
    one.answered("w", TASK, 1, 1.0, leaves=False)
    assert one.work_of("w", TASK, 1) is None
    assert one.is_present("w")


def test_a_worker_whose_task_was_abandoned_is_told_to_end(one: Attendance) -> None:
    assert one.beat("w", TASK, 1, 1.0)
    one.abandoned("w", OTHER)
    assert one.beat("w", TASK, 1, 1.0)
    one.abandoned("w", TASK)
    assert one.work_of("w", TASK, 1) is None
    assert not one.beat("w", TASK, 1, 1.0)
    assert one.beat("w", TASK, 2, 1.0)
    assert one.beat("w", None, 0, 1.0)


def test_a_worker_that_answered_in_spite_of_that_goes_on(one: Attendance) -> None:
    one.abandoned("w", TASK)
    one.answered("w", TASK, 1, 1.0, leaves=False)
    one.given(Assign("w", TASK, 2, "again"))
    assert one.beat("w", TASK, 1, 1.0)  # A beat that was sent before the answer.
    assert one.work_of("w", TASK, 2) is not None


def test_a_late_answer_does_not_take_the_next_task_away(one: Attendance) -> None:
    one.answered("w", OTHER, 1, 1.0, leaves=False)
    assert one.work_of("w", TASK, 1) is not None


def test_a_worker_is_silent_when_neither_a_beat_nor_an_answer_came(one: Attendance) -> None:
    one.arrived("v", 0.0)
    one.beat("w", TASK, 1, 5.0)
    assert one.silent_since(4.0) == ["v"]
    one.answered("v", TASK, 1, 6.0, leaves=False)
    assert one.silent_since(4.0) == []


def test_who_has_left_is_unknown(one: Attendance) -> None:
    work = one.left("w")
    assert work is not None
    assert work.assign.task == TASK
    assert len(one) == 0
    assert not one.beat("w", TASK, 1, 1.0)
    with pytest.raises(KeyError):
        one.left("w")
    one.arrived("w", 2.0)
    one.answered("w", TASK, 1, 2.0, leaves=True)
    assert not one.is_present("w")


def test_who_begins_anew_has_nothing(one: Attendance) -> None:
    one.abandoned("w", TASK)
    one.given(Assign("w", OTHER, 1, "payload"))
    one.arrived("w", 3.0)
    assert one.work_of("w", OTHER, 1) is None
    assert one.beat("w", TASK, 1, 3.0)


def job(output: str | None = None, kind: str = "mapreduce") -> JobRequest:
    source = FunctionSource("module", "os:getpid")
    if kind == "basic":
        return JobRequest("basic", function=source)
    more = {"output_name": output, "output_type": "replace"} if output else {}
    return JobRequest("xmapreduce" if kind == "xmapreduce" else "mapreduce", map=source, reduce=source, **more)  # type: ignore[arg-type]


def beginning(running: list[JobRequest], waiting: list[JobRequest], most: int = 10) -> list[int]:
    named = [(str(number), request) for number, request in enumerate(waiting)]
    return [int(name) for name in may_begin(running, named, most)]


def test_jobs_begin_in_order_as_far_as_there_is_room() -> None:
    assert beginning([], [job("a"), job("b"), job("c")], 2) == [0, 1]
    assert beginning([job("z")], [job("a"), job("b")], 2) == [0]
    assert beginning([job("y"), job("z")], [job("a")], 2) == []


def test_a_collection_is_filled_by_one_job_at_a_time() -> None:
    assert beginning([job("a")], [job("a"), job("b")]) == [1]
    assert beginning([], [job("a"), job("a"), job("b")]) == [0, 2]


def test_jobs_that_fill_nothing_disturb_nobody() -> None:
    assert beginning([job("a")], [job(), job(kind="basic"), job()]) == [0, 1, 2]


def test_an_xmapreduce_may_fill_anything_and_keeps_its_place() -> None:
    many = job(kind="xmapreduce")
    assert beginning([job("a")], [many, job("b"), job()]) == [2]
    assert beginning([many], [job("a"), job(kind="basic")]) == [1]
    assert beginning([], [many, many, job("a")]) == [0]


def test_a_waiting_job_takes_no_room() -> None:
    assert beginning([job("a")], [job("a"), job("b"), job("c")], 3) == [1, 2]
