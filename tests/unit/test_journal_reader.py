"""Reading: positions, bounds, order, ids, following, counting, and many readers beside a writer."""

import threading

import pytest

from journaling import START_MS, entry, event, fill, numbers_in, settle, small
from waiting import wait_until
from zarkov.errors import JournalError, PositionBeyondEnd, PositionExpired
from zarkov.journal import Journal, JournalWriter


def oid(number):
    return number.to_bytes(12, "big")


@pytest.fixture
def journal(tmp_path):
    """200 events in 20 chunks of 10, in segments of 50; every fifth chunk is of type `tock`."""
    with JournalWriter.open(tmp_path, small(segment_events_max=50)) as writer:
        for start in range(0, 200, 10):
            writer.commit([entry(range(start, start + 10), kind="tock" if start % 50 == 40 else "tick")])
    with Journal.open(tmp_path) as found:
        yield found


def numbers(chunks):
    return [document["context"]["number"] for chunk in chunks for document in chunk.documents()]


@pytest.mark.parametrize(("start", "stop"), [(0, None), (7, 8), (5, 25), (49, 51), (50, 50), (199, 200), (200, None)])
def test_a_range_of_offsets_is_read_exactly(journal, start, stop):
    expected = list(range(start, 200 if stop is None else stop))
    assert numbers(journal.chunks(start, stop)) == expected
    assert [offset for offset, _ in journal.read(start, stop)] == expected
    assert [offset for offset, _ in journal.read_bytes(start, stop)] == expected
    assert journal.count(start, stop) == len(expected)
    backwards = list(journal.chunks(start, stop, newest_first=True))
    assert numbers(reversed(backwards)) == expected
    assert [chunk.first_offset for chunk in backwards] == sorted((c.first_offset for c in backwards), reverse=True)


def test_events_are_read_as_they_were_written(journal):
    assert dict(journal.read(3, 5)) == {3: event(3), 4: event(4)}


def test_a_position_beyond_the_end_is_an_error_at_the_call(journal):
    with pytest.raises(PositionBeyondEnd):
        journal.chunks(201)
    with pytest.raises(PositionBeyondEnd):
        journal.chunks(0, 201)
    with pytest.raises(PositionBeyondEnd):
        journal.count(201)


def test_a_position_that_was_dropped_is_an_error_at_the_call(tmp_path):
    fill(tmp_path, 10)
    with JournalWriter.open(tmp_path, small()) as writer:
        writer.drop_generation(writer.rotate().ordinal)
        with Journal.open(tmp_path) as journal, pytest.raises(PositionExpired):
            journal.chunks(0)


def test_only_chunks_that_may_match_the_bounds_are_read(journal):
    assert numbers(journal.chunks(0, types=frozenset({"tock"}))) == [n for n in range(200) if n % 50 >= 40]
    assert numbers(journal.chunks(0, ts_from_ms=START_MS + 185_000)) == list(range(180, 200))
    assert numbers(journal.chunks(0, ts_to_ms=START_MS + 12_000)) == list(range(20))
    assert numbers(journal.chunks(0, id_from=oid(95), id_to=oid(101))) == list(range(90, 110))
    assert numbers(journal.chunks(0, types=frozenset({"none"}))) == []
    assert numbers(journal.chunks(15, 45, types=frozenset({"tock"}), newest_first=True)) == list(range(40, 45))


def test_scan_returns_exactly_the_events_within_the_times(journal):
    found = journal.scan(START_MS + 37_000, START_MS + 52_000, frozenset({"tock"}))
    assert [offset for offset, _ in found] == list(range(40, 50))
    found = journal.scan(START_MS + 37_000, START_MS + 52_000)
    assert [offset for offset, _ in found] == list(range(37, 53))


def test_an_event_is_found_by_its_id(journal):
    offset, data = journal.find_id(oid(123))
    assert offset == 123
    assert data == entry([123]).data
    assert journal.find_id(oid(10**6)) is None


def test_an_id_inside_an_event_is_not_the_events_id(tmp_path):
    from zarkov.batch import Entry, Summary
    from zarkov.codec import encode

    nested = [event(1), {**event(2), "context": {"_id": event(1)["_id"]}}, {**event(3), "inner": event(2)}]
    with JournalWriter.open(tmp_path, small()) as writer:
        writer.commit([Entry(b"".join(map(encode, nested)), 3, Summary.of(nested))])
    with Journal.open(tmp_path) as journal:
        assert journal.find_id(oid(1))[0] == 0
        assert journal.find_id(oid(2))[0] == 1


def test_there_is_an_error_where_no_journal_is(tmp_path):
    with pytest.raises(JournalError, match="no journal"):
        Journal.open(tmp_path)


def test_an_empty_journal_has_no_events(tmp_path):
    JournalWriter.open(tmp_path, small()).close()
    with Journal.open(tmp_path) as journal:
        assert (journal.first_offset, journal.next_offset, journal.count(0)) == (0, 0, 0)
        assert list(journal.read(0)) == []
        assert journal.position == {journal.journal_id: 0}
        with pytest.raises(PositionBeyondEnd):
            journal.chunks(1)


def test_a_reader_sees_what_is_committed_rolled_and_rotated_after_it_was_opened(tmp_path):
    with JournalWriter.open(tmp_path, small(segment_events_max=20)) as writer, Journal.open(tmp_path) as journal:
        for start in range(0, 100, 10):
            writer.commit([entry(range(start, start + 10))])
            assert journal.next_offset == start + 10
            assert [offset for offset, _ in journal.read(start)] == list(range(start, start + 10))
        writer.rotate()
        assert journal.range_of("event.0").count == 100


def test_a_reader_in_the_middle_goes_on_while_chunks_are_merged(tmp_path):
    with JournalWriter.open(tmp_path, small()) as writer, Journal.open(tmp_path) as journal:
        for number in range(300):
            writer.commit([entry([number])])
        chunks = journal.chunks(0)
        found = numbers([next(chunks) for _ in range(7)])
        settle(writer)
        found += numbers(chunks)
        assert found == list(range(300))
        assert journal.corrupt == []


def test_a_backward_reader_in_the_middle_goes_on_while_chunks_are_merged(tmp_path):
    with JournalWriter.open(tmp_path, small()) as writer, Journal.open(tmp_path) as journal:
        for number in range(300):
            writer.commit([entry([number])])
        chunks = journal.chunks(0, newest_first=True)
        taken = [next(chunks) for _ in range(7)]
        settle(writer)
        assert numbers(reversed(taken + list(chunks))) == list(range(300))


def test_a_follower_gets_each_event_once_while_the_writer_rolls_rotates_and_merges(tmp_path):
    with JournalWriter.open(tmp_path, small(segment_events_max=40)) as writer:
        found, over = [], threading.Event()

        def follow():
            with Journal.open(tmp_path) as journal:
                for chunk in journal.follow(0, stop=over.is_set, poll_s=0.001):
                    found.extend(zip(chunk.offsets(), numbers([chunk]), strict=True))

        follower = threading.Thread(target=follow)
        follower.start()
        for start in range(0, 400, 4):
            writer.commit([entry(range(start, start + 4))])
            if start % 80 == 40:
                writer.rotate()
            if start % 12 == 0:
                writer.upkeep(idle=True)
        wait_until(lambda: len(found) >= 400)
        over.set()
        follower.join()
        assert found == [(number, number) for number in range(400)]


def test_a_follower_that_stops_leaves_nothing_behind(tmp_path):
    fill(tmp_path, 30)
    with Journal.open(tmp_path) as journal:
        follower = journal.follow(0, stop=lambda: False)
        assert next(follower).first_offset == 0
        follower.close()
        waited = []
        assert list(journal.follow(30, stop=lambda: bool(waited), wait=waited.append)) == []
        assert waited == [0.05]


def test_threads_share_one_reader(journal):
    results = []
    threads = [threading.Thread(target=lambda: results.append(numbers(journal.chunks(0)))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [list(range(200))] * 4


def test_info_says_what_there_is(journal):
    info = journal.info()
    assert (info.first_offset, info.next_offset, info.events, info.chunks) == (0, 200, 200, 20)
    assert [(each.first_offset, each.events) for each in info.segments] == [(0, 50), (50, 50), (100, 50), (150, 50)]
    assert info.bytes >= sum(each.bytes for each in info.segments) > 0
    assert [each.name for each in info.generations] == ["event"]
    assert numbers_in(info.directory) == list(range(200))
