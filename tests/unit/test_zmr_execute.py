"""The tasks of a job, one at a time."""

import gc
import sys
from collections.abc import Iterable, Iterator
from typing import Any

import bson
import pytest
from bson import ObjectId

from zarkov.batch import Summary
from zarkov.codec import CODEC_OPTIONS
from zarkov.errors import FunctionFailed, JournalCorrupt, ShuffleCorrupt
from zarkov.journal.chunk import Chunk
from zarkov.journal.format import Packer
from zarkov.position import OffsetRange
from zarkov.zmr.execute import LIMITS, Limits, run_basic, run_map, run_reduce
from zarkov.zmr.finalize import run_finalize
from zarkov.zmr.inputs import ChunkInput, DocumentsInput, Input, input_from
from zarkov.zmr.results import by_collection, results_in
from zarkov.zmr.runs import Held, runs_in
from zarkov.zmr.values import key_of, partition_of

Event = dict[str, Any]


def events(count: int) -> list[Event]:
    return [
        {"_id": ObjectId(f"{n:024d}"), "type": "commit" if n % 2 else "push", "n": n, "project": f"p{n % 3}"}
        for n in range(count)
    ]


def chunk(count: int, *, gaps: tuple[OffsetRange, ...] = (), start: int = 100, stop: int | None = None) -> ChunkInput:
    """Events of the offsets from 100 on, as a journal stores them."""
    present = [each for each in events(count) if all(100 + each["n"] not in gap for gap in gaps)]
    row = Packer(1).pack(100, count, b"".join(map(bson.encode, present)), Summary.of(present), gaps)
    return ChunkInput("j", Chunk(row.header, row.data, start, 100 + count if stop is None else stop))


def documents(count: int) -> DocumentsInput:
    return DocumentsInput(b"".join(map(bson.encode, events(count))), count)


def by_project(found: Iterator[Event]) -> Iterator[tuple[str, int]]:
    for each in found:
        yield each["project"], 1


def total(key: Any, values: list[int]) -> int:
    return sum(values)


def reduced(
    partitions: Iterable[bytes], reduce: Any = total, *, form: Any = "mapreduce", limits: Limits = LIMITS
) -> dict[Any, Any]:
    """The results of one partition, or of all together."""
    pieces: list[bytes] = []
    run_reduce([Held(data) for data in partitions], reduce, pieces.append, form=form, limits=limits)
    rows = [row for some in results_in([Held(b"".join(pieces))]) for row in some]
    found = [bson.decode(data, CODEC_OPTIONS) for _, data in rows]
    return {repr(each["_id"]) if isinstance(each["_id"], dict) else each["_id"]: each["value"] for each in found}


def test_pairs_are_combined_before_they_are_sent() -> None:
    result = run_map([chunk(30)], by_project, total, 1)
    (run,) = runs_in(Held(result.partitions[0]))
    (block,) = run.blocks()
    assert block.shown == ["p0", "p1", "p2"]
    assert block.values == [10, 10, 10]
    assert (result.counters.events_read, result.counters.events_mapped) == (30, 30)
    assert (result.counters.pairs_out, result.counters.pairs_combined) == (30, 3)
    assert result.counters.bytes_shuffled == len(result.partitions[0])


def test_each_key_is_in_its_own_partition() -> None:
    result = run_map([documents(30)], by_project, total, 7)
    for number, data in enumerate(result.partitions):
        for run in runs_in(Held(data)):
            assert all(partition_of(key, 7) == number for block in run.blocks() for key in block.keys)
    assert reduced(result.partitions) == {"p0": 10, "p1": 10, "p2": 10}


def test_a_task_run_again_gives_the_same_bytes() -> None:
    assert run_map([chunk(50)], by_project, total, 3) == run_map([chunk(50)], by_project, total, 3)


def test_only_the_offsets_that_are_meant_are_read() -> None:
    seen: list[int] = []

    def mapped(found: Iterator[Event]) -> Iterator[tuple[int, int]]:
        seen.extend(each["n"] for each in found)
        yield 0, 0

    each = chunk(30, gaps=(OffsetRange(110, 5),), start=105, stop=120)
    result = run_map([each, documents(2)], mapped, total, 1)
    assert seen == [5, 6, 7, 8, 9, 15, 16, 17, 18, 19, 0, 1]
    assert result.counters.events_read == 12


def test_an_input_travels_as_a_document() -> None:
    for each in (chunk(30, gaps=(OffsetRange(110, 5),), start=105), documents(3)):
        sent = bson.decode(bson.encode(each.to_document()))
        assert input_from(sent) == each
        assert run_map([input_from(sent)], by_project, total, 2) == run_map([each], by_project, total, 2)


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({"type": "commit"}, 15),
        ({"n": {"$lt": 4}}, 4),
        ({"project": "p1", "type": "push"}, 5),
        ({"_id": ObjectId(f"{7:024d}")}, 1),
        ({"type": "nothing of the kind"}, 0),
    ],
)
def test_only_what_matches_the_query_is_mapped(query: dict[str, Any], expected: int) -> None:
    for each in (chunk(30), documents(30)):
        result = run_map([each], by_project, total, 1, query=query)
        assert result.counters.events_mapped == expected
        assert sum(reduced(result.partitions).values()) == expected


def test_a_map_may_return_a_list_and_keep_what_it_read() -> None:
    def mapped(found: Iterator[Event]) -> list[tuple[str, int]]:
        return [(each["project"], each["n"]) for each in list(found)]

    assert reduced(run_map([chunk(4)], mapped, total, 1).partitions) == {"p0": 3, "p1": 1, "p2": 2}


def test_nothing_in_gives_nothing_out() -> None:
    result = run_map([], by_project, total, 3)
    assert result.partitions == [b"", b"", b""]
    assert reduced(result.partitions) == {}


def test_reduce_gets_values_in_the_order_of_the_input_across_spills_and_merges() -> None:
    def mapped(found: Iterator[Event]) -> Iterator[tuple[str, str]]:
        for each in found:
            yield each["project"], f"{each['n']},"

    spilled: list[bytes] = []
    tiny = Limits(memory_bytes=1)
    result = run_map(
        [chunk(300)],
        mapped,
        lambda key, values: "".join(values),
        1,
        limits=tiny,
        spill=lambda at, run: spilled.append(run),
    )
    assert result.counters.spills == len(spilled) > 100
    found = reduced([*spilled, *result.partitions], lambda key, values: "".join(values), limits=tiny)
    assert found == {f"p{k}": "".join(f"{n}," for n in range(k, 300, 3)) for k in range(3)}


def test_without_a_place_to_spill_to_the_runs_are_kept() -> None:
    result = run_map([chunk(300)], by_project, total, 2, limits=Limits(memory_bytes=1))
    assert result.counters.spills > 0
    assert reduced(result.partitions) == {"p0": 100, "p1": 100, "p2": 100}


def test_runs_beyond_the_memory_are_merged_to_where_they_are_kept() -> None:
    parts = [run_map([documents(9)], by_project, total, 1).partitions[0] for _ in range(20)]
    kept: list[Held] = []

    def keep(pieces: Iterator[bytes]) -> Held:
        kept.append(Held(b"".join(pieces)))
        return kept[-1]

    pieces: list[bytes] = []
    run_reduce([*map(Held, parts)], total, pieces.append, limits=Limits(memory_bytes=5_000), keep=keep)
    assert len(kept) > 1
    rows = [row for some in results_in([Held(b"".join(pieces))]) for row in some]
    assert [bson.decode(data) for _, data in rows] == [{"_id": f"p{n}", "value": 60} for n in range(3)]
    assert [key for key, _ in rows] == [key_of(f"p{n}") for n in range(3)]


def test_reduce_is_called_for_every_key_and_in_combiners_only_for_several_values() -> None:
    lengths: list[int] = []

    def reduce(key: str, values: list[int]) -> int:
        lengths.append(len(values))
        return sum(values)

    result = run_map([documents(4)], by_project, reduce, 1)
    assert lengths == [2]
    reduced(result.partitions, reduce)
    assert lengths == [2, 1, 1, 1]


@pytest.mark.parametrize("key", [("a", 1), ["a", 1], {"0": "a", "1": 1}, ("a", 1.0), ("a", (1, [2]))])
def test_reduce_sees_a_key_as_the_same_tuple_at_every_stage(key: Any) -> None:
    seen: list[Any] = []

    def reduce(key: Any, values: list[int]) -> int:
        seen.append(key)
        return sum(values)

    partitions = run_map([documents(2)], lambda found: ((key, 1) for _ in found), reduce, 1).partitions
    reduced([*partitions, *partitions], reduce)
    assert len(seen) == 2
    assert seen[0] == seen[1]
    assert hash(seen[0]) == hash(seen[1])


def test_a_bool_is_never_taken_for_the_number_it_equals() -> None:
    keys = [("a", 5), ("a", 1), ("a", True), ("a", 1), True, 1, {"b": 1}, {"b": True}, 1.0, False, 0]
    order = [*range(len(keys)), *reversed(range(len(keys)))] * 100

    def mapped(found: Iterator[Event]) -> Iterator[tuple[Any, int]]:
        for number in order:
            yield keys[number], 1

    found = reduced(run_map([documents(1)], mapped, total, 1).partitions)
    assert found[repr({"0": "a", "1": 1})] == 400
    assert found[repr({"0": "a", "1": True})] == 200
    assert found[repr({"b": 1})] == found[repr({"b": True})] == 200
    pieces = run_map([documents(1)], mapped, total, 1).partitions[0]
    (block,) = (block for run in runs_in(Held(pieces)) for block in run.blocks())
    counts = {
        (type(shown).__name__, repr(shown)): value for shown, value in zip(block.shown, block.values, strict=True)
    }
    assert counts["bool", "True"] == counts["bool", "False"] == 200
    assert counts["int", "1"] == 400
    assert counts["int", "0"] == 200


def test_the_collector_is_off_while_a_task_runs_and_on_again_after() -> None:
    seen: list[bool] = []

    def mapped(found: Iterator[Event]) -> Iterator[tuple[int, int]]:
        for _ in found:
            seen.append(gc.isenabled())
            yield 1, 1

    assert gc.isenabled()
    run_map([documents(600)], mapped, total, 1)
    assert set(seen) == {False}
    assert gc.isenabled()


def test_what_functions_print_is_in_the_result_up_to_a_limit(capsys: pytest.CaptureFixture[str]) -> None:
    def mapped(found: Iterator[Event]) -> Iterator[tuple[int, int]]:
        for each in found:
            print("event", each["n"])
            yield 1, 1

    result = run_map([documents(3)], mapped, total, 1)
    assert result.printed == "event 0\nevent 1\nevent 2\n"
    short = run_map([documents(3)], mapped, total, 1, limits=Limits(printed_chars=10))
    assert short.printed == "event 0\nev\n... 14 more characters were printed\n"
    assert capsys.readouterr().out == ""
    run_map([documents(3)], mapped, total, 1, limits=Limits(printed_chars=None))
    assert capsys.readouterr().out == "event 0\nevent 1\nevent 2\n"


def test_basic_gives_what_bson_makes_of_the_answer() -> None:
    def function(a: int, *, b: int) -> tuple[int, int]:
        print("hello")
        return a, b

    result = run_basic(function, [1], {"b": 2})
    assert (result.value, result.printed) == ([1, 2], "hello\n")
    with pytest.raises(FunctionFailed, match=r"the value .* cannot be kept"):
        run_basic(lambda: {1}, [], {})
    with pytest.raises(FunctionFailed, match="missing 1 required"):
        run_basic(lambda a: a, [], {})


def test_damaged_input_is_not_blamed_on_the_function() -> None:
    sound = chunk(10)
    data = bytearray(sound.chunk.stored)
    data[-1] ^= 1
    broken: Input = ChunkInput("j", Chunk(sound.chunk.header, bytes(data), 100, 110))
    with pytest.raises(JournalCorrupt, match="checksum"):
        run_map([broken], by_project, total, 1)
    part = run_map([sound], by_project, total, 1).partitions[0]
    with pytest.raises(ShuffleCorrupt):
        run_reduce([Held(part[:-1])], total, lambda piece: None)


def test_a_spill_that_fails_is_not_blamed_on_the_function() -> None:
    def full(partition: int, run: bytes) -> None:
        raise OSError("no space left")

    with pytest.raises(OSError, match="no space"):
        run_map([documents(300)], by_project, total, 1, limits=Limits(memory_bytes=1), spill=full)


def test_several_collections_are_filled_in_one_pass() -> None:
    def mapped(found: Iterator[Event]) -> Iterator[dict[str, Any]]:
        for each in found:
            yield {"c": "by_project", "k": each["project"], "v": 1}
            yield {"c": "by_type", "k": each["type"], "v": 1}

    seen: set[tuple[str, str]] = set()

    def reduce(collection: str, key: str, values: list[int]) -> int:
        seen.add((collection, key))
        return sum(values)

    result = run_map([documents(30)], mapped, reduce, 2, form="xmapreduce")
    pieces: list[bytes] = []
    run_reduce([*map(Held, result.partitions)], reduce, pieces.append, form="xmapreduce")
    found = {
        name: {each["_id"]: each["value"] for each in (bson.decode(data) for _, data in rows)}
        for name, rows in by_collection("xmapreduce", results_in([Held(b"".join(pieces))]))
    }
    assert found == {"by_project": {"p0": 10, "p1": 10, "p2": 10}, "by_type": {"commit": 15, "push": 15}}
    assert seen == {(name, key) for name, table in found.items() for key in table}


def test_finalize_changes_drops_and_adds_documents_of_each_collection() -> None:
    def mapped(found: Iterator[Event]) -> Iterator[dict[str, Any]]:
        for each in found:
            yield {"c": each["project"], "k": each["n"], "v": each["n"]}

    def largest(collection: str, found: Iterator[Event]) -> Iterator[Event]:
        for each in found:
            yield {"_id": (collection, each["_id"]), "value": each["value"] * 2}
            return

    result = run_map([documents(9)], mapped, lambda name, key, values: values[0], 3, form="xmapreduce")
    sources = []
    for data in result.partitions:
        pieces: list[bytes] = []
        run_reduce([Held(data)], lambda name, key, values: values[0], pieces.append, form="xmapreduce")
        sources.append(Held(b"".join(pieces)))
    pieces = []
    done = run_finalize(sources, largest, pieces.append, form="xmapreduce")
    rows = [*by_collection("xmapreduce", results_in([Held(b"".join(pieces))]))]
    assert [(name, [bson.decode(data) for _, data in some]) for name, some in rows] == [
        (f"p{n}", [{"_id": {"0": f"p{n}", "1": n}, "value": n * 2}]) for n in range(3)
    ]
    assert done.counters.documents_out == 3


def test_finalize_of_no_documents_is_still_called() -> None:
    pieces: list[bytes] = []
    run_finalize([], lambda found: [{"_id": "total", "value": len([*found])}], pieces.append)
    ((row,),) = results_in([Held(b"".join(pieces))])
    assert bson.decode(row[1]) == {"_id": "total", "value": 0}


def test_standard_output_is_given_back_after_a_failure() -> None:
    before = sys.stdout
    with pytest.raises(FunctionFailed):
        run_map([documents(1)], lambda found: 1 / 0, total, 1)
    assert sys.stdout is before
    assert gc.isenabled()
