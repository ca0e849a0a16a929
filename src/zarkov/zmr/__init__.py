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
    tasks            the same as values that travel
    scheduler        which worker does what next
    wire             the router's two protocols
    attendance,      which workers there are; which job may begin
    turns

These are pure: bytes or values in, bytes or instructions out. Around them:

    spill, kept      intermediate data between two stages
    reading          a job's input, page by page
    driver, site     one job as every executor drives it, and what jobs share
    executors,       a job driven from this process: by itself, or with a Dask cluster
    inline, dask
    output           what becomes of the results: documents of the store, once
    jobbook          ZM.job: the jobs that are known
    asking           the router, as its clients see it
    running,         a job as its submitter follows it; its progress and its results
    submitted,
    progress,
    resultset
    client           `Zmr`

The router, in greenlets of one thread:

    doors, desk      its sockets; what clients ask, answered
    ledger, held,    all jobs, carried out
    conductor
    router           Router: all of it, started and stopped together

A worker, in a process of its own, without greenlets:

    limits, scratch  what it may use; more bytes than memory should hold
    pulse, worker    its signs of life; its tasks
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
