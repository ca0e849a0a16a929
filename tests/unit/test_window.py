"""Producers' windows: every sequence is stored at most once and answered as often as it is asked for."""

import pytest

from zarkov.batch import ProducerRecord
from zarkov.errors import SequenceTooOld, WindowExceeded
from zarkov.ingest.window import Windows


def record(sequence: int, producer: bytes = b"p", note: bytes = b"") -> ProducerRecord:
    return ProducerRecord(producer, sequence, sequence * 10, 10, note)


def stored(windows: Windows, sequence: int, producer: bytes = b"p") -> None:
    assert windows.begin(producer, sequence, b"asker") == "new"
    windows.commit(record(sequence, producer))


def test_a_new_sequence_is_new_and_its_retry_after_the_commit_gets_the_record() -> None:
    windows = Windows(4, 10)
    assert windows.begin(b"p", 1, b"a") == "new"
    assert windows.commit(record(1)) == b"a"
    assert windows.begin(b"p", 1, b"b") == record(1)


def test_a_retry_in_flight_is_answered_once_to_whoever_asked_last() -> None:
    windows = Windows(4, 10)
    windows.begin(b"p", 1, b"old connection")
    assert windows.begin(b"p", 1, b"new connection") == "in flight"
    assert windows.commit(record(1)) == b"new connection"


def test_an_abandoned_sequence_is_new_again() -> None:
    windows = Windows(4, 10)
    windows.begin(b"p", 1, b"a")
    assert windows.abandon(b"p", 1) == b"a"
    assert len(windows) == 0
    assert windows.begin(b"p", 1, b"a") == "new"


def test_a_sequence_a_window_behind_is_too_old_and_one_inside_it_is_not() -> None:
    windows = Windows(4, 10)
    stored(windows, 10)
    with pytest.raises(SequenceTooOld):
        windows.begin(b"p", 6, b"a")
    assert windows.begin(b"p", 7, b"a") == "new"


def test_only_a_window_of_batches_can_be_in_flight() -> None:
    windows = Windows(2, 10)
    windows.begin(b"p", 1, b"a")
    windows.begin(b"p", 2, b"a")
    with pytest.raises(WindowExceeded):
        windows.begin(b"p", 3, b"a")
    windows.commit(record(1))
    assert windows.begin(b"p", 3, b"a") == "new"


def test_producers_do_not_share_a_window() -> None:
    windows = Windows(2, 10)
    stored(windows, 1, b"p")
    assert windows.begin(b"q", 1, b"a") == "new"


def test_records_beyond_the_window_leave_and_those_inside_it_stay() -> None:
    windows = Windows(4, 10)
    for sequence in range(1, 101):
        stored(windows, sequence)
    for sequence in range(97, 101):
        assert windows.begin(b"p", sequence, b"a") == record(sequence)
    with pytest.raises(SequenceTooOld):
        windows.begin(b"p", 96, b"a")


def test_what_the_journal_kept_is_known_after_a_restart_in_whatever_order_it_comes() -> None:
    windows = Windows(4, 10, [record(3), record(1), record(2), record(9, b"q")])
    assert windows.begin(b"p", 2, b"a") == record(2)
    assert windows.highest(b"p") == 3
    assert windows.highest(b"q") == 9


def test_the_highest_sequence_counts_those_in_flight_and_is_zero_for_a_stranger() -> None:
    windows = Windows(4, 10)
    assert windows.highest(b"p") == 0
    stored(windows, 3)
    windows.begin(b"p", 5, b"a")
    assert windows.highest(b"p") == 5


def test_beyond_producers_max_the_longest_idle_leave_but_none_with_a_batch_in_flight() -> None:
    windows = Windows(4, 2)
    windows.begin(b"busy", 1, b"a")
    stored(windows, 1, b"old")
    stored(windows, 1, b"young")
    assert len(windows) == 2
    assert windows.highest(b"old") == 0
    assert windows.highest(b"young") == 1
    assert windows.commit(record(1, b"busy")) == b"a"


def test_notes_are_bounded_in_bytes_over_all_producers() -> None:
    windows = Windows(4, 1_000, notes_bytes_max=1_000)
    for number in range(100):
        producer = str(number).encode()
        windows.begin(producer, 1, b"a")
        windows.commit(record(1, producer, b"x" * 100))
    assert len(windows) == 10
    assert windows.highest(b"99") == 1
