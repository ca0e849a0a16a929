"""Sorted runs as bytes."""

from itertools import chain
from typing import Any

import pytest

from zarkov.codec import encode
from zarkov.errors import EventRefused, ShuffleCorrupt
from zarkov.zmr import runs
from zarkov.zmr.runs import BLOCK_BYTES, BLOCK_ROWS, Columns, Held, RunWriter, compressor, runs_in
from zarkov.zmr.values import key_of


def pairs(values: list[Any]) -> Columns:
    keys = [key_of(number) for number in range(len(values))]
    return Columns(keys, list(range(len(values))), values)


def run_of(columns: Columns, compress: int = 0) -> bytes:
    writer = RunWriter("p", compressor(compress))
    return b"".join([writer.begin(), *writer.blocks(columns), writer.end()])


def rows_in(data: bytes) -> list[Columns]:
    return [block for run in runs_in(Held(data)) for block in run.blocks()]


@pytest.mark.parametrize("compress", [0, 1, 9])
def test_what_was_written_is_read(compress: int) -> None:
    columns = pairs([{"n": number, "text": "a" * 50} for number in range(5_000)])
    blocks = rows_in(run_of(columns, compress))
    assert Columns(*[[*chain(*column)] for column in zip(*blocks, strict=True)]) == columns


def test_a_run_of_documents_gives_back_the_bytes() -> None:
    writer = RunWriter("d")
    data = b"".join([writer.begin(), *writer.blocks(Columns([b"a", b"b"], [], [b"one", b"two"])), writer.end()])
    assert rows_in(data) == [Columns([b"a", b"b"], [], [b"one", b"two"])]


def test_compressed_runs_are_smaller() -> None:
    columns = pairs(["a" * 100] * 1_000)
    assert len(run_of(columns, 1)) < len(run_of(columns)) / 5


def test_runs_lie_one_after_another() -> None:
    first, second = run_of(pairs(["a"])), run_of(pairs(["b", "c"]), 1)
    found = runs_in(Held(first + second))
    assert [block.values for run in found for block in run.blocks()] == [["a"], ["b", "c"]]
    assert runs_in(Held(b"")) == []


@pytest.mark.parametrize("value", ["a" * 10, "a" * 1_000, "a" * 30_000, "a" * 300_000])
def test_blocks_are_neither_large_nor_many(value: str) -> None:
    columns = pairs([value] * 300)
    (run,) = runs_in(Held(run_of(columns)))
    blocks = list(run.blocks())
    assert run.largest <= max(2 * BLOCK_BYTES, len(value) + 200)
    assert len(blocks) <= 1 + 4 * 300 * len(value) // BLOCK_BYTES
    assert max(len(block.keys) for block in blocks) <= BLOCK_ROWS


def test_a_run_whose_values_grow_stays_in_bounds() -> None:
    (run,) = runs_in(Held(run_of(pairs(["a" * 20] * 2_000 + ["a" * 20_000] * 50 + ["a"] * 2_000))))
    assert run.largest <= 2 * BLOCK_BYTES
    assert [len(block.values) for block in run.blocks()][-1] > 100


def test_damage_is_noticed_wherever_it_is() -> None:
    sound = run_of(pairs(["a" * 30, "b" * 30])) + run_of(pairs(["c"]), 1)
    for at in range(len(sound)):
        damaged = bytearray(sound)
        damaged[at] ^= 0x10
        with pytest.raises(ShuffleCorrupt):
            rows_in(bytes(damaged))


def test_a_run_that_was_cut_is_noticed() -> None:
    sound = run_of(pairs(["a", "b"]))
    for size in range(1, len(sound)):
        with pytest.raises(ShuffleCorrupt):
            rows_in(sound[:size])


def test_a_value_that_bson_cannot_hold_is_refused() -> None:
    with pytest.raises(EventRefused, match="set"):
        run_of(pairs([1, {2}]))


def test_rows_are_not_encoded_over_and_over_where_small_ones_stand_between_large_ones(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    encoded: list[int] = []

    def counting(document: dict[str, Any]) -> bytes:
        data = encode(document)
        encoded.append(len(data))
        return data

    monkeypatch.setattr(runs, "encode", counting)
    data = run_of(pairs((["a"] * 8 + ["x" * 50_000] * 8) * 20))
    assert sum(encoded) < 4 * len(data)
