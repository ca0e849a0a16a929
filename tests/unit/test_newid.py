"""New ids."""

from bson import ObjectId

from zarkov.ingest.newid import NewIds


def test_ids_are_object_ids_with_the_clocks_seconds_and_differ() -> None:
    new_id = NewIds(lambda: 1_700_000_000.9, b"abcde", 0)
    given = [new_id() for _ in range(1_000)]
    assert len(set(given)) == 1_000
    assert given == sorted(given)
    assert ObjectId(given[0]).generation_time.timestamp() == 1_700_000_000


def test_the_counter_begins_anew_after_three_bytes() -> None:
    new_id = NewIds(lambda: 0, b"abcde", 0xFFFFFF)
    assert new_id()[9:] == b"\x00\x00\x00"


def test_a_clock_that_jumps_back_gives_other_ids_than_before() -> None:
    times = iter([10.0, 11.0, 10.0])
    new_id = NewIds(lambda: next(times), b"abcde", 7)
    assert len({new_id() for _ in range(3)}) == 3
