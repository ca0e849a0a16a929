"""Appending: offsets, producers' windows, segments, generations, locks and refusals."""

import os

import pytest

from journaling import Clock, entry, fill, numbers_in, settle, small
from zarkov.batch import ProducerBatch, ProducerRecord
from zarkov.errors import JournalCorrupt, JournalError, JournalFailed, JournalFull, JournalLocked, JournalVersion
from zarkov.journal import Catalog, Journal, JournalWriter
from zarkov.journal.catalog import CATALOG_NAME
from zarkov.journal.database import require_sound_sqlite
from zarkov.journal.directory import list_segments
from zarkov.position import OffsetRange

SETTINGS = small()


def opened(path, settings=SETTINGS, **more):
    return JournalWriter.open(path, settings, **more)


def batch(producer, sequence, note=b""):
    return ProducerBatch(producer, sequence, note)


def segments(path):
    return [file.first_offset for file in list_segments(path)]


def test_offsets_are_consecutive_over_entries_commits_and_restarts(tmp_path):
    with opened(tmp_path) as writer:
        assert writer.next_offset == 0
        assert writer.commit([entry(range(3)), entry(range(3, 5))]) == [OffsetRange(0, 3), OffsetRange(3, 2)]
        assert writer.commit([entry([5])]) == [OffsetRange(5, 1)]
        identity = writer.journal_id
    with opened(tmp_path) as writer:
        assert writer.journal_id == identity
        assert writer.next_offset == 6
        assert writer.commit([entry([6])]) == [OffsetRange(6, 1)]
    assert numbers_in(tmp_path) == list(range(7))


def test_an_entry_without_events_gets_no_offsets_and_its_batch_is_remembered(tmp_path):
    with opened(tmp_path) as writer:
        ranges = writer.commit([entry([0]), entry([], batch(b"p", 1, b"all refused")), entry([1])])
        assert ranges == [OffsetRange(0, 1), OffsetRange(-1, 0), OffsetRange(1, 1)]
    with opened(tmp_path) as writer:
        assert list(writer.producer_records()) == [ProducerRecord(b"p", 1, -1, 0, b"all refused")]


def test_an_empty_commit_writes_nothing(tmp_path):
    with opened(tmp_path) as writer:
        assert writer.commit([]) == []
        assert writer.next_offset == 0


def test_a_large_entry_becomes_several_chunks(tmp_path):
    with opened(tmp_path) as writer:
        assert writer.commit([entry(range(250))]) == [OffsetRange(0, 250)]
    with Journal.open(tmp_path) as journal:
        assert [chunk.header.count for chunk in journal.chunks(0)] == [100, 100, 50]
    assert numbers_in(tmp_path) == list(range(250))


def test_a_producers_last_batches_are_remembered_over_a_restart_and_a_new_segment(tmp_path):
    with opened(tmp_path, small(window_max=4)) as writer:
        for sequence in range(1, 8):
            writer.commit([entry([sequence], batch(b"p", sequence, b"n%d" % sequence))])
        writer.rotate()
        expected = [ProducerRecord(b"p", n, n - 1, 1, b"n%d" % n) for n in range(4, 8)]
        assert list(writer.producer_records()) == expected
    with opened(tmp_path, small(window_max=4)) as writer:
        assert list(writer.producer_records()) == expected


def test_a_window_that_became_smaller_or_larger_keeps_what_is_inside(tmp_path):
    with opened(tmp_path, small(window_max=8)) as writer:
        for sequence in range(1, 11):
            writer.commit([entry([sequence], batch(b"p", sequence))])
    with opened(tmp_path, small(window_max=3)) as writer:
        assert [record.sequence for record in writer.producer_records()] == [8, 9, 10]
        writer.commit([entry([11], batch(b"p", 11))])
    with opened(tmp_path, small(window_max=20)) as writer:
        assert [record.sequence for record in writer.producer_records()] == [9, 10, 11]
        writer.commit([entry([12], batch(b"p", 12))])
        assert [record.sequence for record in writer.producer_records()] == [9, 10, 11, 12]


def test_batches_that_arrive_out_of_order_do_not_displace_later_ones(tmp_path):
    with opened(tmp_path, small(window_max=4)) as writer:
        for sequence in (5, 1, 3, 4, 2):
            writer.commit([entry([sequence], batch(b"p", sequence))])
        assert sorted(record.sequence for record in writer.producer_records()) == [2, 3, 4, 5]


def test_a_sequence_that_jumps_forgets_what_left_the_window(tmp_path):
    with opened(tmp_path, small(window_max=4)) as writer:
        for sequence in (1, 2, 100):
            writer.commit([entry([sequence], batch(b"p", sequence))])
        assert [record.sequence for record in writer.producer_records()] == [100]


def test_the_longest_idle_producer_is_forgotten_first(tmp_path):
    settings = small(producers_max=2)
    with opened(tmp_path, settings) as writer:
        writer.commit([entry([0], batch(b"a", 1)), entry([1], batch(b"b", 1))])
        writer.commit([entry([2], batch(b"a", 2))])
        writer.commit([entry([3], batch(b"c", 1))])
        assert {record.producer for record in writer.producer_records()} == {b"a", b"c"}
    with opened(tmp_path, settings) as writer:
        writer.commit([entry([4], batch(b"d", 1))])
        assert {record.producer for record in writer.producer_records()} == {b"c", b"d"}


def test_a_segment_that_is_full_is_followed_by_one_named_after_the_next_offset(tmp_path):
    with opened(tmp_path, small(segment_events_max=100)) as writer:
        for start in range(0, 350, 30):
            writer.commit([entry(range(start, min(start + 30, 350)))])
    assert segments(tmp_path) == [0, 90, 180, 270]
    assert numbers_in(tmp_path) == list(range(350))


def test_a_segment_is_full_by_bytes_too(tmp_path):
    with opened(tmp_path, small(segment_bytes_max=300)) as writer:
        for start in range(0, 100, 10):
            writer.commit([entry(range(start, start + 10))])
    assert len(segments(tmp_path)) > 3
    assert numbers_in(tmp_path) == list(range(100))


def test_a_commit_larger_than_a_whole_segment_is_still_one_commit(tmp_path):
    with opened(tmp_path, small(segment_events_max=10)) as writer:
        assert writer.commit([entry(range(50))]) == [OffsetRange(0, 50)]
        assert writer.commit([entry([50])]) == [OffsetRange(50, 1)]
    assert segments(tmp_path) == [0, 50]


def test_rotate_ends_the_generation_and_begins_the_next(tmp_path):
    clock = Clock()
    with opened(tmp_path, clock=clock) as writer:
        writer.commit([entry(range(10))])
        clock.at_s += 60
        ended = writer.rotate()
        assert (ended.name, ended.first_offset, ended.stop_offset) == ("event.0", 0, 10)
        writer.commit([entry(range(10, 15))])
        writer.rotate()
        writer.commit([entry([15])])
        names = [(each.name, each.first_offset, each.stop_offset) for each in writer.generations()]
        assert names == [("event", 15, None), ("event.0", 10, 15), ("event.1", 0, 10)]
        assert writer.generations()[1].started_ms == int(clock.at_s * 1000)
    with Journal.open(tmp_path) as journal:
        assert journal.range_of("event") == OffsetRange(15, 1)
        assert journal.range_of("event.0") == OffsetRange(10, 5)
        assert journal.range_of("event.1") == OffsetRange(0, 10)
        with pytest.raises(JournalError, match=r"event\.2"):
            journal.range_of("event.2")


def test_rotate_of_an_empty_generation_makes_an_empty_one_and_no_segment(tmp_path):
    with opened(tmp_path) as writer:
        writer.rotate()
        assert writer.rotate().stop_offset == 0
        assert len(writer.generations()) == 3
    assert segments(tmp_path) == [0]


def test_dropped_generations_are_removed_and_others_stay(tmp_path):
    with opened(tmp_path) as writer:
        for start in (0, 10, 20):
            writer.commit([entry(range(start, start + 10))])
            writer.rotate()
        oldest = writer.generations()[-1]
        assert writer.drop_generation(oldest.ordinal)
        assert writer.generations()[-1].dropped
    assert numbers_in(tmp_path) == list(range(10, 30))
    with Journal.open(tmp_path) as journal:
        assert journal.first_offset == 10
        assert journal.generation_names() == ["event", "event.0", "event.1"]
        assert journal.range_of("event.2").count == 0


def test_a_dropped_generation_stays_until_the_last_reader_is_past_it(tmp_path):
    clock = Clock()
    with opened(tmp_path, clock=clock) as writer:
        writer.commit([entry(range(10))])
        ended = writer.rotate()
        catalog = Catalog.open(tmp_path, "write")
        catalog.advance_reader("loader", 9, 0)
        assert not writer.drop_generation(ended.ordinal)
        assert numbers_in(tmp_path) == list(range(10))
        catalog.advance_reader("loader", 10, 0)
        catalog.close()
        clock.at_s += 60
        settle(writer)
        assert segments(tmp_path) == [10]


def test_the_current_generation_cannot_be_dropped(tmp_path):
    with opened(tmp_path) as writer:
        writer.commit([entry(range(10))])
        writer.drop_generation(writer.generations()[0].ordinal)
    assert numbers_in(tmp_path) == list(range(10))


def test_a_second_writer_is_refused_and_a_later_one_is_not(tmp_path):
    with opened(tmp_path):
        with pytest.raises(JournalLocked, match=str(os.getpid())):
            opened(tmp_path)
    opened(tmp_path).close()


def test_too_little_free_space_refuses_a_commit_and_leaves_the_writer_usable(tmp_path, monkeypatch):
    with opened(tmp_path, small(free_bytes_min=1)) as writer:
        writer.commit([entry([0])])
        real = os.statvfs(tmp_path)
        monkeypatch.setattr(os, "statvfs", lambda path: os.statvfs_result((*real[:4], 0, *real[5:10])))
        with pytest.raises(JournalFull):
            writer.commit([entry([1])])
        monkeypatch.undo()
        assert writer.commit([entry([1])]) == [OffsetRange(1, 1)]


def test_a_closed_writer_refuses(tmp_path):
    writer = opened(tmp_path)
    writer.close()
    writer.close()
    with pytest.raises(JournalFailed):
        writer.commit([entry([0])])


@pytest.mark.parametrize("version", ["3.40.1", "3.51.2", "3.7.0"])
def test_a_vulnerable_sqlite_is_refused(version):
    with pytest.raises(JournalVersion):
        require_sound_sqlite(version)


@pytest.mark.parametrize("version", ["3.51.3", "3.54.0", "4.0.0"])
def test_a_sound_sqlite_is_taken(version):
    require_sound_sqlite(version)


def test_segments_without_their_catalog_are_refused(tmp_path):
    fill(tmp_path, 10)
    (tmp_path / CATALOG_NAME).unlink()
    with pytest.raises(JournalCorrupt, match="catalog"):
        opened(tmp_path)


def test_a_newer_format_is_refused_by_writer_and_reader(tmp_path):
    import apsw

    fill(tmp_path, 10)
    path = list_segments(tmp_path)[0].path
    connection = apsw.Connection(str(path))
    connection.execute("PRAGMA user_version=99")
    connection.close()
    with pytest.raises(JournalVersion):
        opened(tmp_path)
    with pytest.raises(JournalVersion), Journal.open(tmp_path) as journal:
        list(journal.read(0))


def test_a_segment_of_another_journal_is_refused(tmp_path):
    fill(tmp_path / "one", 10)
    fill(tmp_path / "two", 10)
    name = list_segments(tmp_path / "one")[0].path.name
    (tmp_path / "one" / name).replace(tmp_path / "two" / name)
    with pytest.raises(JournalError, match="another journal"):
        opened(tmp_path / "two")


def test_every_connection_that_writes_is_wal_and_full_and_never_checkpoints_by_itself(tmp_path):
    from zarkov.journal.database import connect

    for mode in ("create", "write"):
        connection = connect(tmp_path / "x", mode)
        wanted = {"journal_mode": "wal", "synchronous": 2, "wal_autocheckpoint": 0, "temp_store": 2}
        assert {name: connection.pragma(name) for name in wanted} == wanted
        connection.execute("CREATE TABLE IF NOT EXISTS t (n)")
        assert (connection.pragma("page_size"), connection.pragma("auto_vacuum")) == (4096, 2)
        connection.close()
