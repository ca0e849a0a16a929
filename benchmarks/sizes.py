"""How many events each measurement takes: a full run, and a quick one that only shows that it works."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Sizes:
    """events: of the batched rows and of the disk. single: one at a time. growth: of the long ingest.

    mongo: loaded into MongoDB. mapreduce: of its jobs; tasks: through its scheduler. latency_s: how long events are
    offered; the first `latency_skip_s` do not count.
    """

    events: int = 500_000
    single: int = 3_000
    disk: int = 1_000_000
    growth: int = 10_000_000
    mongo: int = 100_000
    mapreduce: int = 1_000_000
    tasks: int = 100_000
    latency_s: float = 6.0
    latency_skip_s: float = 1.0


FULL = Sizes()
QUICK = Sizes(
    events=50_000,
    single=500,
    disk=100_000,
    growth=2_000_000,
    mongo=10_000,
    mapreduce=100_000,
    tasks=20_000,
    latency_s=2.0,
    latency_skip_s=0.5,
)
