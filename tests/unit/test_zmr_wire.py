"""The router's protocols as bytes: what is read back, what is refused, how long pieces are cut."""

from __future__ import annotations

from typing import Any

import bson
import pytest

from zarkov.errors import BadFrame, JobInvalid, JobsFull
from zarkov.zmr import wire
from zarkov.zmr.job import Counters, Job, JobState
from zarkov.zmr.scheduler import TaskId


def request(**document: Any) -> wire.Request:
    return wire.read_request(bson.encode(document))


def test_a_request_is_a_command_and_its_fields() -> None:
    found = request(**{"$command": "status", "job_id": "a1", "full": True})
    assert (found.command, found.job_id) == ("status", "a1")
    assert found.fields == {"job_id": "a1", "full": True}


def test_an_object_id_names_a_job_too() -> None:
    job_id = bson.ObjectId()
    assert request(**{"$command": "status", "job_id": job_id}).job_id == str(job_id)


@pytest.mark.parametrize("body", [b"", b"{}", bson.encode({}), bson.encode({"$command": 7}), bson.encode({"a": 1})])
def test_what_names_no_command_is_refused(body: bytes) -> None:
    with pytest.raises(BadFrame):
        wire.read_request(body)


@pytest.mark.parametrize("job_id", ["", "..", "a/b", "a" * 65, "ü", 1.5])
def test_an_id_that_could_name_something_else_is_refused(job_id: object) -> None:
    with pytest.raises(JobInvalid):
        _ = request(**{"$command": "status", "job_id": job_id}).job_id


@pytest.mark.parametrize("limit", [0, -1, True, "10", 1.5, wire.JOBS_LISTED_MAX + 1])
def test_a_limit_is_a_number_in_bounds(limit: object) -> None:
    with pytest.raises(JobInvalid):
        _ = request(**{"$command": "jobs", "limit": limit}).limit


@pytest.mark.parametrize("timeout", [-1, True, "1"])
def test_a_timeout_is_a_number_of_seconds(timeout: object) -> None:
    with pytest.raises(JobInvalid):
        _ = request(**{"$command": "wait", "timeout_s": timeout}).timeout_s
    assert request(**{"$command": "wait", "timeout_s": 1.5}).timeout_s == 1.5
    assert request(**{"$command": "wait"}).timeout_s is None


def test_the_envelope_of_a_req_and_of_a_dealer_is_told_from_the_body() -> None:
    assert wire.split_envelope([b"id", b"", b"body"]) == ([b"id", b""], b"body")
    assert wire.split_envelope([b"id", b"body"]) == ([b"id"], b"body")
    for frames in ([b"body"], [b"id", b"", b"one", b"two"], [b"id", b"one", b"two"]):
        with pytest.raises(BadFrame):
            wire.split_envelope(frames)


def test_the_status_of_a_job_is_its_state_and_traceback() -> None:
    job = Job("a1", JobState.ERROR, {}, error="it broke", counters=Counters(events_read=1))
    assert wire.status_reply(job) == {"job_id": "a1", "status": {"state": "error", "traceback": "it broke"}}
    assert wire.status_reply(job, [1])["result"] == [1]
    assert wire.status_reply(job, full=True)["job"] == job.to_document()
    assert wire.unknown_reply("x") == {"job_id": "x", "status": {"state": "UNKNOWN", "traceback": ""}}


def test_an_error_is_answered_with_its_code_and_the_way_out() -> None:
    error = JobsFull("no room", hint="later")
    expected = {"error": "no room", "code": "jobs_full", "hint": "later", "retryable": True}
    assert wire.error_reply(error) == expected


def test_a_job_in_a_list_has_no_functions_and_reads_as_a_job() -> None:
    asked = {"$command": "mapreduce", "map_text": "long", "output_name": "out", "query": b"x"}
    found = wire.summary_of(Job("a1", JobState.COMPLETE, asked, printed="much", traceback="long"))
    assert found["request"] == {"$command": "mapreduce", "output_name": "out"}
    assert not {"printed", "traceback", "event"} & found.keys()
    assert Job.from_document(found).id == "a1"


def test_a_message_is_read_back() -> None:
    task = TaskId("j", "reduce", 7)
    head = {"worker": "w", "task": wire.task_document(task), "attempt": 2, "partitions": [3, 3]}
    found = wire.read_message(wire.message("part", head, [b"one", b""]))
    assert (found.what, found.worker, found.task, found.attempt) == ("part", "w", task, 2)
    assert found.pieces == [(3, b"one"), (3, b"")]


@pytest.mark.parametrize(
    "frames",
    [[], [b"x"], [bson.encode({"worker": "w"})], [bson.encode({"w": 1})], [b"x"] * (wire.FRAMES_MAX + 2)],
)
def test_frames_that_are_no_message_are_refused(frames: list[bytes]) -> None:
    with pytest.raises(BadFrame):
        wire.read_message(frames)


@pytest.mark.parametrize("partitions", [None, [], [1, 2], ["1"], [-1], [True], 1])
def test_pieces_without_a_partition_each_are_refused(partitions: object) -> None:
    with pytest.raises(BadFrame):
        _ = wire.read_message(wire.message("part", {"partitions": partitions}, [b"x"])).pieces


def test_fields_of_a_message_that_are_missing_or_of_another_type_are_refused() -> None:
    found = wire.read_message(wire.message("done", {"worker": 1, "attempt": True, "task": {"job": "j"}}))
    for field in ("worker", "attempt", "task"):
        with pytest.raises(BadFrame):
            getattr(found, field)
    assert wire.task_of(None) is None
    assert wire.task_of({"job": "j", "stage": "brew", "index": 1}) is None


def test_pieces_are_packed_into_messages_of_bounded_size_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "FRAME_BYTES_MAX", 10)
    monkeypatch.setattr(wire, "FRAMES_MAX", 3)
    packing = wire.Packing()
    given = [(0, b"a" * 4), (1, b"b" * 6), (2, b"c" * 25), (0, b"d"), (0, b"e"), (1, b"f"), (1, b"g"), (2, b"")]
    sent = [message for partition, piece in given for message in packing.add(partition, piece)]
    sent.append(packing.take())
    assert all(sum(map(len, frames)) <= 10 and len(frames) <= 3 for _, frames in sent)
    together: dict[int, bytes] = {}
    for partitions, frames in sent:
        for partition, frame in zip(partitions, frames, strict=True):
            together[partition] = together.get(partition, b"") + frame
    assert together == {0: b"aaaade", 1: b"bbbbbbfg", 2: b"c" * 25}
    assert packing.take() == ([], [])
