"""Merging, recompressing, sealing, shrinking, checkpoints and retention by age and size."""

import time

from journaling import Clock, entry, event, numbers_in, settle, small
from zarkov.batch import Entry, Summary
from zarkov.codec import encode
from zarkov.journal import Journal, JournalWriter
from zarkov.journal.database import BUSY_TIMEOUT_MS, connect
from zarkov.journal.directory import list_segments
from zarkov.journal.segment_reader import SegmentReader


def headers(path):
    with Journal.open(path) as journal:
        return [chunk.header for chunk in journal.chunks(journal.first_offset)]


def sealed(path):
    found = []
    for file in list_segments(path):
        reader = SegmentReader(file)
        found.append(reader.meta("sealed"))
        reader.close()
    return found


def singles(writer, start, stop):
    for number in range(start, stop):
        writer.commit([entry([number])])


def test_an_idle_writer_merges_single_events_into_full_dense_chunks(tmp_path):
    settings = small()
    with JournalWriter.open(tmp_path, settings) as writer:
        singles(writer, 0, 250)
        settle(writer)
        found = headers(tmp_path)
        assert [header.count for header in found] == [100, 100, 50]
        assert {header.level for header in found} == {settings.compact_level}
        assert numbers_in(tmp_path) == list(range(250))
    assert numbers_in(tmp_path) == list(range(250))


def test_merged_bounds_cover_all_their_events(tmp_path):
    with JournalWriter.open(tmp_path, small()) as writer:
        for number in range(30):
            writer.commit([entry([number], kind=f"type{number % 3}")])
        settle(writer)
    (header,) = headers(tmp_path)
    assert header.summary.types == {"type0", "type1", "type2"}
    assert header.summary == Summary.of([event(n, f"type{n % 3}") for n in range(30)])


def test_appending_goes_on_after_merging(tmp_path):
    with JournalWriter.open(tmp_path, small()) as writer:
        for start in range(0, 300, 30):
            singles(writer, start, start + 30)
            settle(writer)
    assert numbers_in(tmp_path) == list(range(300))


def test_under_load_small_chunks_are_merged_only_when_there_are_many(tmp_path):
    with JournalWriter.open(tmp_path, small(small_chunks_max=20, chunk_events_max=80)) as writer:
        singles(writer, 0, 19)
        assert not writer.upkeep(idle=False)
        assert len(headers(tmp_path)) == 19
        singles(writer, 19, 60)
        while writer.upkeep(idle=False):
            pass
        assert len(headers(tmp_path)) < 10
    assert numbers_in(tmp_path) == list(range(60))


def test_upkeep_under_load_does_not_touch_large_chunks(tmp_path):
    with JournalWriter.open(tmp_path, small(small_chunks_max=2)) as writer:
        for start in range(0, 500, 100):
            writer.commit([entry(range(start, start + 100))])
        assert not writer.upkeep(idle=False)
        assert {header.level for header in headers(tmp_path)} == {1}


def test_earlier_segments_are_merged_and_sealed_and_their_wal_is_empty(tmp_path):
    with JournalWriter.open(tmp_path, small(segment_events_max=50)) as writer:
        singles(writer, 0, 170)
        assert sealed(tmp_path) == [0, 0, 0, 0]
        settle(writer)
        assert sealed(tmp_path) == [1, 1, 1, 0]
        assert [header.count for header in headers(tmp_path)] == [50, 50, 50, 20]
        for file in list_segments(tmp_path):
            wal = file.path.with_name(file.path.name + "-wal")
            assert not wal.exists() or wal.stat().st_size == 0
        assert not writer.upkeep(idle=True)
    assert numbers_in(tmp_path) == list(range(170))


def test_sealing_goes_on_where_a_restart_interrupted_it(tmp_path):
    settings = small(segment_events_max=50)
    with JournalWriter.open(tmp_path, settings) as writer:
        singles(writer, 0, 170)
        writer.upkeep(idle=True)
    with JournalWriter.open(tmp_path, settings) as writer:
        settle(writer)
    assert sealed(tmp_path) == [1, 1, 1, 0]
    assert numbers_in(tmp_path) == list(range(170))


def test_freed_pages_are_given_back(tmp_path):
    documents = [
        {**event(number), "extra": bytes((number * 7 + i * i) % 256 for i in range(2_000))} for number in range(300)
    ]
    with JournalWriter.open(tmp_path, small(compress_level=0, compact_level=6)) as writer:
        for document in documents:
            data = encode(document)
            writer.commit([Entry(data, 1, Summary.of([document]))])
        settle(writer)
        size = list_segments(tmp_path)[0].bytes
        stored = sum(len(chunk.stored) for chunk in Journal.open(tmp_path).chunks(0))
        assert size < stored * 1.2 + 64 * 1024
    assert numbers_in(tmp_path) == list(range(300))


def test_old_segments_are_dropped_by_age_and_the_active_one_ends_so_that_its_age_counts(tmp_path):
    clock = Clock()
    with JournalWriter.open(tmp_path, small(retention_age_s=1000), clock=clock) as writer:
        for start in range(0, 60, 10):
            writer.commit([entry(range(start, start + 10))])
            clock.at_s += 300
            settle(writer)
        with Journal.open(tmp_path) as journal:
            assert journal.first_offset == 20
        clock.at_s += 10_000
        settle(writer)
        with Journal.open(tmp_path) as journal:
            assert journal.first_offset == journal.next_offset == writer.next_offset == 60
        writer.commit([entry([60])])
    assert numbers_in(tmp_path) == [60]


def test_a_clock_that_jumps_back_drops_nothing_and_stops_nothing(tmp_path):
    clock = Clock()
    with JournalWriter.open(tmp_path, small(retention_age_s=1000), clock=clock) as writer:
        writer.commit([entry(range(10))])
        settle(writer)
        clock.at_s -= 10_000_000
        writer.commit([entry(range(10, 20))])
        writer.rotate()
        settle(writer)
    assert numbers_in(tmp_path) == list(range(20))


def test_the_oldest_segments_are_dropped_beyond_the_bytes(tmp_path):
    clock = Clock()
    with JournalWriter.open(tmp_path, small(segment_events_max=50, retention_bytes=150_000), clock=clock) as writer:
        for start in range(0, 500, 50):
            writer.commit([entry(range(start, start + 50))])
        settle(writer)
        clock.at_s += 60
        settle(writer)
        kept = list_segments(tmp_path)
        assert 1 < len(kept) < 10
        assert sum(file.bytes for file in kept[:-1]) <= 150_000
        first = kept[0].first_offset
    assert numbers_in(tmp_path) == list(range(first, 500))


def test_a_busy_wal_is_copied_into_the_file_while_events_come(tmp_path, monkeypatch):
    from waiting import wait_until
    from zarkov.journal import writer as module

    monkeypatch.setattr(module, "CHECKPOINT_PAGES", 50)
    monkeypatch.setattr(module, "WAL_PAGES_MAX", 200)
    with JournalWriter.open(tmp_path, small()) as writer:
        path = list_segments(tmp_path)[0].path
        before = path.stat().st_size
        singles(writer, 0, 600)
        wait_until(lambda: path.stat().st_size > before)
        assert path.with_name(path.name + "-wal").stat().st_size < 500 * 4200
    assert numbers_in(tmp_path) == list(range(600))


def test_retention_runs_under_constant_load_too(tmp_path):
    clock = Clock()
    with JournalWriter.open(tmp_path, small(retention_age_s=1000), clock=clock) as writer:
        for start in range(0, 100, 10):
            writer.commit([entry(range(start, start + 10))])
            clock.at_s += 300
            writer.upkeep(idle=False)
        with Journal.open(tmp_path) as journal:
            assert journal.first_offset == 60


def test_a_reader_that_stopped_in_the_middle_of_a_read_stops_neither_commits_nor_upkeep(tmp_path):
    with JournalWriter.open(tmp_path, small(segment_events_max=200)) as writer:
        singles(writer, 0, 20)
        stuck = connect(list_segments(tmp_path)[0].path, "read")
        stuck.execute("BEGIN")
        assert stuck.execute("SELECT count(*) FROM chunk").get == 20
        began = time.monotonic()
        settle(writer)
        singles(writer, 20, 400)
        settle(writer)
        # Not a speed: SQLite would have waited this long for the reader.
        assert time.monotonic() - began < BUSY_TIMEOUT_MS / 1000
        assert stuck.execute("SELECT count(*) FROM chunk").get == 20
        stuck.close()
    assert numbers_in(tmp_path) == list(range(400))
