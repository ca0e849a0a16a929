"""Telling a retry from a conflict within the window of recent ids."""

from zarkov.ingest.recent import RecentIds


def ids(first: int, count: int, content: int = 0) -> dict[bytes, int]:
    return {n.to_bytes(12, "big"): n * 1_000 + content for n in range(first, first + count)}


def known(recent: RecentIds, some: dict[bytes, int]) -> list[bytes]:
    return [oid for oid in some if recent.print_of(oid) is not None]


def test_ids_that_are_new_are_added_at_once_and_others_not_at_all() -> None:
    recent = RecentIds(10)
    first, second = [b"a" * 12, b"b" * 12], [b"c" * 12, b"a" * 12]
    assert recent.add_new(first, [1, 2])
    assert recent.any_open([b"b" * 12])
    assert not recent.add_new(second, [3, 4])
    assert recent.print_of(b"c" * 12) is None
    assert recent.print_of(b"a" * 12) == 1
    assert not recent.add_new([b"d" * 12, b"d" * 12], [5, 5])
    assert recent.print_of(b"d" * 12) is None
    recent.forget(first)
    assert recent.add_new(first, [1, 2])


def test_an_id_is_known_with_its_print_after_it_was_added() -> None:
    recent = RecentIds(10)
    some = ids(1, 3)
    assert known(recent, some) == []
    recent.add(some)
    assert known(recent, ids(3, 2)) == list(ids(3, 1))
    assert recent.print_of((3).to_bytes(12, "big")) == 3_000
    assert recent.print_of((4).to_bytes(12, "big")) is None


def test_at_least_the_window_is_remembered_and_never_more_than_twice_that_and_one_batch() -> None:
    recent = RecentIds(100)
    for first in range(0, 10_000, 30):
        some = ids(first, 30)
        recent.add(some)
        recent.settle(some)
        assert len(recent) <= 260
        for back in range(max(0, first + 30 - 100), first + 30):
            assert recent.print_of(back.to_bytes(12, "big")) is not None


def test_an_id_is_open_until_its_batch_is_settled() -> None:
    recent = RecentIds(10)
    some = ids(1, 2)
    recent.add(some)
    assert recent.any_open(ids(1, 1))
    recent.settle(some)
    assert not recent.any_open(ids(1, 1))
    assert recent.open_count == 0
    assert known(recent, some) == list(some)


def test_an_id_is_new_again_after_its_batch_was_forgotten() -> None:
    recent = RecentIds(10)
    some = ids(1, 2)
    recent.add(some)
    recent.forget(some)
    assert known(recent, some) == []
    assert recent.open_count == 0


def test_forgetting_a_settled_batch_changes_nothing() -> None:
    recent = RecentIds(10)
    some = ids(1, 2)
    recent.add(some)
    recent.settle(some)
    recent.forget(some)
    assert known(recent, some) == list(some)


def test_an_id_of_the_older_generation_can_be_forgotten() -> None:
    recent = RecentIds(2)
    old, young = ids(1, 2), ids(3, 2)
    recent.add(old)
    recent.add(young)
    recent.forget(old)
    assert known(recent, old) == []
    assert known(recent, young) == list(young)


def test_a_window_of_zero_remembers_nothing() -> None:
    recent = RecentIds(0)
    recent.add(ids(1, 5))
    assert len(recent) == 0
    assert recent.open_count == 0
