"""When a dead child is started again."""

from zarkov.cli.supervisor import restart_delay_s


def test_the_first_restart_is_at_once_and_the_next_ones_wait_twice_as_long_each() -> None:
    assert [restart_delay_s(deaths, 30.0) for deaths in range(1, 7)] == [0.0, 0.1, 0.2, 0.4, 0.8, 1.6]


def test_the_wait_never_exceeds_its_maximum() -> None:
    assert restart_delay_s(20, 30.0) == 30.0
    assert restart_delay_s(10_000, 30.0) == 30.0
    assert restart_delay_s(10_000, 0.1) == 0.1
