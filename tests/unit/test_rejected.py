"""The bounded store of rejected events."""

import multiprocessing
import os
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import apsw
import pytest

from zarkov.batch import Rejection
from zarkov.config import JournalSettings
from zarkov.errors import JournalError, JournalVersion
from zarkov.journal.rejected import RejectedStats, RejectedStore


def rejection(number: int, size: int = 10) -> Rejection:
    return Rejection(1_000 + number, "bson", "type_missing", f"reason {number}", bytes([number % 256]) * size)


def settings(count_max: int = 100, bytes_max: int = 1_000_000) -> JournalSettings:
    return replace(JournalSettings(), rejected_count_max=count_max, rejected_bytes_max=bytes_max)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "rejected.sqlite"


@pytest.fixture
def store(path: Path) -> Iterator[RejectedStore]:
    with RejectedStore.open(path, settings()) as opened:
        yield opened


def reasons(store: RejectedStore) -> list[str]:
    return [kept.rejection.reason for kept in store.list(1_000)]


def test_rejections_are_kept_with_all_that_is_known_of_them_in_order(store: RejectedStore) -> None:
    given = [rejection(n) for n in range(5)]
    store.add(given)
    assert [kept.rejection for kept in store.list(10)] == given
    assert store.stats() == RejectedStats(5, 50, 0)


def test_they_are_listed_in_pages(store: RejectedStore) -> None:
    store.add([rejection(n) for n in range(5)])
    first = store.list(2)
    assert [kept.rejection.reason for kept in first] == ["reason 0", "reason 1"]
    assert [kept.rejection.reason for kept in store.list(2, after=first[-1].id)] == ["reason 2", "reason 3"]


def test_one_is_found_by_its_id_and_gone_after_it_was_deleted(store: RejectedStore) -> None:
    store.add([rejection(n) for n in range(3)])
    second = store.list(10)[1]
    assert store.get(second.id) == second
    assert store.delete([second.id, 999]) == 1
    assert store.get(second.id) is None
    assert reasons(store) == ["reason 0", "reason 2"]
    assert store.stats() == RejectedStats(2, 20, 0)


def test_the_oldest_leave_beyond_the_count_and_are_counted(path: Path) -> None:
    with RejectedStore.open(path, settings(count_max=10)) as store:
        for start in range(0, 30, 3):
            store.add([rejection(n) for n in range(start, start + 3)])
        assert reasons(store) == [f"reason {n}" for n in range(20, 30)]
        assert store.stats() == RejectedStats(10, 100, 20)


def test_the_oldest_leave_beyond_the_bytes_and_are_counted(path: Path) -> None:
    with RejectedStore.open(path, settings(bytes_max=100)) as store:
        store.add([rejection(n, 30) for n in range(3)])
        store.add([rejection(3, 40)])
        assert reasons(store) == ["reason 1", "reason 2", "reason 3"]
        assert store.stats() == RejectedStats(3, 100, 1)


def test_a_commit_larger_than_the_bound_keeps_its_newest(path: Path) -> None:
    with RejectedStore.open(path, settings(count_max=3)) as store:
        store.add([rejection(n) for n in range(10)])
        assert reasons(store) == ["reason 7", "reason 8", "reason 9"]
        assert store.stats().dropped_count == 7


def test_one_that_is_larger_than_the_bound_is_dropped_and_counted(path: Path) -> None:
    with RejectedStore.open(path, settings(bytes_max=100)) as store:
        store.add([rejection(0), rejection(1, 101)])
        assert store.stats() == RejectedStats(0, 0, 2)


def test_a_bound_of_nothing_keeps_nothing(path: Path) -> None:
    with RejectedStore.open(path, settings(count_max=0)) as store:
        store.add([rejection(0)])
        assert store.stats() == RejectedStats(0, 0, 1)


def test_a_lower_bound_is_kept_from_the_next_commit_on(path: Path) -> None:
    with RejectedStore.open(path, settings()) as store:
        store.add([rejection(n) for n in range(50)])
    with RejectedStore.open(path, settings(count_max=5)) as store:
        store.add([rejection(50)])
        assert reasons(store) == [f"reason {n}" for n in range(46, 51)]


def test_the_file_does_not_grow_while_the_oldest_leave(path: Path) -> None:
    with RejectedStore.open(path, settings(bytes_max=200_000)) as store:
        sizes = []
        for start in range(0, 600, 20):
            store.add([rejection(n, 5_000) for n in range(start, start + 20)])
            sizes.append(sum(part.stat().st_size for part in path.parent.iterdir()))
        assert max(sizes[10:]) < 10_000_000
        pages = apsw.Connection(str(path)).pragma("page_count")
        assert pages * 4096 < 500_000


def test_purge_deletes_all_and_gives_the_space_back(path: Path) -> None:
    with RejectedStore.open(path, settings()) as store:
        store.add([rejection(n, 5_000) for n in range(100)])
        assert store.purge() == 100
        assert store.stats() == RejectedStats(0, 0, 0)
        assert apsw.Connection(str(path)).pragma("freelist_count") == 0


def test_ids_are_not_used_twice_even_after_a_purge(store: RejectedStore) -> None:
    store.add([rejection(0)])
    before = store.list(1)[0].id
    store.purge()
    store.add([rejection(1)])
    assert store.list(1)[0].id > before


def test_it_is_read_while_another_connection_writes(path: Path, store: RejectedStore) -> None:
    store.add([rejection(0)])
    with RejectedStore.open_readonly(path) as reader:
        assert reasons(reader) == ["reason 0"]
        store.add([rejection(1)])
        assert reasons(reader) == ["reason 0", "reason 1"]
        assert reader.stats().count == 2


def test_a_reader_cannot_write(path: Path, store: RejectedStore) -> None:
    with RejectedStore.open_readonly(path) as reader, pytest.raises(JournalError):
        reader.purge()


def test_reading_where_nothing_was_ever_rejected_says_so(path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        RejectedStore.open_readonly(path)


def test_another_format_is_refused(path: Path, store: RejectedStore) -> None:
    store.close()
    with apsw.Connection(str(path)) as connection:
        connection.execute("PRAGMA user_version = 99")
    with pytest.raises(JournalVersion):
        RejectedStore.open(path, settings())
    with pytest.raises(JournalVersion):
        RejectedStore.open_readonly(path)


@pytest.mark.parametrize("at", [0, 4_096 + 100])
def test_a_damaged_file_is_set_aside_and_a_new_one_begun(path: Path, at: int) -> None:
    with RejectedStore.open(path, settings()) as store:
        store.add([rejection(n, 2_000) for n in range(50)])
    with path.open("r+b") as file:
        file.seek(at)
        file.write(b"\xff" * 2_000)
    with RejectedStore.open(path, settings()) as store:
        assert store.stats().count == 0
        store.add([rejection(1)])
        assert reasons(store) == ["reason 1"]
    assert path.with_name("rejected.sqlite.damaged-1").exists()


def add_for_ever(path: Path, told: "multiprocessing.connection.Connection") -> None:
    store = RejectedStore.open(path, settings(count_max=50))
    for number in range(1_000_000):
        store.add([rejection(number), rejection(number)])
        told.send(number)


def test_what_was_added_survives_a_kill(path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe(duplex=False)
    writer = context.Process(target=add_for_ever, args=(path, there))
    writer.start()
    there.close()
    told = -1
    while told < 200:
        told = here.recv()
    assert writer.pid is not None
    os.kill(writer.pid, signal.SIGKILL)
    writer.join()
    try:
        while True:
            told = here.recv()
    except EOFError:
        pass
    with RejectedStore.open(path, settings(count_max=50)) as store:
        kept = reasons(store)
        assert kept[-1] in (f"reason {told}", f"reason {told + 1}")
        assert len(kept) == store.stats().count == 50
        assert kept[0::2] == kept[1::2]
        store.add([rejection(7)])
