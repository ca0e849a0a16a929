"""The input of a job in pieces."""

import pytest

from zarkov.batch import Summary
from zarkov.journal.format import ChunkHeader, Packer, pack_gone
from zarkov.journal.selection import Selection
from zarkov.position import OffsetRange
from zarkov.zmr.split import PAGE_BYTES_MAX, Split, pages, partition_count_for, plan_splits


def header(first: int, count: int, gaps: list[OffsetRange] | None = None, kind: str = "a") -> ChunkHeader:
    summary = Summary(first, first + count, bytes(12), bytes(12), frozenset({kind}))
    return Packer(0).pack(first, count, b"", summary, gaps or []).header


def ranges(*splits: Split) -> list[tuple[int, int, int]]:
    return [(split.start, split.stop, split.count) for split in splits]


def test_small_neighbours_share_a_split() -> None:
    headers = [header(0, 40), header(40, 40), header(80, 40), header(120, 10)]
    assert ranges(*plan_splits(headers, OffsetRange(0, 130), 100, journal="j")) == [(0, 80, 80), (80, 130, 50)]


def test_a_large_chunk_is_cut_into_equal_splits() -> None:
    assert ranges(*plan_splits([header(0, 250)], OffsetRange(0, 250), 100, journal="j")) == [
        (0, 83, 83),
        (83, 166, 83),
        (166, 250, 84),
    ]


def test_only_the_span_is_read() -> None:
    headers = [header(0, 100), header(100, 100), header(200, 100)]
    assert ranges(*plan_splits(headers, OffsetRange(90, 120), 50, journal="j")) == [
        (90, 100, 10),
        (100, 150, 50),
        (150, 200, 50),
        (200, 210, 10),
    ]


def test_gaps_count_as_nothing() -> None:
    headers = [header(0, 100, [OffsetRange(10, 80)]), pack_gone(100, 50, Summary(0, 0, b"", b"", None)).header]
    assert ranges(*plan_splits(headers, OffsetRange(0, 150), 10, journal="j")) == [(0, 90, 10), (90, 100, 10)]


def test_chunks_that_hold_nothing_wanted_are_passed_over() -> None:
    headers = [header(0, 10), header(10, 10, kind="b"), header(20, 10), header(30, 10, kind="b")]
    selection = Selection(types=frozenset({"a"}))
    found = [*plan_splits(headers, OffsetRange(0, 40), 100, journal="j", selection=selection)]
    assert ranges(*found) == [(0, 30, 20)]


@pytest.mark.parametrize(("limit", "expected"), [(5, [(0, 85, 5)]), (100, [(0, 100, 20), (100, 180, 80)])])
def test_no_more_events_than_the_limit_are_planned(limit: int, expected: list[tuple[int, int, int]]) -> None:
    headers = [header(0, 100, [OffsetRange(0, 80)]), header(100, 100), header(200, 100)]
    found = [*plan_splits(headers, OffsetRange(0, 300), 80, journal="j", event_limit=limit)]
    assert ranges(*found) == expected


def test_an_empty_journal_has_no_splits() -> None:
    assert [*plan_splits([], OffsetRange(0, 0), 100, journal="j")] == []


def test_headers_are_read_as_splits_are_taken() -> None:
    taken: list[int] = []

    def headers() -> "object":
        for first in range(0, 1_000, 10):
            taken.append(first)
            yield header(first, 10)

    splits = plan_splits(headers(), OffsetRange(0, 1_000), 20, journal="j")  # type: ignore[arg-type]
    assert next(splits) == Split("j", 0, 20, 20)
    assert len(taken) <= 3


def test_pages_are_bounded_by_documents_and_by_bytes() -> None:
    documents = [bytes(100)] * 25
    assert [page.count for page in pages(documents, 10)] == [10, 10, 5]
    large = [bytes(PAGE_BYTES_MAX // 2 + 1)] * 3
    assert [page.count for page in pages(large, 10)] == [1, 1, 1]
    assert [*pages([], 10)] == []


@pytest.mark.parametrize(
    ("events", "workers", "most", "expected"),
    [(0, 8, 256, 1), (20_000, 8, 256, 1), (1_000_000, 2, 256, 2), (20_000_000, 2, 256, 40), (10**9, 2, 256, 256)],
)
def test_partitions_grow_with_the_input(events: int, workers: int, most: int, expected: int) -> None:
    assert partition_count_for(events, workers, most) == expected
