"""Tasks keep to their memory, whatever goes through them."""

import tracemalloc
from collections.abc import Callable, Iterator
from typing import Any

import bson
import pytest

from zarkov.errors import OutputInvalid
from zarkov.zmr.execute import Limits, run_map, run_reduce
from zarkov.zmr.finalize import run_finalize
from zarkov.zmr.forms import COLLECTIONS_MAX, ManyCollections
from zarkov.zmr.inputs import DocumentsInput
from zarkov.zmr.runs import Columns, Held, RunWriter
from zarkov.zmr.values import key_of

MIB = 1024 * 1024
ONE = DocumentsInput(bson.encode({"_id": 1}), 1)


def peak(call: Callable[[], Any]) -> int:
    tracemalloc.start()
    try:
        call()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def first(key: Any, values: list[Any]) -> Any:
    return values[0]


@pytest.mark.parametrize(
    ("pairs", "what"),
    [
        (lambda: ((number, number) for number in range(60_000)), "many keys"),
        (lambda: ((("a", number), {"text": "x" * 1_000}) for number in range(20_000)), "values of one size"),
        (lambda: ((number % 7, "x" * 5_000 * (number % 3)) for number in range(20_000)), "few keys"),
        (
            lambda: ((number, "x" * (50_000 if number % 1_000 > 700 else 1)) for number in range(3_000)),
            "values that grow",
        ),
        (lambda: ((float("nan"), [1] * 50) for _ in range(40_000)), "one key of many names"),
        (lambda: (({"n": number}, True) for number in range(40_000)), "documents as keys"),
    ],
    ids=lambda case: case if isinstance(case, str) else "",
)
def test_a_combiner_spills_before_it_outgrows_its_budget(pairs: Callable[[], Iterator[Any]], what: str) -> None:
    limits = Limits(memory_bytes=8 * MIB)
    spilled: list[int] = []

    def spill(partition: int, run: bytes) -> None:
        spilled.append(len(run))

    def run() -> None:
        run_map([ONE], lambda events: pairs(), first, 2, limits=limits, spill=spill)

    assert peak(run) < 32 * MIB  # with what is being encoded, and a batch of large values on top
    assert spilled or what in ("few keys", "one key of many names")


def runs_of(count: int, rows: int) -> list[Held]:
    """Runs of `rows` keys each, all different, over the whole range."""
    found = []
    for number in range(count):
        columns = sorted((key_of(n), n) for n in range(number, rows * count, count))
        writer = RunWriter("p")
        keys, shown = [key for key, _ in columns], [n for _, n in columns]
        blocks = writer.blocks(Columns(keys, shown, ["x" * 50] * rows))
        found.append(Held(b"".join([writer.begin(), *blocks, writer.end()])))
    return found


def test_a_reduce_of_many_keys_holds_a_block_of_each_run() -> None:
    sources = runs_of(30, 3_000)
    kept: list[int] = []

    def keep(pieces: Iterator[bytes]) -> Held:
        data = b"".join(pieces)
        kept.append(len(data))
        return Held(data)

    size = sum(source.size for source in sources)
    assert size > 7 * MIB
    pieces: list[int] = []
    counted: list[int] = []

    def run() -> None:
        result = run_reduce(
            sources, first, lambda piece: pieces.append(len(piece)), limits=Limits(memory_bytes=64 * MIB)
        )
        counted.append(result.counters.keys_out)

    assert peak(run) < 20 * MIB
    assert counted == [90_000]
    assert max(pieces) < MIB
    assert kept == []
    run_reduce(sources, first, pieces.append, limits=Limits(memory_bytes=4 * MIB), keep=keep)  # type: ignore[arg-type]
    assert len(kept) > 1


def test_finalize_reads_its_documents_as_it_goes() -> None:
    pieces: list[bytes] = []
    run_reduce(runs_of(10, 4_000), first, pieces.append)
    result = Held(b"".join(pieces))
    assert result.size > 2 * MIB

    def counted(documents: Iterator[dict[str, Any]]) -> Iterator[dict[str, Any]]:
        yield {"_id": "total", "value": sum(1 for _ in documents)}

    assert peak(lambda: run_finalize([result], counted, lambda piece: None)) < 2 * MIB


def test_a_map_may_not_fill_collections_without_end() -> None:
    form = ManyCollections()
    for number in range(COLLECTIONS_MAX):
        form.row_key((f"c{number}", 1))
    form.row_key(("c0", 2))
    with pytest.raises(OutputInvalid, match="collections"):
        form.row_key(("one more", 1))
