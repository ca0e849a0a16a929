"""A job as it is kept."""

from datetime import datetime

import bson
import pytest

from zarkov.errors import JobInvalid
from zarkov.zmr.job import Counters, Job, JobState, Timings


def test_a_job_survives_its_document() -> None:
    job = Job(
        "j1",
        JobState.REDUCING,
        {"$command": "mapreduce"},
        position={"journal": 7},
        progress={"maps_done": 3},
        counters=Counters(events_read=5, spills=1),
        timings=Timings(submitted_at=datetime(2026, 5, 1), mapping_at=datetime(2026, 5, 2)),
        error="why",
        traceback="where",
        event={"offset": 3},
        printed="hello",
    )
    found = Job.from_document(bson.decode(bson.encode(job.to_document())))
    assert found.to_document() == job.to_document()
    assert (found.state, found.counters, found.timings) == (job.state, job.counters, job.timings)


def test_the_status_has_the_originals_form() -> None:
    job = Job("j1", JobState.ERROR, {}, error="why", traceback="where")
    assert job.status() == {"job_id": "j1", "status": {"state": "error", "traceback": "where"}}
    assert Job("j1", JobState.ERROR, {}, error="why").status()["status"]["traceback"] == "why"


def test_counters_of_tasks_add_up_to_those_of_the_job() -> None:
    total = sum([Counters(events_read=2, keys_out=1), Counters(events_read=3, bytes_out=9)], Counters())
    assert total == Counters(events_read=5, keys_out=1, bytes_out=9)
    assert Counters.from_document({"events_read": 5, "of a later version": 1}) == Counters(events_read=5)


def test_a_job_has_ended_in_three_states() -> None:
    assert {state for state in JobState if state.has_ended} == {"complete", "error", "cancelled"}


@pytest.mark.parametrize("document", [{}, {"_id": 1, "state": "lost", "request": {}}, {"_id": 1, "state": "queued"}])
def test_a_document_that_is_no_job_is_refused(document: dict[str, object]) -> None:
    with pytest.raises(JobInvalid, match="is no job"):
        Job.from_document(document)
