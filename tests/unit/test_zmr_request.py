"""A request for a job, as it stands on the wire."""

from dataclasses import replace
from datetime import datetime
from typing import Any

import bson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from zarkov.errors import JobInvalid
from zarkov.zmr.request import JobRequest
from zarkov.zmr.shipping import FunctionSource

MAP = "def mapped(events):\n    for e in events:\n        yield e['type'], 1\n"
#: As a client of 2011 sends it.
ORIGINAL: dict[str, Any] = {
    "$command": "mapreduce",
    "database": "zarkov",
    "input_names": ["event", "event.0"],
    "query": bson.encode({"type": "commit"}),
    "map_text": MAP,
    "map_name": "mapped",
    "reduce_text": "def reduced(key, values): return sum(values)",
    "reduce_name": "reduced",
    "output_name": "commits",
    "output_type": "merge",
    "wait": True,
}
NAMED = {"map_name": "jobs:mapped", "reduce_name": "jobs:reduced"}


def test_the_originals_request_is_understood() -> None:
    request = JobRequest.from_wire(ORIGINAL)
    assert (request.kind, request.database, request.wait) == ("mapreduce", "zarkov", True)
    assert request.map == FunctionSource("text", "mapped", MAP)
    assert request.reduce is not None
    assert request.reduce.name == "reduced"
    assert request.finalize is None
    assert request.inputs == ("event", "event.0")
    assert request.filter == {"type": "commit"}
    assert (request.output_name, request.output_type) == ("commits", "merge")


def test_what_is_left_out_has_the_originals_defaults() -> None:
    request = JobRequest.from_wire({"$command": "mapreduce", **NAMED, "output_name": "o"})
    assert request.inputs == ("event", "event.0")
    assert (request.output_type, request.filter, request.wait) == ("replace", {}, False)
    assert request.map == FunctionSource("module", "jobs:mapped")
    assert JobRequest.from_wire({"$command": "xmapreduce", **NAMED}).output_type == "replace"
    assert JobRequest.from_wire({"$command": "mapreduce", **NAMED}).output_type == "inline"


def test_a_basic_request_is_a_call() -> None:
    request = JobRequest.from_wire(
        {"$command": "basic", "func_text": "def f(a, b): ...", "func_name": "f", "args": [1], "kwargs": {"b": 2}}
    )
    assert request.function == FunctionSource("text", "f", "def f(a, b): ...")
    assert (request.args, request.kwargs) == ((1,), {"b": 2})


names = st.sampled_from(["a", "b.c", "é"])
sources = st.builds(
    FunctionSource, st.just("text"), names, st.text(st.characters(codec="utf-8"), min_size=1)
) | st.just(FunctionSource("module", "package.module:function"))
jobs = st.builds(
    lambda request, name, kind, types: replace(
        request,
        kind=kind,
        output_name=name if kind == "mapreduce" else None,
        output_type="inline" if kind == "mapreduce" and name is None else types[0],
        output_types={} if kind == "mapreduce" else {"x": types[1]},
    ),
    st.builds(
        JobRequest,
        kind=st.just("mapreduce"),
        map=sources,
        reduce=sources,
        finalize=st.none() | sources,
        inputs=st.lists(names, min_size=1, max_size=3).map(tuple),
        query=st.sampled_from([{}, {"type": "commit"}, {"n": {"$gt": 1}}]),
        time_from=st.none() | st.just(datetime(2026, 5, 1)),
        time_to=st.none() | st.just(datetime(2026, 6, 1)),
        reduce_count=st.none() | st.integers(1, 100),
        event_limit=st.none() | st.integers(1, 100),
        map_job_size=st.none() | st.integers(1, 100),
        executor=st.sampled_from([None, "inline", "zmr", "dask"]),
        wait=st.booleans(),
        database=st.sampled_from(["", "zarkov"]),
    ),
    st.none() | names,
    st.sampled_from(["mapreduce", "xmapreduce"]),
    st.tuples(st.sampled_from(["replace", "merge", "reduce"]), st.sampled_from(["replace", "inline"])),
)
calls = st.builds(
    JobRequest,
    kind=st.just("basic"),
    function=sources,
    args=st.lists(st.integers(0, 9), max_size=2).map(tuple),
    kwargs=st.dictionaries(names, st.integers(0, 9), max_size=2),
)


@given(jobs | calls)
def test_a_request_survives_the_wire(request: JobRequest) -> None:
    assert JobRequest.from_wire(bson.decode(bson.encode(request.to_wire()))) == request


def test_the_time_range_is_part_of_the_filter() -> None:
    request = JobRequest.from_wire({**ORIGINAL, "time_from": datetime(2026, 5, 1), "time_to": datetime(2026, 6, 1)})
    span = {"timestamp": {"$gte": datetime(2026, 5, 1), "$lt": datetime(2026, 6, 1)}}
    assert request.filter == {"$and": [{"type": "commit"}, span]}
    assert replace(request, query={}).filter == span
    assert replace(request, time_to=None, query={}).filter == {"timestamp": {"$gte": datetime(2026, 5, 1)}}


def test_output_types_of_single_collections_go_before_the_common_one() -> None:
    request = JobRequest.from_wire({"$command": "xmapreduce", **NAMED, "output_types": {"x": "reduce"}})
    assert (request.output_type_of("x"), request.output_type_of("y")) == ("reduce", "replace")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"$command": "mapreduce2"}, "$command must be one of mapreduce, xmapreduce, basic, not 'mapreduce2'"),
        ({"$command": None}, "$command must be one of"),
        ({"job_limit": 3}, "mapreduce has no field 'job_limit'"),
        ({"map_name": None, "map_text": None}, "the request lacks map_name"),
        ({"map_name": None}, "the request lacks map_name: the name of the function in map_text"),
        ({"reduce_name": 3}, "reduce_name must be a string, not 3"),
        ({"input_names": []}, "input_names has 0 names"),
        ({"input_names": ["a"] * 1_001}, "input_names has 1,001 names"),
        ({"input_names": [1]}, "input_names must be an array of strings"),
        ({"input_names": ["$x"]}, "is not a collection's name"),
        ({"query": b"\x00"}, "query is no BSON-encoded filter"),
        ({"query": 3}, "query must be a filter"),
        ({"query": {"$where": "x"}}, "$where"),
        ({"time_from": "2026-05-01"}, "time_from must be a date"),
        ({"output_type": "append"}, "output_type must be one of replace, merge, reduce, inline, not 'append'"),
        ({"output_type": "inline"}, "contradict each other"),
        ({"output_name": None}, "contradict each other"),
        ({"output_name": "event.0"}, "holds the events"),
        ({"output_types": {"x": "merge"}}, "output_types is for xmapreduce"),
        ({"output_types": {"x": "append"}}, "output_types must be a document of"),
        ({"reduce_count": 0}, "reduce_count is 0"),
        ({"reduce_count": True}, "reduce_count must be an integer"),
        ({"event_limit": -1}, "event_limit is -1"),
        ({"map_job_size": 1.5}, "map_job_size must be an integer"),
        ({"executor": "spark"}, "executor must be one of"),
        ({"$command": "xmapreduce"}, "output_name is for mapreduce"),
        ({"$command": "basic"}, "basic has no field"),
    ],
    ids=repr,
)
def test_what_is_wrong_with_a_request_is_said(change: dict[str, Any], said: str) -> None:
    with pytest.raises(JobInvalid) as caught:
        JobRequest.from_wire({**ORIGINAL, **change})
    assert said in str(caught.value)


@pytest.mark.parametrize("change", [{"args": 3}, {"kwargs": [1]}, {"func_name": None}])
def test_a_call_that_is_none_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(JobInvalid):
        JobRequest.from_wire({"$command": "basic", "func_name": "a:b", **change})
