"""Map-reduce: count and sum per (project, hour), from stored events to the committed collection, and what it costs.

The work is that of peers/mr_*.py: 1,000 projects, 5,000 users, 24 hours, 24,000 keys. The reduce is their function,
unchanged; the map has the body of theirs. Every result is checked.
"""

import gc
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks import dataset
from benchmarks.eventserver import EventServer, free_ports
from benchmarks.kept import fill, settle
from benchmarks.peerage import peer_module
from benchmarks.peers_run import peers_dir, peers_environment
from benchmarks.processes import run_bounded
from benchmarks.sizes import Sizes
from benchmarks.timing import Sample, timed

if TYPE_CHECKING:
    from zarkov.config import Settings
    from zarkov.zmr import Zmr

JOB_S_MAX = 600.0
READY_S_MAX = 60.0
WARM_JOBS = 3
SMALL_EVENTS, SMALL_JOBS = 1_000, 20
BUILD_S_MAX = 600.0
OUTPUT = "by_project_and_hour"


def map_events(events: Iterator[dict[str, Any]]) -> Iterator[tuple[tuple[str, int], tuple[int, int]]]:
    """The body of `mr_data.map_event`, over all events."""
    for event in events:
        context = event["context"]
        yield (context["project"], event["timestamp"].hour), (1, int(context["user"][1:]))


def on_workers(sizes: Sizes) -> Sample:
    """Two workers of `serve`: the first job after its start (cold), and the median of the next ones (warm)."""
    with EventServer("serve", zmr=_router(2)) as server:
        fill(server, dataset.encoded(sizes.mapreduce))
        settle(server)
        server.stop()
        server.start()
        with _zmr(server, "zmr") as zmr:
            cold, warm = _cold_and_warm(zmr, sizes.mapreduce, [server.pid])
    return replace(warm, values={**warm.values, "cold_rate": cold.values["rate"]})


def on_dask(sizes: Sizes) -> Sample:
    """Two workers of a Dask cluster on this machine, one thread each; the job's own connection included."""
    with EventServer("serve", zmr=_router(0)) as server:
        fill(server, dataset.encoded(sizes.mapreduce))
        settle(server)
        with _dask_cluster(server.home, 2) as (address, pids), _zmr(server, "dask", dask_address=address) as zmr:
            cold, warm = _cold_and_warm(zmr, sizes.mapreduce, pids)
    return replace(warm, values={**warm.values, "cold_rate": cold.values["rate"]})


def small(sizes: Sizes) -> Sample:
    """Milliseconds from submission to result of a job over 1,000 events: on two workers, inline, and Dask bag's."""
    with EventServer("serve", zmr=_router(2)) as server:
        fill(server, dataset.encoded(SMALL_EVENTS))
        found: dict[str, float] = {}
        for executor in ("zmr", "inline"):
            with _zmr(server, executor) as zmr:
                found[f"{executor}_ms"] = _latency_ms(lambda zmr=zmr: _run(zmr, SMALL_EVENTS))
        sample = timed(SMALL_JOBS, lambda: None, servers=[server.pid])
    return replace(sample, values={**found, "dask_ms": _small_dask()})


def scheduler(sizes: Sizes) -> Sample:
    """No-op tasks a second through the state machine alone: 16 workers, half of the tasks maps, half reduces."""
    from zarkov.zmr.scheduler import Assign, Commit, Finish, Limits, Plan, Read, Scheduler

    count = sizes.tasks // 2

    def run() -> None:
        machine = Scheduler()
        todo = machine.submit("job", Limits(), 0.0)
        for worker in range(16):
            todo += machine.worker_ready(worker, 0.0)
        left = count
        while todo:
            step = todo.pop()
            if isinstance(step, Assign):
                todo += machine.done(step.worker, step.task, step.attempt, None, 0.0)
            elif isinstance(step, Read):
                taken = min(step.count, left)
                left -= taken
                todo += machine.splits_read("job", range(taken), left == 0, 0.0)
            elif isinstance(step, Plan):
                todo += machine.planned("job", range(count), 0.0)
            elif isinstance(step, Commit):
                todo += machine.committed("job", 0.0)
            else:
                assert isinstance(step, Finish), step

    return timed(2 * count, run)


def floor_pool(sizes: Sizes) -> Sample:
    """peers/mr_python.py, unchanged: multiprocessing.Pool(2), map and combine per chunk, collector off."""
    build_peers_data()
    data, python = peer_module("mr_data"), peer_module("mr_python")
    chunks = data.chunks()[: -(-sizes.mapreduce // data.CHUNK)]
    data.chunks = lambda kind="bson": chunks
    return timed(len(chunks) * data.CHUNK, _dropping(python.without_gc(python.pool_of_two)))


def build_peers_data() -> None:
    """The peers' events, in their formats, written once by their own script."""
    if peer_module("mr_data").INDEX.exists():
        return
    command = [str(peers_dir() / "v" / "bin" / "python"), "-c", "import mr_data; mr_data.build()"]
    status, _, errors = run_bounded(command, BUILD_S_MAX, env=peers_environment())
    if status:
        raise RuntimeError(f"the peers' data could not be written (benchmarks/setup.sh?): {errors[-500:]}")


def _router(workers: int) -> dict[str, object]:
    address = f"tcp://127.0.0.1:{next(free_ports(1))}"
    job_root = str(peer_module("common").PEERS_DIR / "data" / "zmr")
    return {"req_bind": address, "req_uri": address, "local_workers": workers, "job_root": job_root}


@contextmanager
def _zmr(server: EventServer, executor: str, **more: object) -> "Iterator[Zmr]":
    """`zmr` with the server's settings; with workers it is ready when they are."""
    from zarkov.cli.zmr_wiring import open_zmr

    with open_zmr(_settings(server, executor, more)) as zmr:
        if executor == "zmr":
            _await_workers(zmr)
        yield zmr


def _settings(server: EventServer, executor: str, more: dict[str, object]) -> "Settings":
    from zarkov.cli.options import Options
    from zarkov.cli.settings import load

    chosen = {"zmr.executor": executor, **{f"zmr.{key}": value for key, value in more.items()}}
    assignments = tuple(f"{key}={value}" for key, value in chosen.items())
    return load(Options(file=str(server.home / "zarkov.yaml"), assignments=assignments)).settings


def _await_workers(zmr: "Zmr") -> None:
    """Return when the router does tasks: a call that does nothing came back."""
    from zarkov.errors import RouterUnreachable

    deadline = time.monotonic() + READY_S_MAX
    while True:
        try:
            zmr.basic("math:sqrt", (4,), wait=True)
        except RouterUnreachable:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)
        else:
            return


def _cold_and_warm(zmr: "Zmr", count: int, pids: list[int]) -> tuple[Sample, Sample]:
    cold = timed(count, partial(_run, zmr, count), servers=pids)
    warm = [timed(count, partial(_run, zmr, count), servers=pids) for _ in range(WARM_JOBS)]
    warm.sort(key=lambda sample: sample.values["rate"])
    return cold, warm[len(warm) // 2]


def _run(zmr: "Zmr", count: int) -> float:
    """One job; its seconds from submission to the committed collection. Raises: AssertionError: it is wrong."""
    began = time.perf_counter()
    job = zmr.mapreduce(map_events, peer_module("mr_data").reduce_values, output=OUTPUT)
    job.wait(JOB_S_MAX, progress=False)
    took = time.perf_counter() - began
    values = job.result().to_dict().values()
    expected = sum(number % 5000 for number in range(count))
    assert (sum(n for n, _ in values), sum(total for _, total in values)) == (count, expected)
    return took


def _latency_ms(run: Callable[[], float]) -> float:
    run()
    return statistics.median(run() for _ in range(SMALL_JOBS)) * 1000


def _small_dask() -> float:
    """The same of Dask bag, by the peers' own functions (small_dask.py), in the peers' Python."""
    script = Path(__file__).with_name("small_dask.py")
    command = [str(peers_dir() / "v" / "bin" / "python"), str(script), str(SMALL_EVENTS), str(SMALL_JOBS)]
    status, printed, errors = run_bounded(command, JOB_S_MAX, env=peers_environment())
    if status:
        raise RuntimeError(f"Dask bag failed: {errors[-500:]}")
    return float(json.loads(printed.splitlines()[-1])["ms"])


@contextmanager
def _dask_cluster(folder: Path, workers: int) -> Iterator[tuple[str, list[int]]]:
    """A scheduler and workers of one thread each, from this environment: its address, and the process ids."""
    port = next(free_ports(1))
    address = f"tcp://127.0.0.1:{port}"
    own = ["--host", "127.0.0.1", "--port", str(port), "--no-dashboard", "--no-show"]
    roles = [("scheduler", own)]
    roles += [("worker", [address, "--nthreads", "1", "--no-dashboard", "--local-directory", str(folder)])] * workers
    with open(folder / "dask.log", "wb") as log:
        running = [
            subprocess.Popen([sys.executable, "-m", f"distributed.cli.dask_{role}", *options], stdout=log, stderr=log)
            for role, options in roles
        ]
    try:
        yield address, [process.pid for process in running]
    finally:
        for process in reversed(running):
            process.terminate()
            process.wait(JOB_S_MAX)


def _dropping(run: Callable[[], object]) -> Callable[[], None]:
    """The same without its result, and with the garbage of the one before collected."""

    def inner() -> None:
        gc.collect()
        run()

    return inner
