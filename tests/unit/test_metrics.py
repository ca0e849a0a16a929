"""Counters, gauges and timers."""

import random

import pytest

from zarkov.metrics import Metrics


def test_the_same_name_is_the_same_metric() -> None:
    metrics = Metrics()
    metrics.counter("events_received", "events").add(2)
    metrics.counter("events_received", "events").add()
    metrics.gauge("backlog", "events", lambda: 7)
    assert metrics.snapshot() == {"backlog": 7, "events_received": 3}
    assert metrics.describe() == {"backlog": "events", "events_received": "events"}


def test_a_name_cannot_be_a_counter_and_a_timer() -> None:
    metrics = Metrics()
    metrics.counter("sync", "x")
    with pytest.raises(TypeError, match="sync"):
        metrics.timer("sync", "x")


def test_percentiles_of_a_timer_are_right_to_a_tenth() -> None:
    timer = Metrics().timer("sync", "seconds")
    rng = random.Random(7)
    durations = sorted(rng.expovariate(1 / 0.003) for _ in range(20_000))
    for duration in durations:
        timer.observe(duration)
    for share, name in ((0.5, "p50_s"), (0.9, "p90_s"), (0.99, "p99_s")):
        exact = durations[int(share * len(durations))]
        assert timer.snapshot()[name] == pytest.approx(exact, rel=0.1)
    assert timer.snapshot()["max_s"] == durations[-1]
    assert timer.snapshot()["count"] == 20_000


def test_a_timer_without_observations_says_nought() -> None:
    assert Metrics().timer("sync", "seconds").snapshot()["p99_s"] == 0.0
