"""Is computed on: map-reduce over the event log. In reading order:

    values           when two keys are one; a key as bytes, as stored, as shown
    literals,        a function on its way to a worker
    located,
    shipping
    request, job     what is asked for; how far it is, and how it ended
    split            the input in pieces of one task each
    runs             sorted pairs and documents as bytes
    failure,         what is said when a function fails; what it prints
    printed
    forms            one output collection, or several in one pass
    inputs           what a map task reads
    shuffle, merge   from what maps yield to runs; from many runs to one
    results          documents, ready to be stored
    execute,         the tasks of a job
    rereduce,
    finalize
    scheduler        which worker does what next

These are pure: bytes or values in, bytes or instructions out. Around them:

    executors,       a job driven from this process: by itself, or with a Dask cluster
    inline, dask
    output           what becomes of the results: documents of the store, once
    asking           the router, as its clients see it
    running,         a job as its submitter follows it; its progress and its results
    submitted,
    progress,
    resultset
    client           `Zmr`
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from zarkov.zmr.client import Zmr as Zmr
    from zarkov.zmr.submitted import Job as Job

__all__ = ["Job", "Zmr"]


def __getattr__(name: str) -> Any:
    """Workers import this package too, and need no client."""
    if name == "Zmr":
        from zarkov.zmr.client import Zmr

        return Zmr
    if name == "Job":
        from zarkov.zmr.submitted import Job

        return Job
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
