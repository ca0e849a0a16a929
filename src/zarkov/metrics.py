"""Counters, gauges and timers of one process, read as one snapshot.

A timer keeps a histogram of exponential buckets (each 10 % wider than the one before, from a microsecond up), so
its percentiles are right to about 5 % and its memory does not grow. Nothing here is shared between processes:
a server answers its snapshot over its control socket. Incrementing is safe from several threads of a process
as far as `int +=` under the interpreter lock is: each counter has one writer.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

_SMALLEST_S = 1e-6
_GROWTH = math.log(1.1)
_BUCKETS = 256


@dataclass(slots=True)
class Counter:
    """A number that only grows."""

    name: str
    help: str
    value: int = 0

    def add(self, n: int = 1) -> None:
        self.value += n


@dataclass(slots=True)
class Gauge:
    """A number read when the snapshot is taken."""

    name: str
    help: str
    read: Callable[[], float]


@dataclass(slots=True)
class Timer:
    """Durations in seconds: their count, sum, maximum and percentiles."""

    name: str
    help: str
    count: int = 0
    sum_s: float = 0.0
    max_s: float = 0.0
    buckets: list[int] = field(default_factory=lambda: [0] * _BUCKETS)

    def observe(self, seconds: float) -> None:
        self.count += 1
        self.sum_s += seconds
        self.max_s = max(self.max_s, seconds)
        index = int(math.log(seconds / _SMALLEST_S) / _GROWTH) if seconds > _SMALLEST_S else 0
        self.buckets[min(index, _BUCKETS - 1)] += 1

    def percentile_s(self, share: float) -> float:
        """The duration below which `share` (0..1) of the observations lie, in seconds; 0 without any."""
        wanted, seen = share * self.count, 0
        for index, number in enumerate(self.buckets):
            seen += number
            if number and seen >= wanted:
                return min(self.max_s, _SMALLEST_S * math.exp(_GROWTH * (index + 0.5)))
        return 0.0

    def snapshot(self) -> dict[str, float]:
        return {
            "count": self.count,
            "sum_s": self.sum_s,
            "p50_s": self.percentile_s(0.50),
            "p90_s": self.percentile_s(0.90),
            "p99_s": self.percentile_s(0.99),
            "max_s": self.max_s,
        }


class Metrics:
    """The metrics of one process, by name; asking twice for a name gives the same metric."""

    def __init__(self) -> None:
        self._metrics: dict[str, Counter | Gauge | Timer] = {}

    def counter(self, name: str, help: str) -> Counter:
        metric = self._metrics.setdefault(name, Counter(name, help))
        if not isinstance(metric, Counter):
            raise TypeError(f"metric {name} is not a counter")
        return metric

    def timer(self, name: str, help: str) -> Timer:
        metric = self._metrics.setdefault(name, Timer(name, help))
        if not isinstance(metric, Timer):
            raise TypeError(f"metric {name} is not a timer")
        return metric

    def gauge(self, name: str, help: str, read: Callable[[], float]) -> Gauge:
        gauge = Gauge(name, help, read)
        self._metrics[name] = gauge
        return gauge

    def describe(self) -> dict[str, str]:
        """Each metric's name -> what it counts and in which unit."""
        return {name: metric.help for name, metric in sorted(self._metrics.items())}

    def snapshot(self) -> dict[str, Any]:
        """{name: number, or a timer's {count, sum_s, p50_s, p90_s, p99_s, max_s}}."""
        values: dict[str, Any] = {}
        for name, metric in sorted(self._metrics.items()):
            if isinstance(metric, Counter):
                values[name] = metric.value
            elif isinstance(metric, Gauge):
                values[name] = metric.read()
            else:
                values[name] = metric.snapshot()
        return values
