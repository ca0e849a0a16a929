"""Dask bag over a few events: milliseconds from `compute` to the result, warm; the functions are those of mr_dask.py.

Runs under the peers' Python, with their folder on its path:

    PYTHONPATH=benchmarks/peers $PEERS_DIR/v/bin/python benchmarks/small_dask.py 1000 20
"""

import json
import statistics
import sys
import time

import bson
import common
import dask.bag as db
import mr_dask
import mr_data
from dask.distributed import Client, LocalCluster


def main() -> None:
    count, jobs = int(sys.argv[1]), int(sys.argv[2])
    data = b"".join(bson.encode(event) for event in common.events(count))
    with (
        LocalCluster(n_workers=2, threads_per_worker=1, host=common.HOST, dashboard_address=None) as cluster,
        Client(cluster),
    ):
        took = []
        for _ in range(jobs + 1):
            began = time.perf_counter()
            pairs = db.from_sequence([data], npartitions=1).map(bson.decode_all).flatten()
            pairs = pairs.map(mr_data.map_event).flatten()
            found = dict(pairs.foldby(mr_dask.key_of, mr_dask.binop, (0, 0), mr_data.merge, (0, 0)).compute())
            took.append(time.perf_counter() - began)
            assert sum(value[0] for value in found.values()) == count
    print(json.dumps({"ms": statistics.median(took[1:]) * 1000}))


if __name__ == "__main__":
    main()
