"""What map-reduce cannot do."""

from __future__ import annotations

from typing import Any

from zarkov.errors.root import ZarkovError


class MapReduceError(ZarkovError):
    """A job of map-reduce cannot be done."""

    code = "map_reduce_error"
    hint = "docs/map-reduce.md explains how a job is written."


class FunctionUnshippable(MapReduceError):
    """A function depends on something that cannot be sent to a worker as text."""

    code = "function_unshippable"
    hint = "Use only modules, plain values and functions of these; or name the function as `module:function`."


class FunctionFailed(MapReduceError):
    """A function of a job raised, or gave what cannot be taken.

    `stage` is map, reduce, finalize or basic; `traceback` shows the function's own frames; `event` is the one at
    which it failed, if one is to blame: `{journal, offset, _id, event, alone}` (see zmr.failure); `printed` is what
    the functions of the task had written to standard output.
    """

    code = "function_failed"
    hint = "Mend the function; `executor='inline'` runs it in your own process, where a debugger reaches it."

    def __init__(
        self,
        message: str,
        *,
        hint: str | None = None,
        stage: str = "",
        traceback: str = "",
        event: dict[str, Any] | None = None,
        printed: str = "",
    ) -> None:
        super().__init__(message, hint=hint)
        self.stage = stage
        self.traceback = traceback
        self.event = event
        self.printed = printed


class OutputInvalid(MapReduceError):
    """A function of a job gave a key or a value that cannot be stored."""

    code = "output_invalid"
    hint = "Keys and values are what BSON has a type for."


class JobInvalid(MapReduceError):
    """A request for a job names an unknown field, lacks one, or has one of the wrong type."""

    code = "job_invalid"
    hint = "docs/protocol.md lists the fields of a request."


class JobFailed(MapReduceError):
    """A job ended with an error that is no function's."""

    code = "job_failed"
    hint = "`zcmd jobs show ID` tells what happened."


class JobCancelled(MapReduceError):
    """A job was cancelled; nothing of it was stored."""

    code = "job_cancelled"
    hint = "Run it again."


class JobUnfinished(MapReduceError):
    """A job has not ended within the time that it was waited for; it runs on."""

    code = "job_unfinished"
    retryable = True
    hint = "Wait again, or cancel it with `zcmd jobs cancel ID`."


class JobUnknown(MapReduceError):
    """There is no job with this id."""

    code = "job_unknown"
    hint = "`zcmd jobs` lists the jobs that are remembered (`jobs_max`)."


class JobsFull(MapReduceError):
    """The router has as many jobs, or clients that wait for one, as it takes."""

    code = "jobs_full"
    retryable = True
    hint = "Submit the job again when others have ended, or raise `zmr.jobs_queued_max`."


class TaskLost(MapReduceError):
    """A task was given to a worker, and nothing that can be used came back."""

    code = "task_lost"
    retryable = True
    hint = "Look at the log of the worker."


class RouterUnreachable(MapReduceError):
    """The router of map-reduce does not answer."""

    code = "router_unreachable"
    retryable = True
    hint = "Start one with `zcmd serve`, check `zmr.req_uri`, or take `executor='inline'`."


class ClusterUnreachable(MapReduceError):
    """The Dask cluster, or all of its workers, does not answer."""

    code = "cluster_unreachable"
    retryable = True
    hint = "Check `zmr.dask_address`, and that the cluster has workers."


class ShuffleCorrupt(MapReduceError):
    """Intermediate data is not what was written."""

    code = "shuffle_corrupt"
    retryable = True
    hint = "Run the job again; look at the disk of `job_root` if it happens twice."
