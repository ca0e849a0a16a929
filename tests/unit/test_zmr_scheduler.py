"""The scheduler's rules, one by one; tests/property tries their combinations."""

from typing import Any

from zarkov.zmr.scheduler import Abandon, Assign, Commit, Finish, Instruction, Limits, Plan, Read, Scheduler


def of(kind: type, instructions: list[Instruction]) -> list[Any]:
    return [one for one in instructions if isinstance(one, kind)]


def mapping(
    limits: Limits, splits: list[int], *, workers: str = "a", job: str = "j"
) -> tuple[Scheduler, list[Assign]]:
    """A job in its map phase, and what was assigned."""
    scheduler = Scheduler()
    scheduler.submit(job, limits, 0.0)
    for worker in workers:
        scheduler.worker_ready(worker, 0.0)
    return scheduler, of(Assign, scheduler.splits_read(job, splits, True, 0.0))


def test_a_job_goes_from_reading_over_map_and_reduce_to_its_commit() -> None:
    scheduler = Scheduler()
    assert scheduler.submit("j", Limits(outstanding_maps=2), 0.0) == [Read("j", 2)]
    scheduler.worker_ready("a", 0.0)
    (first,) = of(Assign, scheduler.splits_read("j", ["s0"], False, 0.0))
    after = scheduler.splits_read("j", ["s1"], True, 0.0)
    assert after == []
    (second,) = scheduler.done("a", first.task, 1, "r0", 0.0)
    assert isinstance(second, Assign)
    assert second.payload == "s1"
    assert scheduler.done("a", second.task, 1, "r1", 0.0) == [Plan("j", ["r0", "r1"])]
    (third,) = scheduler.planned("j", ["p0"], 0.0)
    assert isinstance(third, Assign)
    assert third.task.stage == "reduce"
    assert scheduler.done("a", third.task, 1, "out", 0.0) == [Commit("j", ["out"])]
    assert scheduler.committed("j", 0.0) == [Finish("j", "complete")]
    assert scheduler.jobs == []


def test_a_job_without_input_commits_nothing_and_is_complete() -> None:
    scheduler = Scheduler()
    scheduler.submit("j", Limits(), 0.0)
    assert scheduler.splits_read("j", [], True, 0.0) == [Plan("j", [])]
    assert scheduler.planned("j", [], 0.0) == [Commit("j", [])]


def test_no_more_splits_are_read_than_may_be_outstanding() -> None:
    scheduler = Scheduler()
    assert scheduler.submit("j", Limits(outstanding_maps=3), 0.0) == [Read("j", 3)]
    assert of(Read, scheduler.splits_read("j", [0, 1, 2], False, 0.0)) == []
    (given,) = of(Assign, scheduler.worker_ready("a", 0.0))
    assert of(Read, scheduler.done("a", given.task, given.attempt, None, 0.0)) == [Read("j", 1)]


def test_a_task_whose_lease_ran_out_goes_to_another_worker_and_the_late_answer_counts_for_nothing() -> None:
    scheduler, (first,) = mapping(Limits(lease_s=5.0), ["s"])
    scheduler.worker_ready("b", 1.0)
    assert scheduler.tick(4.9) == []
    abandon, second = scheduler.tick(5.0)
    assert abandon == Abandon("a", first.task)
    assert isinstance(second, Assign)
    assert (second.worker, second.attempt) == ("b", 2)
    assert of(Plan, scheduler.done("a", first.task, first.attempt, "late", 6.0)) == []
    assert scheduler.done("b", second.task, 2, "right", 7.0) == [Plan("j", ["right"])]


def test_a_worker_that_let_a_lease_run_out_gets_nothing_until_it_speaks() -> None:
    scheduler, _ = mapping(Limits(lease_s=5.0), ["s"])
    assert of(Assign, scheduler.tick(5.0)) == []
    assert len(of(Assign, scheduler.worker_ready("a", 6.0))) == 1


def test_a_job_fails_with_the_last_error_after_its_last_attempt() -> None:
    scheduler, (given,) = mapping(Limits(attempts_max=2), ["s"])
    (again,) = scheduler.failed("a", given.task, 1, "first", 0.0)
    assert isinstance(again, Assign)
    (finish,) = scheduler.failed("a", again.task, 2, "second", 0.0)
    assert isinstance(finish, Finish)
    assert finish.state == "error"
    assert finish.error.startswith("second")


def test_workers_that_die_use_up_attempts_too() -> None:
    scheduler, _ = mapping(Limits(attempts_max=2), ["s"])
    scheduler.worker_left("a", 0.0)
    scheduler.worker_ready("b", 0.0)
    (finish,) = of(Finish, scheduler.worker_left("b", 0.0, "killed"))
    assert "killed" in finish.error


def test_jobs_take_turns() -> None:
    scheduler, (given,) = mapping(Limits(), [0, 1, 2, 3], job="large")
    scheduler.submit("small", Limits(), 0.0)
    scheduler.splits_read("small", [0, 1], True, 0.0)
    took = []
    for _ in range(4):
        (given,) = of(Assign, scheduler.done("a", given.task, given.attempt, None, 0.0))
        took.append(given.task.job)
    assert took == ["large", "small", "large", "small"]


def test_a_cancelled_job_abandons_what_runs_and_its_worker_goes_on_with_others() -> None:
    scheduler, (given,) = mapping(Limits(), ["s"])
    assert scheduler.cancel("j", 0.0) == [Abandon("a", given.task), Finish("j", "cancelled")]
    scheduler.submit("k", Limits(), 0.0)
    scheduler.splits_read("k", ["t"], True, 0.0)
    (after,) = of(Assign, scheduler.done("a", given.task, 1, "useless", 0.0))
    assert after.task.job == "k"


def test_a_job_that_is_being_published_is_not_cancelled_any_more() -> None:
    scheduler = Scheduler()
    scheduler.submit("j", Limits(), 0.0)
    scheduler.splits_read("j", [], True, 0.0)
    scheduler.planned("j", [], 0.0)
    assert scheduler.cancel("j", 0.0) == []
    assert scheduler.progress("j").phase == "committing"


def test_progress_counts_maps_then_reduces() -> None:
    scheduler, (given,) = mapping(Limits(), [0, 1])
    seen = scheduler.progress("j")
    assert (seen.phase, seen.maps_done, seen.maps_total, seen.all_read) == ("mapping", 0, 2, True)
    (second,) = of(Assign, scheduler.done("a", given.task, 1, None, 0.0))
    scheduler.done("a", second.task, 1, None, 0.0)
    scheduler.planned("j", [0, 1, 2], 0.0)
    seen = scheduler.progress("j")
    assert (seen.phase, seen.maps_done, seen.reduces_done, seen.reduces_total) == ("reducing", 2, 0, 3)


def test_the_next_tick_is_when_the_first_lease_runs_out() -> None:
    scheduler, _ = mapping(Limits(lease_s=5.0), [0])
    assert scheduler.next_tick() == 5.0
    assert Scheduler().next_tick() is None
