"""Jobs on a Dask cluster: a task is a future, bytes in and bytes out.

Theory of operation. The driver runs here, in the process that asked for the job; the cluster does its tasks. A task
travels as its BSON, with a reference to one function of this module: Dask pickles nothing of the user's, and the
cluster needs nothing but this package, in the same version. What a function raises comes back as a value. What a
map gives comes back too, and is kept here until the reduces need it: combiners have made it small.

Every thread of the cluster has AHEAD tasks, so that none waits for the next; a worker that dies takes its tasks with
it, and Dask gives them to another (`distributed.scheduler.allowed-failures` times). What Dask gives up on comes back
as an error, and is tried again as a task of a local worker is. Results of tasks that are not wanted any more are
dropped. When the scheduler cannot be reached for `dask_timeout_s`, the job fails.

Dask's scheduler runs what it is sent: use one on a trusted network, or with TLS.
"""

from __future__ import annotations

import queue
import sys
import threading
import time
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from zarkov import __version__
from zarkov.codec import decode, encode
from zarkov.config import ZmrSettings
from zarkov.errors import ClusterUnreachable, FunctionFailed, JobInvalid, TaskLost, ZarkovError
from zarkov.zmr import failure
from zarkov.zmr.executors import Answer, Ended, Keep, Watch, run_job
from zarkov.zmr.job import Counters, Job
from zarkov.zmr.kept import Piece
from zarkov.zmr.request import JobRequest
from zarkov.zmr.runs import Held
from zarkov.zmr.site import Site
from zarkov.zmr.tasks import Report, Task, from_document, run_task, source_of, to_document

if TYPE_CHECKING:
    from distributed import Client, Future, Security

#: Tasks that a thread of the cluster has at once: one that runs, one that waits for it.
AHEAD = 2
#: How often the cluster is asked which workers it has.
LOOK_AT_CLUSTER_S = 2.0

#: The functions of a task print to the process, and pause its collector: one task at a time in each.
_one_at_a_time = threading.Lock()


class DaskExecutor:
    """Runs jobs on the cluster at `zmr.dask_address`; a connection for each."""

    def __init__(self, site: Site) -> None:
        self._site = site

    def run(self, job_id: str, request: JobRequest, *, watch: Watch, is_cancelled: Callable[[], bool]) -> Ended:
        """See `Executor`. Raises: ClusterUnreachable. JobInvalid: the cluster cannot do tasks of this version."""
        settings = self._site.settings
        with connected(settings) as client:
            threads = sum(client.nthreads().values())
            driver = self._site.driver(job_id, request, workers=threads, captured=True)
            crew = DaskCrew(client, settings)
            # A task may have to wait for those ahead of it before its own time begins.
            limits = replace(driver.limits, lease_s=driver.limits.lease_s * AHEAD)

            def told(job: Job) -> Job:
                return replace(job, progress={**job.progress, "workers_lost": crew.lost})

            ended = run_job(
                driver,
                crew,
                limits,
                timeout_s=settings.job_timeout_s,
                watch=lambda job: watch(told(job)),
                is_cancelled=is_cancelled,
            )
            return replace(ended, job=told(ended.job))


class DaskCrew:
    """The cluster as workers that take one task each. `lost`: how many of its workers went away."""

    def __init__(self, client: Client, settings: ZmrSettings) -> None:
        self.lost = 0
        self._client = client
        self._timeout_s = settings.dask_timeout_s
        self._most = max(settings.outstanding_maps, settings.outstanding_reduces)
        self._futures: dict[Hashable, tuple[Future, Keep]] = {}
        self._done: queue.SimpleQueue[tuple[Hashable, Future]] = queue.SimpleQueue()
        self._seen: set[str] = set()
        self._slots = 0
        self._looked_at = 0.0
        self._reached_at = time.monotonic()

    def workers(self) -> Sequence[Hashable]:
        self._look()
        return range(self._slots)

    def begin(self, worker: Hashable, task: Task, keep: Keep) -> None:
        source = source_of(task)
        data = b"" if source is None else source.read_at(0, source.size)
        with _reachable():
            future = self._client.submit(run_encoded, encode(to_document(task)), data, pure=False)
        self._futures[worker] = future, keep
        future.add_done_callback(lambda done: self._done.put((worker, done)))

    def answers(self, timeout_s: float) -> Sequence[Answer]:
        self._require_scheduler()
        found: list[Answer] = []
        try:
            while True:
                worker, future = self._done.get(timeout=0 if found else timeout_s)
                current = self._futures.get(worker)
                if current is not None and current[0] is future:
                    del self._futures[worker]
                    found.append(self._answer(worker, future, current[1]))
        except queue.Empty:
            return found

    def abandon(self, worker: Hashable) -> None:
        found = self._futures.pop(worker, None)
        if found is not None:
            found[0].cancel()

    def _answer(self, worker: Hashable, future: Future, keep: Keep) -> Answer:
        try:
            head, pieces = future.result(timeout=self._timeout_s)
            said = decode(head)
        except ZarkovError:
            raise
        except Exception as error:  # noqa: BLE001  # whatever Dask has to say of a task, it says here
            return Answer(worker, error=_lost(error))
        finally:
            future.release()
        if "failed" in said:
            return Answer(worker, error=failure.from_document(said["failed"]))
        if "error" in said:
            return Answer(worker, error=TaskLost(said["error"], hint=said["hint"]))
        report = Report(Counters.from_document(said["counters"]), said["printed"])
        return Answer(worker, [keep(pieces)] if pieces else (), report)

    def _look(self) -> None:
        """How many tasks the cluster takes now, and which workers it lost."""
        now = time.monotonic()
        if now - self._looked_at < LOOK_AT_CLUSTER_S:
            return
        self._looked_at = now
        with _reachable():
            threads: dict[str, int] = self._client.nthreads()
        self.lost += len(self._seen - threads.keys())
        self._seen = set(threads)
        self._slots = max(self._slots, min(self._most, AHEAD * max(1, sum(threads.values()))))

    def _require_scheduler(self) -> None:
        now = time.monotonic()
        if self._client.status == "running":
            self._reached_at = now
        elif now - self._reached_at > self._timeout_s:
            raise ClusterUnreachable(f"the Dask scheduler went away: the connection is {self._client.status}")


def run_encoded(task: bytes, source: bytes) -> tuple[bytes, list[Piece]]:
    """Do a task, on the cluster: the BSON of what there is to say, and the pieces that it gave."""
    pieces: list[Piece] = []
    with _one_at_a_time:
        try:
            report = run_task(from_document(decode(task), Held(source)), lambda *piece: pieces.append(piece))
        except FunctionFailed as failed:
            return encode({"failed": failure.to_document(failed)}), []
        except ZarkovError as error:
            return encode({"error": str(error), "hint": error.hint}), []
    return encode({"counters": report.counters.to_document(), "printed": report.printed}), pieces


def installed_version() -> str:
    """What the cluster has of this package."""
    return __version__


@contextmanager
def connected(settings: ZmrSettings) -> Iterator[Client]:
    """A client of the cluster, which has at least one worker that can do tasks.

    Raises: ClusterUnreachable: no scheduler, or no worker within `dask_timeout_s`. JobInvalid: Dask is not installed
    here, or this package not there in this version.
    """
    _require_unpatched()
    if settings.dask_address is None:
        raise JobInvalid(
            "zmr.dask_address is not set", hint="Name the scheduler: `zmr: {dask_address: tcp://host:8786}`."
        )
    try:
        import dask
        from distributed import Client
    except ImportError as error:
        raise JobInvalid(f"Dask is not installed here: {error}", hint="Install `zarkov[dask]`.") from error
    # Inputs of tasks are bytes by design, and bounded.
    with dask.config.set({"distributed.admin.large-graph-warning-threshold": "1 GiB"}):
        try:
            client = Client(
                settings.dask_address,
                timeout=settings.dask_timeout_s,
                security=_security(settings),
                set_as_default=False,
            )
        except (OSError, TimeoutError) as error:
            raise ClusterUnreachable(f"no Dask scheduler answers at {settings.dask_address}: {error}") from error
        try:
            _require_worker(client, settings.dask_timeout_s)
            yield client
        finally:
            client.close()


def _require_worker(client: Client, timeout_s: float) -> None:
    future = client.submit(installed_version, pure=False)
    try:
        there = future.result(timeout=timeout_s)
    except TimeoutError as error:
        raise ClusterUnreachable(
            f"no worker of the Dask cluster answers within {timeout_s:g} seconds",
            hint="Start one: `dask worker ADDRESS`.",
        ) from error
    except ModuleNotFoundError as error:
        raise JobInvalid(
            f"the Dask workers cannot do tasks: {error}", hint="Install `zarkov[dask]` there."
        ) from error
    if there != __version__:
        raise JobInvalid(
            f"the Dask workers have zarkov {there}, and this is {__version__}", hint="Install the same version there."
        )


def _security(settings: ZmrSettings) -> Security | None:
    files = (settings.dask_tls_ca_file, settings.dask_tls_cert_file, settings.dask_tls_key_file)
    if all(path is None for path in files):
        return None
    if any(path is None for path in files):
        raise JobInvalid("dask_tls_ca_file, dask_tls_cert_file and dask_tls_key_file belong together")
    from distributed import Security

    ca, certificate, key = (str(path) for path in files)
    return Security(require_encryption=True, tls_ca_file=ca, tls_client_cert=certificate, tls_client_key=key)


def _require_unpatched() -> None:
    monkey: Any = sys.modules.get("gevent.monkey")
    if monkey is not None and monkey.is_module_patched("threading"):
        raise JobInvalid(
            "Dask cannot be driven from a process that gevent has patched", hint="Run the job from another process."
        )


@contextmanager
def _reachable() -> Iterator[None]:
    """Raises: ClusterUnreachable: the client is closed, or cannot send."""
    try:
        yield
    except (OSError, RuntimeError) as error:
        raise ClusterUnreachable(f"the Dask scheduler went away: {error}") from error


def _lost(error: Exception) -> TaskLost:
    said = next(iter(str(error).splitlines()), "") or type(error).__name__
    return TaskLost(f"Dask gave the task up: {said}")
