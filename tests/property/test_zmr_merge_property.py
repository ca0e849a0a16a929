"""The merge of sorted runs against a dict, with blocks of a few rows."""

from itertools import chain, groupby

from hypothesis import given
from hypothesis import strategies as st

from zarkov.zmr.merge import merged, neighbours, reckoned, windows
from zarkov.zmr.runs import Columns, Held, Run, RunWriter, runs_in
from zarkov.zmr.values import key_of

#: A run: its blocks, each of some numbers; all of them ascending.
runs_of_numbers = st.lists(
    st.lists(st.integers(0, 60), unique=True, max_size=15)
    .map(sorted)
    .flatmap(
        lambda numbers: st.lists(st.integers(0, 4), min_size=len(numbers), max_size=len(numbers)).map(
            lambda cuts: [[number for number, _ in rows] for _, rows in groupby_cut(numbers, cuts)]
        )
    ),
    max_size=6,
)


def groupby_cut(numbers: list[int], cuts: list[int]) -> list[tuple[int, list[tuple[int, int]]]]:
    """The numbers in pieces; a new one begins after each cut of 0."""
    pieces, piece = [], 0
    for number, cut in zip(numbers, cuts, strict=True):
        pieces.append((piece, (number, cut)))
        piece += cut == 0
    return [(at, [row for _, row in rows]) for at, rows in groupby(pieces, key=lambda row: row[0])]


def run_of(kind: str, number: int, blocks: list[list[int]]) -> Run:
    writer = RunWriter("p" if kind == "p" else "d")
    pieces = [writer.begin()]
    for block in blocks:
        keys = [key_of(each) for each in block]
        pieces += writer.blocks(
            Columns(keys, block, [(number, each) for each in block])
            if kind == "p"
            else Columns(keys, [], [b"%d %d" % (number, each) for each in block])
        )
    (run,) = runs_in(Held(b"".join([*pieces, writer.end()])))
    return run


@given(runs_of_numbers)
def test_every_value_is_in_one_window_in_the_order_of_the_runs(numbers: list[list[list[int]]]) -> None:
    expected: dict[bytes, list[list[int]]] = {}
    for at, blocks in enumerate(numbers):
        for each in chain(*blocks):
            expected.setdefault(key_of(each), []).append([at, each])
    found: dict[bytes, list[list[int]]] = {}
    last = b""
    for window in windows([run_of("p", at, blocks) for at, blocks in enumerate(numbers)]):
        assert window.groups, "a window makes progress"
        assert window.groups.keys() == window.shown.keys()
        assert all(key > last for key in window.groups)
        assert all(key_of(shown) == key for key, shown in window.shown.items())
        last = max(window.groups)
        found |= window.groups
    assert found == expected


@given(runs_of_numbers)
def test_a_window_holds_at_most_one_block_of_each_run(numbers: list[list[list[int]]]) -> None:
    block_of = {
        (at, each): which for at, blocks in enumerate(numbers) for which, block in enumerate(blocks) for each in block
    }
    for window in windows([run_of("p", at, blocks) for at, blocks in enumerate(numbers)]):
        taken = {(at, block_of[at, each]) for values in window.groups.values() for at, each in values}
        assert len(taken) == len({at for at, _ in taken})


@given(st.lists(st.integers(0, 60), unique=True, max_size=40), st.integers(1, 5))
def test_documents_of_all_partitions_come_in_the_order_of_their_keys(numbers: list[int], count: int) -> None:
    parts = [sorted(numbers[at::count]) for at in range(count)]
    runs = [run_of("d", at, [[number] for number in part]) for at, part in enumerate(parts)]
    rows = [row for some in merged(runs) for row in some]
    assert [key for key, _ in rows] == [key_of(number) for number in sorted(numbers)]
    assert sorted(data.split()[1] for _, data in rows) == sorted(b"%d" % number for number in numbers)


@given(st.lists(st.integers(1, 100), max_size=30), st.integers(1, 400))
def test_groups_of_neighbours_fit_the_memory_and_get_fewer(sizes: list[int], memory: int) -> None:
    runs = [Run(Held(b""), "p", 0, 0, size) for size in sizes]
    groups = neighbours(runs, memory)
    assert [run for group in groups for run in group] == runs
    assert all(len(group) >= 2 for group in groups[:-1])
    assert all(sum(map(reckoned, group)) <= memory for group in groups if len(group) > 2)
