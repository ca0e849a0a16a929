"""Map-reduce against a fold over a plain dict, under the rules for equal keys that zmr.values states."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from fractions import Fraction
from typing import Any

import bson
from bson import Decimal128, Int64, MinKey, ObjectId, Regex, Timestamp
from hypothesis import event, given
from hypothesis import strategies as st

from zarkov.codec import CODEC_OPTIONS
from zarkov.zmr.execute import Limits, run_map, run_reduce
from zarkov.zmr.finalize import run_finalize
from zarkov.zmr.inputs import DocumentsInput
from zarkov.zmr.results import by_collection, results_in
from zarkov.zmr.runs import Held

EPOCH = datetime(1970, 1, 1)
NAMES = ["a", "b", "0", "1", "_id", ""]

NOON = datetime(2026, 5, 1, 12)
dates = st.datetimes(datetime(1900, 1, 1), datetime(2100, 1, 1)) | st.sampled_from(
    [NOON, NOON.replace(microsecond=999), datetime(2026, 5, 1, 14, tzinfo=timezone(timedelta(hours=2)))]
)
# Many of them are one key in several types, or two keys that Python takes for equal.
numbers = st.sampled_from([0, 1, -0.0, 1.0, Int64(1), True, False, 2, 2.0, 2**53, 2**53 + 1, float(2**53), 0.1]) | (
    st.integers(-(2**63), 2**63 - 1) | st.floats()
)
texts = st.sampled_from(["", "a", "b", "é", "a\x00b"]) | st.text(st.characters(codec="utf-8"), max_size=4)
scalars = st.one_of(
    st.none(),
    numbers,
    texts,
    dates,
    st.sampled_from([b"", b"a", ObjectId("0" * 24), ObjectId("1" * 24)]),
)
parts = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=2),
        st.lists(inner, max_size=2).map(tuple),
        st.dictionaries(st.sampled_from(NAMES), inner, max_size=2),
    ),
    max_leaves=3,
)
flat = scalars | st.lists(scalars, max_size=2).map(tuple)
#: Keys of one kind, as most functions yield them, or of all kinds together.
keys_of_a_job = st.sampled_from([numbers, texts, dates, flat, flat | parts])
values = st.recursive(
    scalars | st.sampled_from([Regex("a", 2), Decimal128("1.50"), Timestamp(1, 2), MinKey()]),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.lists(inner, max_size=2).map(tuple),
        st.dictionaries(st.sampled_from(NAMES), inner, max_size=3),
    ),
    max_leaves=5,
)


@dataclass(frozen=True)
class Shape:
    """How a job is cut up."""

    splits: list[int]
    partition_count: int
    map_memory: int
    reduce_memory: int
    compress: int


shapes = st.builds(
    Shape,
    st.lists(st.integers(0, 30), min_size=1, max_size=5),
    st.integers(1, 5),
    st.sampled_from([1, 2_000, 20_000, 10**9]),
    st.sampled_from([1, 5_000, 10**9]),
    st.sampled_from([0, 1]),
)


def canonical(key: Any, depth: int = 0) -> Any:
    """What is equal, in Python, exactly for keys that are one."""
    if key is None or isinstance(key, str | bytes | ObjectId):
        return type(key).__name__, key
    if isinstance(key, bool):
        return "bool", key
    if isinstance(key, int | float):
        return "number", "NaN" if key != key else Fraction(key) if abs(key) != float("inf") else key
    if isinstance(key, datetime):
        moment = key if key.tzinfo is None else key.astimezone(UTC).replace(tzinfo=None)
        return "date", (moment - EPOCH) // timedelta(milliseconds=1)
    if isinstance(key, dict):
        return "document", tuple((name, canonical(part, depth + 1)) for name, part in key.items())
    if depth == 0:
        return canonical({str(at): part for at, part in enumerate(key)})
    return "array", tuple(canonical(part, depth + 1) for part in key)


def as_bson(value: Any) -> bytes:
    return bson.encode({"": value})


def together(key: Any, lists: list[list[Any]]) -> list[Any]:
    """A reduce that is associative and not commutative: what is lost, doubled or out of order shows."""
    return [item for each in lists for item in each]


def folded(pairs: list[tuple[Any, Any]]) -> dict[Any, bytes]:
    table: dict[Any, list[Any]] = {}
    for key, value in pairs:
        table.setdefault(canonical(key), []).append(value)
    return {key: as_bson(found) for key, found in table.items()}


def inputs_of(count: int, splits: list[int]) -> Iterator[DocumentsInput]:
    """Events `{n: number}`, in splits of these sizes, over and over, until there are `count`."""
    start, turn = 0, 0
    while start < count:
        stop = min(count, start + max(splits[turn % len(splits)], turn // len(splits)))
        yield DocumentsInput(b"".join(bson.encode({"n": number}) for number in range(start, stop)), stop - start)
        start, turn = stop, turn + 1


def outcome(map_function: Any, reduce_function: Any, count: int, shape: Shape, form: Any) -> list[Held]:
    """The results of a job, a run for each partition, by way of all that a job can go through."""
    partitions: list[list[bytes]] = [[] for _ in range(shape.partition_count)]
    spills = 0
    for number, each in enumerate(inputs_of(count, shape.splits)):
        spilled = number % 2 == 0
        result = run_map(
            [each],
            map_function,
            reduce_function,
            shape.partition_count,
            form=form,
            limits=Limits(memory_bytes=shape.map_memory, compress=shape.compress),
            spill=(lambda partition, run: partitions[partition].append(run)) if spilled else None,
        )
        spills += result.counters.spills
        for runs, data in zip(partitions, result.partitions, strict=True):
            runs.append(data)
    event(f"spills: {min(spills, 3)}")
    found = []
    for runs in partitions:
        pieces: list[bytes] = []
        limits = Limits(memory_bytes=shape.reduce_memory, compress=shape.compress)
        run_reduce([Held(run) for run in runs], reduce_function, pieces.append, form=form, limits=limits)
        found.append(Held(b"".join(pieces)))
    return found


def decoded(rows: list[tuple[bytes, bytes]]) -> list[dict[str, Any]]:
    return [bson.decode(data, CODEC_OPTIONS) for _, data in rows]


@given(keys_of_a_job.flatmap(lambda keys: st.lists(st.tuples(keys, values), max_size=60)), shapes)
def test_the_result_is_that_of_a_fold_over_a_plain_dict(pairs: list[tuple[Any, Any]], shape: Shape) -> None:
    def mapped(events: Iterator[dict[str, Any]]) -> Iterator[tuple[Any, list[Any]]]:
        for each in events:
            key, value = pairs[each["n"]]
            yield key, [value]

    sources = outcome(mapped, together, len(pairs), shape, "mapreduce")
    rows = [row for some in results_in(sources) for row in some]
    assert [key for key, _ in rows] == sorted({key for key, _ in rows})
    documents = decoded(rows)
    assert {canonical(each["_id"]): as_bson(each["value"]) for each in documents} == folded(pairs)
    first = {canonical(key): key for key, _ in reversed(pairs)}
    assert all(same_type(each["_id"], first[canonical(each["_id"])]) for each in documents)


def same_type(stored: Any, key: Any) -> bool:
    """Of keys that are one the first is stored: a float stays a float, whatever comes later."""
    return not isinstance(key, int | float) or isinstance(stored, float) == isinstance(key, float)


names = st.sampled_from(["x", "y", "é.z"])


@given(keys_of_a_job.flatmap(lambda keys: st.lists(st.tuples(names, keys, values), max_size=40)), shapes)
def test_several_collections_in_one_pass_are_those_of_one_fold_each(
    items: list[tuple[str, Any, Any]], shape: Shape
) -> None:
    def mapped(events: Iterator[dict[str, Any]]) -> Iterator[dict[str, Any]]:
        for each in events:
            name, key, value = items[each["n"]]
            yield {"c": name, "k": key, "v": [value]}

    def reduced(collection: str, key: Any, lists: list[list[Any]]) -> list[Any]:
        assert collection in ("x", "y", "é.z")
        return together(key, lists)

    sources = outcome(mapped, reduced, len(items), shape, "xmapreduce")
    found: dict[str, dict[Any, bytes]] = {}
    for name, rows in by_collection("xmapreduce", results_in(sources)):
        table = found.setdefault(name, {})
        for each in decoded(rows):
            assert canonical(each["_id"]) not in table
            table[canonical(each["_id"])] = as_bson(each["value"])
    assert found == {name: folded([(k, v) for n, k, v in items if n == name]) for name in {n for n, _, _ in items}}


@given(st.lists(st.integers(-5, 5), max_size=40), shapes)
def test_finalize_sees_every_document_once_in_order_whatever_the_partitions(numbers: list[int], shape: Shape) -> None:
    def mapped(events: Iterator[dict[str, Any]]) -> Iterator[tuple[int, int]]:
        return ((numbers[each["n"]], 1) for each in events)

    def best(documents: Iterator[dict[str, Any]]) -> Iterator[dict[str, Any]]:
        for rank, each in enumerate(documents):
            yield {"_id": (rank, each["_id"]), "value": each["value"], "more": True}

    sources = outcome(mapped, lambda key, counts: sum(counts), len(numbers), shape, "mapreduce")
    pieces: list[bytes] = []
    run_finalize(sources, best, pieces.append)
    (*rows,) = (row for some in results_in([Held(b"".join(pieces))]) for row in some)
    assert decoded(rows) == [
        {"_id": {"0": rank, "1": number}, "value": numbers.count(number), "more": True}
        for rank, number in enumerate(sorted(set(numbers)))
    ]
