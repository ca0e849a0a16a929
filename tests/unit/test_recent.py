"""Telling a retry from a conflict within the window of recent ids."""

from zarkov.ingest.recent import RecentIds


def ids(first: int, count: int, content: int = 0) -> dict[bytes, int]:
    return {n.to_bytes(12, "big"): n * 1_000 + content for n in range(first, first + count)}


def test_an_id_is_known_with_its_print_after_it_was_added() -> None:
    recent = RecentIds(10)
    some = ids(1, 3)
    assert recent.has_none_of(some)
    recent.add(some)
    assert not recent.has_none_of(ids(3, 1))
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
    assert recent.is_open((1).to_bytes(12, "big"))
    recent.settle(some)
    assert not recent.is_open((1).to_bytes(12, "big"))
    assert recent.open_count == 0
    assert not recent.has_none_of(some)


def test_an_id_is_new_again_after_its_batch_was_forgotten() -> None:
    recent = RecentIds(10)
    some = ids(1, 2)
    recent.add(some)
    recent.forget(some)
    assert recent.has_none_of(some)
    assert recent.open_count == 0


def test_forgetting_a_settled_batch_changes_nothing() -> None:
    recent = RecentIds(10)
    some = ids(1, 2)
    recent.add(some)
    recent.settle(some)
    recent.forget(some)
    assert not recent.has_none_of(some)


def test_an_id_of_the_older_generation_can_be_forgotten() -> None:
    recent = RecentIds(2)
    old, young = ids(1, 2), ids(3, 2)
    recent.add(old)
    recent.add(young)
    recent.forget(old)
    assert recent.has_none_of(old)
    assert not recent.has_none_of(young)


def test_a_window_of_zero_remembers_nothing() -> None:
    recent = RecentIds(0)
    recent.add(ids(1, 5))
    assert len(recent) == 0
    assert recent.open_count == 0
