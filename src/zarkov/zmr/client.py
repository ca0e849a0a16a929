"""Map-reduce from Python: `zmr` in the shell and in scripts.

    job = zmr.mapreduce(by_project, add, query={"type": "commit"}, output="commits_by_project")
    job.wait()
    job.result()

The same call runs on the router's workers (`executor="zmr"`), in this process ("inline") and on a Dask cluster
("dask"). Submission returns at once, whatever becomes of the job: what fails, fails in `wait` and `result`.
"""

from __future__ import annotations

import time
import weakref
from collections.abc import Mapping, Sequence
from datetime import datetime
from types import TracebackType
from typing import Any, cast

from bson import ObjectId

from zarkov.config import ZmrSettings
from zarkov.errors import JobInvalid, RouterUnreachable
from zarkov.store.contract import Store
from zarkov.zmr.asking import RemoteJob, Router, Secure
from zarkov.zmr.executors import Executor
from zarkov.zmr.inline import Functions, InlineExecutor
from zarkov.zmr.job import Job as JobRecord
from zarkov.zmr.jobbook import JobBook
from zarkov.zmr.progress import Bar
from zarkov.zmr.request import INPUT_NAMES, ExecutorName, JobRequest, Kind, OutputType
from zarkov.zmr.running import LocalJob
from zarkov.zmr.shipping import ship
from zarkov.zmr.site import Site, utc_now
from zarkov.zmr.submitted import Job

#: How long the jobs of this process have, at its end, to notice that they are cancelled.
CLOSE_S = 10.0
#: Jobs that `jobs` lists where nobody says how many.
LISTED = 50


class Zmr:
    """Submits jobs. Thread-safe; a context manager: at its end the jobs of this process are cancelled.

    Args:   router: for the executor "zmr"; site: for "inline" and "dask"; store: where results are read. Without one
            of them, what needs it is refused with the reason.
    """

    def __init__(
        self,
        settings: ZmrSettings | None = None,
        *,
        router: Router | None = None,
        site: Site | None = None,
        store: Store | None = None,
    ) -> None:
        self._settings = settings or ZmrSettings()
        self._router = router
        self._site = site
        self._store = store
        self._local: weakref.WeakValueDictionary[str, LocalJob] = weakref.WeakValueDictionary()

    @classmethod
    def connect(
        cls, uri: str = "tcp://127.0.0.1:5555", *, timeout_s: float = 30.0, secure: Secure | None = None
    ) -> Zmr:
        """For a program that has nothing but the router's address: jobs run there; results in collections stay there.

        Args:   secure: with keys, `zarkov.client.Keys.load(...).secure`.
        """
        return cls(router=Router(uri, timeout_s=timeout_s, secure=secure))

    def mapreduce(
        self,
        map: Any,
        reduce: Any,
        finalize: Any = None,
        *,
        query: Mapping[str, Any] | None = None,
        inputs: Sequence[str] | str = INPUT_NAMES,
        time_from: datetime | None = None,
        time_to: datetime | None = None,
        output: str | None = None,
        output_type: OutputType | None = None,
        reduce_count: int | None = None,
        event_limit: int | None = None,
        map_job_size: int | None = None,
        executor: ExecutorName | None = None,
        wait: bool = False,
        debug: bool = False,
    ) -> Job:
        """Map events to pairs, reduce the values of each key to one; docs/map-reduce.md.

        Args:
            map: `map(events)` yields (key, value); reduce: `reduce(key, values)` returns a value; finalize:
                `finalize(documents)` yields documents. Each a function, "package.module:function", or (text, name).
            query: a filter; time_from (included), time_to (excluded): naive UTC.
            inputs: generations and collections. output: a collection; without it the results are returned.
            output_type: replace (the default), merge, reduce.
            executor: zmr, inline or dask; without it the setting `zmr.executor`.
            wait: return when the job is complete, as `wait`. debug: inline, at once, in this thread, and what a
                function raises is raised as it is.
        Raises: FunctionUnshippable, JobInvalid. With the router: RouterUnreachable.
        """
        request = _request(
            "mapreduce",
            (map, reduce, finalize),
            query,
            inputs,
            time_from=time_from,
            time_to=time_to,
            output_name=output,
            output_type=output_type or ("inline" if output is None else "replace"),
            reduce_count=reduce_count,
            event_limit=event_limit,
            map_job_size=map_job_size,
            executor=executor,
        )
        return self._submit(request, (map, reduce, finalize), wait=wait, debug=debug)

    def xmapreduce(
        self,
        map: Any,
        reduce: Any,
        finalize: Any = None,
        *,
        query: Mapping[str, Any] | None = None,
        inputs: Sequence[str] | str = INPUT_NAMES,
        time_from: datetime | None = None,
        time_to: datetime | None = None,
        output_type: OutputType = "replace",
        output_types: Mapping[str, OutputType] | None = None,
        reduce_count: int | None = None,
        event_limit: int | None = None,
        map_job_size: int | None = None,
        executor: ExecutorName | None = None,
        wait: bool = False,
        debug: bool = False,
    ) -> Job:
        """Fill several collections in one pass.

        Args:   map: yields {"c": collection, "k": key, "v": value}; reduce: `reduce(collection, key, values)`;
                finalize: `finalize(collection, documents)`; output_types: {collection: output type} where it is not
                `output_type`. The rest, and errors: as `mapreduce`.
        """
        request = _request(
            "xmapreduce",
            (map, reduce, finalize),
            query,
            inputs,
            time_from=time_from,
            time_to=time_to,
            output_type=output_type,
            output_types=output_types or {},
            reduce_count=reduce_count,
            event_limit=event_limit,
            map_job_size=map_job_size,
            executor=executor,
        )
        return self._submit(request, (map, reduce, finalize), wait=wait, debug=debug)

    def basic(
        self,
        function: Any,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        *,
        executor: ExecutorName | None = None,
        wait: bool = False,
        debug: bool = False,
    ) -> Job:
        """Call one function on a worker; `result` is what it returns, as BSON keeps it. Raises: as `mapreduce`."""
        request = JobRequest(
            "basic", function=ship(function), args=tuple(args), kwargs=kwargs or {}, executor=executor
        )
        return self._submit(request, (function,), wait=wait, debug=debug)

    def jobs(self, limit: int = LISTED) -> list[JobRecord]:
        """The newest jobs: those that the store remembers, or the router's where no store is open."""
        if self._store is not None:
            return JobBook(self._store, self._settings.jobs_max).newest(limit)
        return self._required_router().jobs(limit)

    def job(self, job_id: str) -> Job:
        """A job by its id, to be waited for or cancelled. Raises: JobUnknown, RouterUnreachable."""
        local = self._local.get(job_id)
        found = Job(local or RemoteJob(self._required_router(), job_id), self._store)
        found.status()
        return found

    def close(self) -> None:
        """Cancel the jobs of this process that have not ended."""
        running = list(self._local.values())
        for each in running:
            each.cancel()
        for each in running:
            each.close(CLOSE_S)

    def __enter__(self) -> Zmr:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Zmr {self._settings.executor}: mapreduce, xmapreduce, basic, jobs, job>"

    def _submit(self, request: JobRequest, functions: Sequence[Any], *, wait: bool, debug: bool) -> Job:
        name = "inline" if debug else request.executor or cast("ExecutorName", self._settings.executor)
        job_id = str(ObjectId())
        if name == "zmr":
            job = Job(self._required_router().submit(job_id, request), self._store)
            return job.wait() if wait else job
        site = self._required_site(name)
        executor = self._executor(name, site, _callable_here(functions), debug)
        remember = JobBook(site.store, self._settings.jobs_max).put
        running = LocalJob(job_id, request, executor, remember=remember, now=utc_now)
        self._local[job_id] = running
        job = Job(running, self._store)
        if not (wait or debug):
            running.start()
            return job
        began = time.monotonic()
        with Bar() as bar:
            running.run(lambda record: bar.show(record, time.monotonic() - began))
        return job.wait()

    def _executor(self, name: str, site: Site, functions: Functions, debug: bool) -> Executor:
        if name == "inline":
            return InlineExecutor(site, functions, debugging=debug)
        from zarkov.zmr.dask import DaskExecutor

        return DaskExecutor(site)

    def _required_router(self) -> Router:
        if self._router is None:
            raise RouterUnreachable("no router is known here", hint="Use `Zmr.connect(req_uri)`.")
        return self._router

    def _required_site(self, name: str) -> Site:
        if self._site is None:
            raise JobInvalid(
                f"the executor {name} needs the log and the store of a server, and none are open here",
                hint="Use `zmr` in `zcmd shell` or `zcmd script`, or take executor='zmr'.",
            )
        return self._site


def _callable_here(functions: Sequence[Any]) -> Functions:
    """The functions that are callable as they are, by their sources."""
    return {ship(each): each for each in functions if callable(each)}


def _request(
    kind: Kind,
    functions: tuple[Any, Any, Any],
    query: Mapping[str, Any] | None,
    inputs: Sequence[str] | str,
    **more: Any,
) -> JobRequest:
    """A request of these functions (map, reduce, finalize or None), ready to travel; `more` is JobRequest's."""
    map, reduce, finalize = (None if each is None else ship(each) for each in functions)
    names = (inputs,) if isinstance(inputs, str) else tuple(inputs)
    return JobRequest(kind, map=map, reduce=reduce, finalize=finalize, inputs=names, query=query or {}, **more)
