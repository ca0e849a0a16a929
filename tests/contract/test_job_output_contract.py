"""What a job's results become, on every store: zarkov.zmr.output."""

from collections.abc import Callable, Iterable
from typing import Any

import pytest

from stores import Open
from zarkov.errors import DocumentExists, FunctionFailed, OutputInvalid, ShuffleCorrupt
from zarkov.store.contract import Store
from zarkov.zmr.forms import form_of, row_prefix
from zarkov.zmr.output import JobOutput
from zarkov.zmr.request import JobRequest
from zarkov.zmr.rereduce import run_rereduce
from zarkov.zmr.results import ResultWriter
from zarkov.zmr.runs import Held
from zarkov.zmr.values import key_of

Pairs = Iterable[tuple[Any, Any]]


@pytest.fixture
def store(open_store: Open) -> Store:
    return open_store()


def add(key: Any, values: list[int]) -> int:
    return sum(values)


def add_in(collection: str, key: Any, values: list[int]) -> int:
    return sum(values)


def request(output_type: str, name: str | None = "out", **more: Any) -> JobRequest:
    kind = {"$command": "mapreduce"} if name else {"$command": "xmapreduce"}
    named = {"output_name": name} if name and output_type != "inline" else {}
    functions = {"map_name": "builtins:map", "reduce_name": "builtins:sum"}
    return JobRequest.from_wire({**kind, **named, **functions, "output_type": output_type, **more})


def results(pairs: Pairs, collection: str = "", *, given: bool = False) -> Held:
    """One run, as a reduce gives it; with `given` in the order given, as finalize does."""
    prefix = row_prefix(collection) if collection else b""
    rows = [(prefix + key_of(key), key, value) for key, value in pairs]
    if not given:
        rows.sort(key=lambda row: row[0])
    pieces: list[bytes] = []
    writer = ResultWriter(pieces.append)
    writer.add([key for key, _, _ in rows], [key for _, key, _ in rows], [value for *_, value in rows])
    writer.end()
    return Held(b"".join(pieces))


def rereduced(output: JobOutput, sources: list[Held], reduce: Callable[..., Any], form: Any = "mapreduce") -> Held:
    stored = Held(b"".join(output.stored(sources)))
    pieces: list[bytes] = []
    run_rereduce([stored, *sources], reduce, pieces.append, form=form)
    return Held(b"".join(pieces))


def content(store: Store, name: str = "out") -> dict[Any, Any]:
    def shown(key: Any) -> Any:
        return tuple(key.values()) if isinstance(key, dict) else key

    return {shown(each["_id"]): each["value"] for each in store.collection(name).find()}


def test_replace_stores_the_results_of_all_partitions_and_nothing_else(store: Store) -> None:
    store.collection("out").insert_one({"_id": "old", "value": 0})
    output = JobOutput(store, "job", request("replace"))
    assert not output.is_committed()
    assert not output.reduces
    assert output.commit([results([("a", 1), (("x", 1), 2)]), results([(3, 3)]), results([])]) == 3
    assert content(store) == {"a": 1, ("x", 1): 2, 3: 3}
    assert output.is_committed()
    store.collection("out").delete_one({"_id": "a"})
    assert JobOutput(store, "job", request("replace")).commit([results([("a", 1)])]) == 1
    assert "a" not in content(store)


def test_no_results_replace_what_was_there_and_merge_nothing(store: Store) -> None:
    store.collection("out").insert_one({"_id": "old", "value": 0})
    assert JobOutput(store, "job 1", request("merge")).commit([]) == 0
    assert content(store) == {"old": 0}
    assert JobOutput(store, "job 2", request("replace")).commit([results([])]) == 0
    assert content(store) == {}


def test_merge_writes_over_the_same_keys_alone(store: Store) -> None:
    JobOutput(store, "job 1", request("merge")).commit([results([("a", 1), ("b", 1)])])
    JobOutput(store, "job 2", request("merge")).commit([results([("b", 2), ("c", 2)])])
    assert content(store) == {"a": 1, "b": 2, "c": 2}


def test_reduce_gives_out_what_is_stored_under_exactly_these_keys_and_writes_the_reduced_values(store: Store) -> None:
    store.collection("out").insert_many({"_id": f"k{n}", "value": 100 + n} for n in range(5))
    store.collection("out").insert_one({"_id": {"0": "x", "1": 1.0}, "value": 100})
    output = JobOutput(store, "job", request("reduce"))
    assert output.reduces
    sources = [results([("k1", 1), ("new", 5)]), results([("k3", 1), (("x", 1), 7)])]
    calls: list[tuple[Any, list[int]]] = []

    def spying(key: Any, values: list[int]) -> int:
        calls.append((key, list(values)))
        return sum(values)

    reduced = rereduced(output, sources, spying)
    assert sorted(calls, key=str) == [("k1", [101, 1]), ("k3", [103, 1]), (("x", 1.0), [100, 7])]
    assert output.commit([reduced]) == 4
    wanted = {"k0": 100, "k1": 102, "k2": 102, "k3": 104, "k4": 104, "new": 5, ("x", 1): 107}
    assert content(store) == wanted

    again = JobOutput(store, "job", request("reduce"))  # the router was killed before it noted the end of the job
    assert again.is_committed()
    reduced = rereduced(again, sources, spying)
    assert len(calls) == 3
    again.commit([reduced])
    assert content(store) == wanted


def test_results_are_not_committed_without_what_is_stored(store: Store) -> None:
    with pytest.raises(RuntimeError, match="reduced with what is stored"):
        JobOutput(store, "job", request("reduce")).commit([results([("a", 1)])])


def test_a_stored_document_that_map_reduce_did_not_write_is_named(store: Store) -> None:
    store.collection("out").insert_one({"_id": "a", "n": 1})
    with pytest.raises(FunctionFailed, match="'a' in the output collection has no `value`"):
        rereduced(JobOutput(store, "job", request("reduce")), [results([("a", 1)])], add)


def test_a_reduce_that_fails_on_what_is_stored_names_the_key(store: Store) -> None:
    store.collection("out").insert_one({"_id": "a", "value": "text"})
    with pytest.raises(FunctionFailed, match="'a'"):
        rereduced(JobOutput(store, "job", request("reduce")), [results([("a", 1)])], add)


def test_several_collections_are_each_written_in_their_own_way_and_once(store: Store) -> None:
    for name in ("sums", "seen", "latest", "untouched"):
        store.collection(name).insert_many([{"_id": "a", "value": 100}, {"_id": "z", "value": 100}])
    types = {"seen": "merge", "latest": "replace", "gone": "inline", "untouched": "replace"}
    job = request("reduce", None, output_types=types)
    sources = [results([("a", 1), ("b", 2)], name) for name in ("gone", "latest", "seen", "sums")]
    for _ in range(2):
        output = JobOutput(store, "job", job)
        assert not output.is_committed()
        got = output.commit([rereduced(output, sources, add_in, "xmapreduce")])
        assert got == {
            "gone": [{"_id": "a", "value": 1}, {"_id": "b", "value": 2}],
            "latest": 2,
            "seen": 2,
            "sums": 2,
            "untouched": 0,
        }
        assert content(store, "sums") == {"a": 101, "b": 2, "z": 100}
        assert content(store, "seen") == {"a": 1, "b": 2, "z": 100}
        assert content(store, "latest") == {"a": 1, "b": 2}
        assert content(store, "untouched") == content(store, "gone") == {}


def test_a_job_killed_between_two_of_its_collections_writes_the_others_when_it_is_run_again(store: Store) -> None:
    for name in ("a", "b"):
        store.collection(name).insert_one({"_id": "k", "value": 100})
    job, sources = request("reduce", None), [results([("k", 1)], "a"), results([("k", 1)], "b")]
    store.merge("a", [{"_id": "k", "value": 101}], commit="job")
    output = JobOutput(store, "job", job)
    output.commit([rereduced(output, sources, add_in, "xmapreduce")])
    assert content(store, "a") == content(store, "b") == {"k": 101}


def test_what_finalize_gave_is_stored_in_whatever_order_it_came(store: Store) -> None:
    job = request("replace", finalize_name="builtins:sorted")
    many = [(number * 7919 % 3001, number) for number in range(3001)]
    assert JobOutput(store, "job", job).commit([results(many, given=True)]) == 3001
    assert content(store) == dict(many)
    with pytest.raises(DocumentExists, match="same `_id`"):
        JobOutput(store, "job 2", job).commit([results([("a", 1), ("b", 2), ("a", 3)], given=True)])
    assert content(store) == dict(many)


def test_inline_results_are_returned_in_order_up_to_a_limit(store: Store) -> None:
    job = request("inline")
    output = JobOutput(store, "job", job, inline_bytes_max=2_000)
    assert not output.is_committed()
    assert output.commit([results([("b", 2)]), results([(("a", 1), [1]), (1, None)])]) == [
        {"_id": 1, "value": None},
        {"_id": "b", "value": 2},
        {"_id": {"0": "a", "1": 1}, "value": [1]},
    ]
    assert output.commit([]) == []
    with pytest.raises(OutputInvalid, match="more than 2,000 bytes"):
        output.commit([results((number, "x" * 100) for number in range(20))])
    assert store.collection_names() == ["event"]


def test_results_that_are_damaged_change_nothing(store: Store) -> None:
    store.collection("out").insert_one({"_id": "old", "value": 0})
    whole = results([(number, "x" * 50) for number in range(5000)])
    damaged = Held(whole.data[:-200] + b"\xff" * 50 + whole.data[-150:])
    with pytest.raises(ShuffleCorrupt):
        JobOutput(store, "job", request("replace")).commit([damaged])
    assert content(store) == {"old": 0}
    assert JobOutput(store, "job", request("replace")).commit([whole]) == 5000
    assert store.collection("out").count_documents({}) == 5000


def test_collections_that_do_not_lie_together_are_noticed(store: Store) -> None:
    pieces: list[bytes] = []
    writer = ResultWriter(pieces.append)
    for name in ("a", "b", "a"):
        writer.add([row_prefix(name) + key_of(len(pieces))], [len(pieces)], [1])
    writer.end()
    job = request("merge", None, finalize_name="builtins:sorted")
    with pytest.raises(ShuffleCorrupt, match="lie together"):
        JobOutput(store, "job", job).commit([Held(b"".join(pieces))])
    assert form_of("xmapreduce").row_key(("a", 1)) == row_prefix("a") + key_of(1)
