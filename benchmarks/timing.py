"""One timed run, with the peers' lock, pace and CPU accounting (peers/common.py)."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from benchmarks.peerage import peer_module


@dataclass(frozen=True, slots=True)
class Sample:
    """What one measurement of one round gives; `values` by the keys of rows.Figure.

    pace_ms: a fixed pure-Python loop, just before. other_cores: used by processes outside the run.
    """

    values: Mapping[str, float]
    pace_ms: float
    other_cores: float
    client_cores: float = 0.0
    server_cores: float = 0.0
    notes: Sequence[str] = field(default_factory=tuple)


def timed(count: int, run: Callable[[], float | None], *, servers: Sequence[int] = ()) -> Sample:
    """Run under the peers' lock and give `rate` in events/s and `wall_s`.

    run: may return its own wall seconds, when a part of what it does is not to be timed.
    servers: process ids whose CPU time, with their children's, counts as the server's.
    """
    common = peer_module("common")
    with common.lock():
        pace = common.calibrate()
        busy, server, own = common.busy(), common.cpu_of(servers), common.own_cpu()
        began = time.perf_counter()
        inner = run()
        span = time.perf_counter() - began
        own, server = common.own_cpu() - own, common.cpu_of(servers) - server
        other = max(0.0, common.busy() - busy - own - server)
    wall = span if inner is None else inner
    values = {"rate": count / wall, "wall_s": wall}
    return Sample(values, pace, other / span, client_cores=own / span, server_cores=server / span)
