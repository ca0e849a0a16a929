"""What is said when a function of a job fails."""

import re
from collections.abc import Iterator
from typing import Any

import bson
import pytest
from bson import ObjectId
from hypothesis import given
from hypothesis import strategies as st

from zarkov.batch import Summary
from zarkov.errors import FunctionFailed, OutputInvalid
from zarkov.journal.chunk import Chunk
from zarkov.journal.format import Packer
from zarkov.position import OffsetRange
from zarkov.zmr.execute import Limits, run_map, run_reduce
from zarkov.zmr.failure import TRACEBACK_CHARS_MAX, first_failing, from_document, to_document, user_traceback
from zarkov.zmr.finalize import run_finalize
from zarkov.zmr.inputs import ChunkInput, DocumentsInput
from zarkov.zmr.runs import Held

Event = dict[str, Any]


def documents(count: int, first: int = 0) -> DocumentsInput:
    found = [{"_id": ObjectId(f"{n:024d}"), "n": n} for n in range(first, first + count)]
    return DocumentsInput(b"".join(map(bson.encode, found)), count)


def total(key: Any, values: list[int]) -> int:
    return sum(values)


def failure(mapped: Any, count: int = 2_000, reduce: Any = total, **options: Any) -> FunctionFailed:
    with pytest.raises(FunctionFailed) as caught:
        run_map([documents(count)], mapped, reduce, 2, **options)
    return caught.value


@pytest.mark.parametrize("poisoned", [0, 1, 511, 512, 1_234, 1_999])
def test_a_poisoned_event_is_named(poisoned: int) -> None:
    def mapped(events: Iterator[Event]) -> Iterator[tuple[int, int]]:
        for each in events:
            yield each["n"] % 7, 1 // (each["n"] - poisoned)

    failed = failure(mapped)
    assert failed.stage == "map"
    assert failed.event is not None
    assert failed.event["event"] == {"_id": ObjectId(f"{poisoned:024d}"), "n": poisoned}
    assert (failed.event["offset"], failed.event["alone"]) == (poisoned, True)
    assert str(failed).startswith("map raised ZeroDivisionError: ")
    assert f"(_id ObjectId('{poisoned:024d}'))" in str(failed)
    assert isinstance(failed.__cause__, ZeroDivisionError)


def test_a_poisoned_event_is_found_behind_one_that_reads_ahead() -> None:
    def mapped(events: Iterator[Event]) -> Iterator[tuple[int, int]]:
        ahead = [*events]
        for each in ahead:
            yield 1, 1 // (each["n"] - 77)

    failed = failure(mapped)
    assert failed.event is not None
    assert (failed.event["offset"], failed.event["alone"]) == (77, True)


def test_a_poisoned_event_has_the_offset_that_it_has_in_its_journal() -> None:
    events = [
        {"_id": ObjectId(f"{n:024d}"), "type": "ab"[n % 2], "timestamp": n} for n in range(100) if n not in (3, 4)
    ]
    row = Packer(1).pack(1_000, 100, b"".join(map(bson.encode, events)), Summary.of(events), [OffsetRange(1_003, 2)])
    each = ChunkInput("journal-1", Chunk(row.header, row.data, 1_001, 1_100))

    def mapped(found: Iterator[Event]) -> Iterator[tuple[int, int]]:
        for each in found:
            yield 1, 1 // (each["timestamp"] - 51)

    with pytest.raises(FunctionFailed, match="offset 1,051 of journal journal-1") as caught:
        run_map([documents(0), each], mapped, total, 1, query={"type": "b"})
    assert caught.value.event is not None
    assert (caught.value.event["journal"], caught.value.event["offset"]) == ("journal-1", 1_051)
    assert caught.value.event["event"]["timestamp"] == 51


def test_an_event_that_fails_only_after_others_is_named_so() -> None:
    def mapped(events: Iterator[Event]) -> Iterator[tuple[int, int]]:
        seen = set()
        for each in events:
            seen.add(each["n"])
            if {10, 300} <= seen:
                raise KeyError("both")
            yield 1, 1

    failed = failure(mapped)
    assert failed.event is not None
    assert (failed.event["offset"], failed.event["alone"]) == (300, False)
    assert "after the events before it" in str(failed)


@pytest.mark.parametrize("value", [{1, 2}, 2**64, "\ud800", object()])
def test_an_event_whose_value_cannot_be_kept_is_named_with_its_key(value: Any) -> None:
    def mapped(events: Iterator[Event]) -> Iterator[tuple[str, Any]]:
        for each in events:
            yield f"key {each['n']}", value if each["n"] == 1_500 else 1

    failed = failure(mapped)
    assert failed.event is not None
    assert failed.event["offset"] == 1_500
    assert "'key 1500'" in str(failed)
    assert isinstance(failed.__cause__, OutputInvalid)


@pytest.mark.parametrize(
    ("item", "said"),
    [
        (3, "map yielded 3, which is no"),
        ("ab", "map yielded 'ab', which is no"),
        ((1, 2, 3), r"map yielded \(1, 2, 3\), which is no"),
        ((), r"map yielded \(\), which is no"),
        (({1}, 2), r"the key \{1\} cannot be kept"),
    ],
)
def test_an_event_for_which_no_pair_is_yielded_is_named(item: Any, said: str) -> None:
    def mapped(events: Iterator[Event]) -> Iterator[Any]:
        for each in events:
            yield item if each["n"] == 3 else (1, 1)

    failed = failure(mapped)
    assert re.search(said, str(failed))
    assert failed.event is not None
    assert failed.event["offset"] == 3


@pytest.mark.parametrize(
    ("item", "said"),
    [
        (("k", 1), "which is no {'c'"),
        ({"c": "x", "k": 1}, "which is no {'c'"),
        ({"c": "x", "v": 1}, "which is no {'c'"),
        ({"c": 1, "k": 1, "v": 1}, "map yielded 1 as a collection's name"),
        ({"c": ["x"], "k": 1, "v": 1}, "as a collection's name"),
        ({"c": "", "k": 1, "v": 1}, "cannot be written"),
        ({"c": "event.0", "k": 1, "v": 1}, "cannot be written"),
        ({"c": "a\x00b", "k": 1, "v": 1}, "cannot be written"),
    ],
    ids=repr,
)
def test_an_item_of_several_collections_that_is_none_is_refused(item: Any, said: str) -> None:
    failed = failure(lambda events: [item for _ in events], form="xmapreduce")
    assert said in str(failed)


@pytest.mark.parametrize("given", [None, 3])
def test_a_map_that_yields_nothing_at_all_is_told_so(given: Any) -> None:
    failed = failure(lambda events: given)
    assert str(failed) == f"map gave {given} instead of yielding"
    assert failed.event is None


def test_a_map_that_fails_without_an_event_blames_none() -> None:
    def mapped(events: Iterator[Event]) -> Iterator[tuple[int, int]]:
        for _ in events:
            pass
        raise RuntimeError("at the end")

    assert failure(mapped).event is None


def test_a_map_that_does_not_fail_again_blames_none() -> None:
    calls: list[int] = []

    def mapped(events: Iterator[Event]) -> Iterator[tuple[int, int]]:
        calls.append(1)
        for _ in events:
            if len(calls) == 1:
                raise RuntimeError("once")
            yield 1, 1

    failed = failure(mapped)
    assert failed.event is None
    assert "map raised RuntimeError: once" in str(failed)


def test_nothing_is_looked_for_among_more_events_than_the_limit() -> None:
    def mapped(events: Iterator[Event]) -> Iterator[tuple[int, int]]:
        for each in events:
            yield 1, 1 // (each["n"] - 50)

    assert failure(mapped, limits=Limits(blame_events=50)).event is None
    assert failure(mapped, limits=Limits(blame_events=51)).event is not None


def test_looking_for_the_event_prints_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    def mapped(events: Iterator[Event]) -> Iterator[tuple[int, int]]:
        for each in events:
            print(each["n"])
            yield 1, 1 // (each["n"] - 2)

    assert failure(mapped).printed == "0\n1\n2\n"
    assert capsys.readouterr().out == ""


def test_exit_fails_the_job_and_not_the_worker() -> None:
    failed = failure(lambda events: exit(3))
    assert "map raised SystemExit: 3" in str(failed)


def test_a_reduce_that_fails_in_the_combiner_names_key_and_event() -> None:
    def reduce(key: int, values: list[int]) -> int:
        if key == 3:
            raise ValueError("no threes\nand more")
        return sum(values)

    failed = failure(lambda events: ((each["n"] % 5, 1) for each in events), reduce=reduce)
    assert failed.stage == "reduce"
    assert str(failed).startswith("reduce raised ValueError: no threes (key 3), after")
    assert failed.event is not None
    assert failed.event["offset"] == 8  # the second of its key


def test_a_reduce_that_fails_names_its_key_and_collection() -> None:
    part = run_map([documents(1)], lambda events: [("a", 1)], total, 1).partitions[0]
    with pytest.raises(FunctionFailed, match=r"reduce raised ZeroDivisionError: .* \(key 'a'\)") as caught:
        run_reduce([Held(part)], lambda key, values: 1 // 0, lambda piece: None)
    assert "1 // 0" in caught.value.traceback
    part = run_map(
        [documents(1)], lambda events: [{"c": "x", "k": 1, "v": 1}], total, 1, form="xmapreduce"
    ).partitions[0]
    with pytest.raises(FunctionFailed, match=r"\(key 1 of x\)"):
        run_reduce([Held(part)], lambda name, key, values: 1 // 0, lambda piece: None, form="xmapreduce")


@pytest.mark.parametrize(("value", "said"), [({1}, "the key 'a' cannot be kept"), ("x" * 17_000_000, "larger than")])
def test_a_result_that_cannot_be_stored_names_its_key(value: Any, said: str) -> None:
    part = run_map([documents(1)], lambda events: [("a", 1), ("b", 1)], total, 1).partitions[0]
    with pytest.raises(FunctionFailed, match=said):
        run_reduce([Held(part)], lambda key, values: value if key == "a" else 1, lambda piece: None)


@pytest.mark.parametrize(
    ("finalize", "said"),
    [
        (lambda found: 1 / 0, "finalize raised ZeroDivisionError"),
        (lambda found: None, "finalize gave None instead of yielding"),
        (lambda found: [{"value": 1}], "which is no document with an _id"),
        (lambda found: [3], "which is no document with an _id"),
        (lambda found: [{"_id": {1}}], "cannot be kept"),
        (lambda found: [{"_id": 1, "value": {1}}], "cannot be kept"),
        (lambda found: [{**each, "more": each["nothing"]} for each in found], "finalize raised KeyError: 'nothing'"),
    ],
)
def test_a_finalize_that_fails_says_how(finalize: Any, said: str) -> None:
    part = run_map([documents(1)], lambda events: [("a", 1)], total, 1).partitions[0]
    pieces: list[bytes] = []
    run_reduce([Held(part)], total, pieces.append)
    with pytest.raises(FunctionFailed, match=said) as caught:
        run_finalize([Held(b"".join(pieces))], finalize, lambda piece: None)
    assert caught.value.stage == "finalize"


def _deep(number: int) -> int:
    return 1 // number if number == 0 else _deep(number - 1)


def test_a_traceback_shows_the_functions_frames_and_no_others() -> None:
    def mapped(events: Iterator[Event]) -> Iterator[tuple[int, int]]:
        for _ in events:
            try:
                yield 1, _deep(1)
            except ZeroDivisionError as error:
                raise RuntimeError("wrapped") from error

    text = failure(mapped).traceback
    assert "zmr/" not in text
    assert "src" not in text
    assert text.startswith("Traceback (most recent call last):")
    assert "raise RuntimeError" in text
    assert "1 // number" in text
    assert text.endswith("RuntimeError: wrapped\n")


def test_a_long_traceback_keeps_both_ends() -> None:
    try:
        raise RuntimeError("x" * 100_000 + "end")
    except RuntimeError as error:
        text = user_traceback(error)
    assert len(text) < TRACEBACK_CHARS_MAX + 100
    assert text.startswith("Traceback")
    assert text.endswith("end\n")


def test_a_failure_travels_as_a_document() -> None:
    def mapped(events: Iterator[Event]) -> Iterator[tuple[int, int]]:
        print("before")
        for each in events:
            yield 1, 1 // each["n"]

    failed = failure(mapped)
    found = from_document(bson.decode(bson.encode(to_document(failed))))
    assert to_document(found) == to_document(failed)
    assert found.to_dict() == failed.to_dict()
    assert found.printed == "before\n"


def test_a_large_poisoned_event_is_named_and_not_sent() -> None:
    each = DocumentsInput(bson.encode({"_id": 1, "text": "x" * 100_000}), 1)
    with pytest.raises(FunctionFailed) as caught:
        run_map([each], lambda events: [1 / 0 for _ in events], total, 1)
    assert caught.value.event is not None
    assert (caught.value.event["_id"], caught.value.event["event"]) == (1, None)


@given(st.integers(1, 3_000), st.data())
def test_the_first_of_any_number_is_found_in_few_calls(count: int, data: st.DataObject) -> None:
    culprit = data.draw(st.integers(0, count - 1))
    needs = data.draw(st.integers(0, culprit))
    calls: list[tuple[int, int]] = []

    def fails(start: int, stop: int) -> bool:
        calls.append((start, stop))
        return start <= needs and stop > culprit

    found = first_failing(fails, count)
    # One that needs others but is the last to be read may be found from them alone.
    assert found == (culprit, needs == culprit)
    assert len(calls) <= count.bit_length() + 5
