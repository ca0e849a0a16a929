"""How the combiner tells keys apart, batch after batch."""

import math
from typing import Any

import pytest

from zarkov.zmr.forms import form_of
from zarkov.zmr.runs import Held, runs_in
from zarkov.zmr.shuffle import KNOWN_MAX, Combiner


def combined(*batches: list[Any]) -> dict[str, Any]:
    """What becomes of the keys of some batches, each with a 1: the key as shown, its type told, and how many."""
    combiner = Combiner(form_of("mapreduce"), lambda key, counts: sum(counts), 1, memory_bytes=10**9)
    for batch in batches:
        combiner.add([(key, 1) for key in batch])
    (data,) = combiner.finish()
    blocks = [block for run in runs_in(Held(data)) for block in run.blocks()]
    return {repr(shown): count for block in blocks for shown, count in zip(block.shown, block.values, strict=True)}


@pytest.mark.parametrize(
    "batches",
    [
        ([1, True],),
        ([True, 1],),
        ([1], [True]),
        ([True], [1]),
        ([5, 1], [5, True], []),
        ([1.0], [True, 1.0], []),
    ],
    ids=repr,
)
def test_a_bool_beside_the_number_it_equals_is_another_key(batches: tuple[list[Any], ...]) -> None:
    found = combined(*batches)
    assert found["True"] == 1
    assert sum(found.values()) == sum(map(len, batches))
    assert combined(*[[("a", key) for key in batch] for batch in batches])["['a', True]"] == 1
    # The same with False, which equals 0.
    turned = [[not key if isinstance(key, bool) else key - 1 for key in batch] for batch in batches]
    found = combined(*turned)
    assert found["False"] == 1
    assert sum(found.values()) == sum(map(len, batches))


@pytest.mark.parametrize(
    ("batches", "shown"),
    [
        (([2.0, 2],), "2.0"),
        (([2, 2.0],), "2"),
        (([2.0], [2]), "2.0"),
        (([{"a": 2}, {"a": 2.0}],), "{'a': 2}"),
        (([{"a": 2.0}], [{"a": 2}]), "{'a': 2.0}"),
        (([(2.0, "a"), (2, "a"), {"0": 2, "1": "a"}],), "[2.0, 'a']"),
        (([(), {}],), "{}"),
        (([()],), "{}"),
    ],
    ids=repr,
)
def test_of_keys_that_are_one_the_first_is_shown(batches: tuple[list[Any], ...], shown: str) -> None:
    assert combined(*batches) == {shown: sum(map(len, batches))}


def test_a_key_with_many_names_is_not_remembered_by_each() -> None:
    combiner = Combiner(form_of("mapreduce"), lambda key, counts: sum(counts), 1, memory_bytes=10**9)
    for _ in range(3 * KNOWN_MAX // 100):
        combiner.add([(math.nan * number, 1) for number in range(100)])
        assert len(combiner._keys._by_value) <= KNOWN_MAX + 100
    (run,) = runs_in(Held(combiner.finish()[0]))
    assert [block.values for block in run.blocks()] == [[3 * KNOWN_MAX]]


def test_batches_get_smaller_as_values_get_larger() -> None:
    combiner = Combiner(form_of("mapreduce"), lambda key, values: values[0], 1, memory_bytes=1_000_000)
    first = combiner.batch
    for _ in range(5):
        combiner.add([(number, 1) for number in range(combiner.batch)])
    assert combiner.batch > first
    combiner.add([(number, "x" * 20_000) for number in range(10)])
    assert combiner.batch <= 3
