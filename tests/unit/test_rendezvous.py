"""Which event server a producer belongs to."""

from collections import Counter

import pytest

from zarkov.ingest import rendezvous
from zarkov.ingest.rendezvous import Homes, home_of

NAMES = [b"producer-%d" % number for number in range(2_000)]


def test_a_producer_has_the_same_home_in_every_process_and_release() -> None:
    """These are written down: another answer would break exactly-once over an upgrade."""
    assert [home_of(name, 2) for name in NAMES[:10]] == [1, 1, 0, 1, 1, 1, 0, 1, 0, 1]
    assert [home_of(name, 5) for name in NAMES[:10]] == [1, 4, 0, 1, 2, 1, 2, 1, 2, 4]


@pytest.mark.parametrize("servers", [2, 3, 8])
def test_producers_are_shared_out_evenly(servers: int) -> None:
    shares = Counter(home_of(name, servers) for name in NAMES)
    assert len(shares) == servers
    assert max(shares.values()) < 1.3 * len(NAMES) / servers


def test_one_more_server_takes_producers_over_and_moves_none_between_the_others() -> None:
    moved = [name for name in NAMES if home_of(name, 3) != home_of(name, 2)]
    assert {home_of(name, 3) for name in moved} == {2}
    assert len(moved) < 1.2 * len(NAMES) / 3


def test_what_is_remembered_is_bounded_and_changes_no_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rendezvous, "REMEMBERED_MAX", 10)
    homes = Homes(3)
    for _ in range(2):
        assert [homes.of(name) for name in NAMES[:100]] == [home_of(name, 3) for name in NAMES[:100]]
        assert len(homes._known) <= 10
