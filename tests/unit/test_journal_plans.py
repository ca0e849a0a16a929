"""The journal's pure choices: what goes into a chunk, what is merged, what retention removes, what is skipped."""

from pathlib import Path

import bson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from journaling import entry
from zarkov.batch import Entry
from zarkov.journal.format import CODEC_GONE, Packer, pack_gone
from zarkov.journal.merging import plan_merge
from zarkov.journal.packing import plan_runs
from zarkov.journal.retention import Kept, removable
from zarkov.journal.selection import Selection


def test_neighbouring_entries_share_a_chunk_up_to_the_limit():
    runs = plan_runs([entry(range(4)), entry(range(4, 8)), entry(range(8, 12))], 8, 10**6)
    assert [run.count for run in runs] == [8, 4]
    assert b"".join(run.data for run in runs) == entry(range(12)).data


def test_an_entry_beyond_the_limit_is_cut_and_its_rest_shares_the_next_chunk():
    runs = plan_runs([entry(range(10)), entry(range(10, 12))], 4, 10**6)
    assert [run.count for run in runs] == [4, 4, 4]
    assert b"".join(run.data for run in runs) == entry(range(12)).data


def test_a_single_event_beyond_the_bytes_has_a_chunk_of_its_own():
    runs = plan_runs([entry(range(3))], 100, 10)
    assert [run.count for run in runs] == [1, 1, 1]


def test_entries_without_events_make_no_chunk():
    assert plan_runs([entry([]), Entry(b"", 0, None)], 10, 10**6) == []


@settings(deadline=None)
@given(st.lists(st.integers(0, 30), max_size=8), st.integers(1, 20), st.integers(100, 3000))
def test_planned_chunks_hold_all_events_in_order_within_the_limits(sizes, events_max, bytes_max):
    entries, first = [], 0
    for size in sizes:
        entries.append(entry(range(first, first + size)))
        first += size
    runs = plan_runs(entries, events_max, bytes_max)
    numbers = [[doc["context"]["number"] for doc in bson.decode_all(run.data)] for run in runs]
    assert [n for each in numbers for n in each] == list(range(first))
    assert all(len(each) == run.count <= events_max for each, run in zip(numbers, runs, strict=True))
    assert all(len(run.data) <= bytes_max or run.count == 1 for run in runs)


def headers(*counts, gone=()):
    made, first = [], 0
    for index, count in enumerate(counts):
        part = entry(range(first, first + count))
        row = Packer(1).pack(first, count, part.data, part.summary)
        if index in gone:
            row = pack_gone(first, count, part.summary)
        made.append(row.header)
        first += count
    return made


def merged_counts(*counts, events_max=100, bytes_max=10**6, fan_in=2, gone=()):
    run = plan_merge(headers(*counts, gone=gone), events_max=events_max, bytes_max=bytes_max, fan_in=fan_in)
    return None if run is None else [header.count for header in run]


def test_small_neighbours_are_merged_up_to_the_limit():
    assert merged_counts(40, 40, 40) == [40, 40]
    assert merged_counts(*[1] * 8) == [1] * 8


def test_a_merge_that_would_not_double_its_largest_chunk_waits():
    assert merged_counts(50, 10, 5) is None
    assert merged_counts(50, 10, 5, 5) == [10, 5, 5]


def test_too_few_chunks_for_the_fan_in_wait():
    assert merged_counts(1, 1, 1, fan_in=4) is None


def test_a_lost_chunk_is_never_merged():
    assert merged_counts(5, 5, 5, gone=(1,)) is None
    assert headers(5, gone=(0,))[0].codec == CODEC_GONE


def test_chunks_around_a_hole_are_not_merged():
    found = headers(5, 5, 5)
    assert plan_merge([found[0], found[2]], events_max=100, bytes_max=10**6, fan_in=2) is None


@settings(deadline=None, max_examples=30)
@given(st.integers(2, 400))
def test_trickling_events_are_rewritten_a_logarithmic_number_of_times(events):
    counts, rewritten = [], 0
    for _ in range(events):
        counts.append(1)
        while (run := merged_counts(*counts, events_max=1000)) is not None:
            at = next(i for i in range(len(counts)) if counts[i : i + len(run)] == run)
            counts[at : at + len(run)] = [sum(run)]
            rewritten += sum(run)
    assert rewritten <= events * events.bit_length()
    assert len(counts) <= events.bit_length() + 1


def kept(*stops, bytes_each=10, ended_ms=0):
    firsts = [0, *stops]
    return [Kept(Path(f"{a}"), a, b, ended_ms, bytes_each) for a, b in zip(firsts, stops, strict=False)]


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ({}, []),
        ({"drop_before": 200}, [100, 200]),
        ({"drop_before": 250}, [100, 200]),
        ({"drop_before": 300, "readers_at": 150}, [100]),
        ({"drop_before": 300, "readers_at": 99}, []),
        ({"age_ms": 1000, "now_ms": 1000}, [100, 200, 300]),
        ({"age_ms": 1000, "now_ms": 999}, []),
        ({"age_ms": 1000, "now_ms": -5000}, []),
        ({"bytes_max": 20}, [100]),
        ({"bytes_max": 1}, [100, 200, 300]),
        ({"bytes_max": 1, "readers_at": 200}, [100, 200]),
        ({"bytes_max": 30}, []),
    ],
)
def test_retention_removes_the_oldest_segments_behind_every_reader(rule, expected):
    given_rule = {"drop_before": 0, "readers_at": None, "age_ms": 0, "bytes_max": 0, "now_ms": 0, **rule}
    assert [each.stop_offset for each in removable(kept(100, 200, 300), **given_rule)] == expected


def test_retention_stops_at_a_segment_whose_age_is_unknown():
    segments = kept(100, 200, ended_ms=None)
    found = removable(segments, drop_before=0, readers_at=None, age_ms=1, bytes_max=0, now_ms=10**9)
    assert found == []


@pytest.mark.parametrize(
    ("bounds", "expected"),
    [
        ({}, True),
        ({"ts_from_ms": 1714521600000 + 9_000}, True),
        ({"ts_from_ms": 1714521600000 + 9_001}, False),
        ({"ts_to_ms": 1714521600000 + 5_000}, True),
        ({"ts_to_ms": 1714521600000 + 4_999}, False),
        ({"types": frozenset({"tick", "tock"})}, True),
        ({"types": frozenset({"tock"})}, False),
        ({"id_from": (9).to_bytes(12, "big")}, True),
        ({"id_from": (10).to_bytes(12, "big")}, False),
        ({"id_to": (5).to_bytes(12, "big")}, True),
        ({"id_to": (4).to_bytes(12, "big")}, False),
    ],
)
def test_a_chunk_is_skipped_only_when_its_bounds_exclude_it(bounds, expected):
    part = entry(range(5, 10))
    header = Packer(1).pack(5, 5, part.data, part.summary).header
    assert Selection(**bounds).may_match(header) is expected
