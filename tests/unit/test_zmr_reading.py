"""A job's input, page by page: which events, in which order, in how many tasks."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from journaling import event, fill, small
from zarkov.codec import decode
from zarkov.errors import JournalError
from zarkov.journal import JournalWriter
from zarkov.journal.journals import Journals
from zarkov.store.sqlite import SqliteStore
from zarkov.zmr.kept import KeptSource, by_partition, keep_pieces
from zarkov.zmr.reading import JobInput, PageLimits
from zarkov.zmr.request import JobRequest
from zarkov.zmr.shipping import FunctionSource
from zarkov.zmr.spill import Spill

ROOMY = PageLimits(page_bytes=1 << 30, task_bytes=1 << 30, task_events=100)


@contextmanager
def opened(folder: Path) -> Iterator[tuple[Journals, SqliteStore]]:
    with Journals.open([folder / "journal"], on_corrupt="raise") as journals:
        with SqliteStore(journals, folder / "documents.sqlite") as store:
            yield journals, store


def request(**more: Any) -> JobRequest:
    source = FunctionSource("module", "os:getpid")
    return JobRequest("mapreduce", map=source, reduce=source, **more)


def numbers_of(inputs: Any) -> list[int]:
    found = [decode(data) for each in inputs for _, data in each.numbered()]
    return [document["context"]["number"] if "context" in document else document["_id"] for document in found]


def pages_of(source: JobInput, count: int = 3) -> list[list[list[int]]]:
    """Each page as its tasks, each of them as the numbers of its events."""
    pages = []
    while True:
        tasks, is_last = source.read(count)
        pages.append([numbers_of(inputs) for inputs in tasks])
        if is_last:
            return pages
        assert tasks


def test_every_event_is_in_one_task_and_tasks_come_in_order(tmp_path: Path) -> None:
    fill(tmp_path / "journal", 1_000, each=50, settings=small(chunk_events_max=50))
    with opened(tmp_path) as (journals, store):
        source = JobInput(request(), journals, store, ROOMY)
        assert source.count() == 1_000
        pages = pages_of(source, 3)
    assert [len(page) for page in pages] == [3, 3, 3, 1]
    assert all(len(task) == 100 for page in pages for task in page)
    assert [number for page in pages for task in page for number in task] == list(range(1_000))


def test_a_page_ends_when_it_has_its_bytes_and_a_task_too(tmp_path: Path) -> None:
    fill(tmp_path / "journal", 400, each=10, settings=small(chunk_events_max=10, compress_level=0))
    with opened(tmp_path) as (journals, store):
        chunk_bytes = len(next(iter(journals.journals[0].chunks(0))).stored)
        limits = PageLimits(page_bytes=6 * chunk_bytes, task_bytes=2 * chunk_bytes, task_events=1_000)
        pages = pages_of(JobInput(request(), journals, store, limits), 100)
    assert {len(task) for page in pages for task in page} == {20}
    assert [len(page) for page in pages] == [3] * 6 + [2]
    assert [number for page in pages for task in page for number in task] == list(range(400))


def test_a_job_reads_the_log_as_it_was_even_when_it_is_taken_up_again(tmp_path: Path) -> None:
    fill(tmp_path / "journal", 100)
    with opened(tmp_path) as (journals, store):
        first = JobInput(request(), journals, store, ROOMY)
    with JournalWriter.open(tmp_path / "journal", small()) as writer:
        writer.rotate()
    fill(tmp_path / "journal", 100)
    with JournalWriter.open(tmp_path / "journal", small()) as writer:
        writer.rotate()
    with opened(tmp_path) as (journals, store):
        again = JobInput(request(), journals, store, ROOMY, first.parts())
        assert again.position == first.position
        assert pages_of(again) == [[list(range(100))]]
        with pytest.raises(JournalError, match="not there any more"):
            JobInput(request(), journals, store, ROOMY, [{"journal": "f" * 16, "start": 0, "stop": 1}])


def test_generations_and_collections_are_read_in_the_order_of_the_request(tmp_path: Path) -> None:
    fill(tmp_path / "journal", 10)
    with JournalWriter.open(tmp_path / "journal", small()) as writer:
        writer.rotate()
    fill(tmp_path / "journal", 5)
    with opened(tmp_path) as (journals, store):
        store.collection("more").insert_many({"_id": number} for number in range(100, 103))
        names = ("event", "more", "event.0", "nothing", "event.7")
        found = pages_of(JobInput(request(inputs=names), journals, store, ROOMY), 1)
    tasks = [task for page in found for task in page]
    assert tasks == [list(range(10, 15)), [100, 101, 102], list(range(10))]


def test_chunks_that_hold_nothing_wanted_are_not_read(tmp_path: Path) -> None:
    fill(tmp_path / "journal", 1_000, each=100)
    span = {"time_from": event(250)["timestamp"], "time_to": event(310)["timestamp"]}
    with opened(tmp_path) as (journals, store):
        source = JobInput(request(**span), journals, store, ROOMY)
        assert source.count() == 200
        assert pages_of(source) == [[list(range(200, 300)), list(range(300, 400))]]


def test_the_filter_of_a_collection_is_the_stores(tmp_path: Path) -> None:
    fill(tmp_path / "journal", 1)
    with opened(tmp_path) as (journals, store):
        store.collection("some").insert_many({"_id": number, "odd": number % 2} for number in range(10))
        source = JobInput(request(inputs=("some",), query={"odd": 1}), journals, store, ROOMY)
        assert pages_of(source) == [[[1, 3, 5, 7, 9]]]


@pytest.mark.parametrize("limit", [1, 99, 100, 150, 1_000_000])
def test_no_more_events_are_read_than_the_limit_says(tmp_path: Path, limit: int) -> None:
    fill(tmp_path / "journal", 200, each=40)
    limits = PageLimits(page_bytes=1 << 30, task_bytes=1 << 30, task_events=30, events=limit)
    with opened(tmp_path) as (journals, store):
        store.collection("more").insert_many({"_id": number} for number in range(200, 210))
        source = JobInput(request(inputs=("event", "more")), journals, store, limits)
        assert source.count() == min(210, limit)
        found = [number for page in pages_of(source, 2) for task in page for number in task]
    assert found == list(range(min(210, limit)))


def test_an_empty_log_is_one_empty_page(tmp_path: Path) -> None:
    fill(tmp_path / "journal", 0)
    with opened(tmp_path) as (journals, store):
        assert pages_of(JobInput(request(), journals, store, ROOMY)) == [[]]


@pytest.mark.parametrize("memory", [0, 10, 1_000])
def test_pieces_of_a_partition_read_as_one_source_wherever_they_lie(tmp_path: Path, memory: int) -> None:
    with Spill(tmp_path, memory_bytes_max=memory) as spill:
        first = keep_pieces(spill, "j", [(2, b"abc"), (0, b"x"), (2, b"def")])
        second = keep_pieces(spill, "j", [(2, b"ghi"), (1, b"")])
        found = by_partition([(first, second), (keep_pieces(spill, "j", [(0, b"yz")]),)])
        assert list(found) == [0, 1, 2]
        source = KeptSource(spill, found[2])
        assert (source.size, source.read_at(0, 100)) == (9, b"abcdefghi")
        for start in range(10):
            for size in range(10 - start):
                assert source.read_at(start, size) == b"abcdefghi"[start : start + size]
        assert KeptSource(spill, found[0]).read_at(0, 9) == b"xyz"
        assert KeptSource(spill, []).read_at(0, 9) == b""
