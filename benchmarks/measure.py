"""One measurement in a process of its own; prints a timing.Sample as JSON on the last line.

.venv/bin/python -m benchmarks.measure push --quick
"""

import argparse
import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from benchmarks.sizes import FULL, QUICK, Sizes
from benchmarks.timing import Sample


def measurement(name: str, real: Path | None) -> Callable[[Sizes], Sample]:
    """The function of that name. Zarkov is imported only for Zarkov's own rows, never for a floor's."""
    from benchmarks import floors

    floor: dict[str, Callable[[Sizes], Sample]] = {
        "floor_decode_1": lambda sizes: floors.decode(sizes, 1),
        "floor_decode_100": lambda sizes: floors.decode(sizes, 100),
        "floor_echo": floors.echo,
    }
    if name in floor:
        return floor[name]
    from benchmarks import clients, ingest, kept, mapreduce, memory, mongo, servers

    zarkov: dict[str, Callable[[Sizes], Sample]] = {
        "push": ingest.push,
        "ack_batched": ingest.ack_batched,
        "push_keys": lambda sizes: ingest.push(sizes, with_keys=True),
        "ack_keys": lambda sizes: ingest.ack_batched(sizes, with_keys=True),
        "async_batched": clients.async_batched,
        "log_handler": clients.log_handler,
        "ack_single": ingest.ack_single,
        "latency": ingest.latency,
        "read": kept.read,
        "disk_shape": kept.disk_shape,
        "disk_real": lambda sizes: kept.disk_real(sizes, real),
        "memory_idle": memory.idle,
        "memory_growth": memory.growth,
        "floor_insert": mongo.bare_insert,
        "load": mongo.load,
        "ingest_while_loading": mongo.ingest_while_loading,
        "floor_pool": mapreduce.floor_pool,
        "mapreduce": mapreduce.on_workers,
        "mapreduce_dask": mapreduce.on_dask,
        "mapreduce_small": mapreduce.small,
        "scheduler": mapreduce.scheduler,
        "servers_push": servers.push,
        "servers_ack": servers.ack_batched,
    }
    return zarkov[name]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--real", type=Path)
    options = parser.parse_args()
    sample = measurement(options.name, options.real)(QUICK if options.quick else FULL)
    print(json.dumps(asdict(sample)))


if __name__ == "__main__":
    main()
