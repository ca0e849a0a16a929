"""`jobs`: the map-reduce jobs that ran and run, what became of them, and cancelling one."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from zarkov.cli.context import zcmd_of
from zarkov.cli.output import byte_size, print_facts, print_json, print_table
from zarkov.cli.selection import AsJson
from zarkov.config import Settings

if TYPE_CHECKING:
    from zarkov.zmr.job import Job

PANEL = "Compute"
LISTED = 20

family = typer.Typer(help="Map-reduce jobs: what runs, what ran, what it came to.", invoke_without_command=True)
JobId = Annotated[str, typer.Argument(metavar="ID", help="The job's id, as `zcmd jobs` shows it.")]


def register(app: typer.Typer) -> None:
    """Add the family to zcmd."""
    app.add_typer(family, name="jobs", rich_help_panel=PANEL)


@family.callback()
def jobs(ctx: typer.Context, as_json: AsJson = False) -> None:
    """Map-reduce jobs: what runs, what ran, what it came to. Without a command: the newest."""
    if ctx.invoked_subcommand is None:
        _list(zcmd_of(ctx).settings, LISTED, as_json)


@family.command("list")
def list_jobs(
    ctx: typer.Context,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=1000, help="At most so many.")] = LISTED,
    as_json: AsJson = False,
) -> None:
    """List the newest jobs, the latest first. `zcmd jobs` alone does so, too.

    Example: [bold]zcmd jobs list --limit 5[/bold]
    """
    _list(zcmd_of(ctx).settings, limit, as_json)


@family.command()
def show(ctx: typer.Context, job_id: JobId, as_json: AsJson = False) -> None:
    """Show a job: how far it is or how it ended, what it counted, where its time went, what failed.

    Example: [bold]zcmd jobs show 4e2723eeb240217416000001[/bold]
    """
    from zarkov.cli.wiring import open_store
    from zarkov.errors import JobUnknown
    from zarkov.zmr.jobbook import JobBook

    settings = zcmd_of(ctx).settings
    with open_store(settings) as store:
        found = JobBook(store, settings.zmr.jobs_max).get(job_id)
    if found is None:
        raise JobUnknown(f"there is no job {job_id}")
    if as_json:
        print_json(plain_job(found))
        return
    print_facts(_facts(found))
    for title, text in (("What it printed", found.printed), ("Traceback", found.traceback)):
        if text:
            print(f"\n{title}:\n{text.rstrip()}")
    if found.event is not None:
        from zarkov.codec import to_json

        print(f"\nThe event at which it failed:\n{to_json(dict(found.event))}")


@family.command()
def cancel(ctx: typer.Context, job_id: JobId, as_json: AsJson = False) -> None:
    """Cancel a job of the router; nothing of it is stored. One that is just being stored is not stopped.

    Example: [bold]zcmd jobs cancel 4e2723eeb240217416000001[/bold]
    """
    from zarkov.cli.zmr_wiring import open_router
    from zarkov.zmr.asking import RemoteJob

    job = RemoteJob(open_router(zcmd_of(ctx).settings), job_id)
    job.cancel()
    found = job.job()
    if as_json:
        print_json(plain_job(found))
    else:
        print(summary(found))


def summary(job: Job) -> str:
    """A job in one line."""
    what = _what(job)
    counted = f"{job.counters.events_mapped:,} events, {job.counters.keys_out:,} keys"
    took = _took(job)
    return f"{job.id} {what} {job.state}: {counted}" + (f", {took}" if took else "")


def plain_job(job: Job) -> dict[str, Any]:
    """A job's document as JSON has it, its query as a document."""
    import json

    from zarkov.codec import decode, to_json

    document = job.to_document()
    if isinstance(document["request"].get("query"), bytes):
        document["request"]["query"] = decode(document["request"]["query"])
    found: dict[str, Any] = json.loads(to_json(document))
    return found


def _list(settings: Settings, limit: int, as_json: bool) -> None:
    from zarkov.cli.wiring import open_store
    from zarkov.zmr.jobbook import JobBook

    with open_store(settings) as store:
        found = JobBook(store, settings.zmr.jobs_max).newest(limit)
    if as_json:
        print_json([plain_job(job) for job in found])
        return
    if not found:
        print("No jobs yet.")
        return
    print_table(
        ("id", "submitted", "job", "state", "events", "keys", "took"),
        [
            (
                job.id,
                _when(job.timings.submitted_at),
                _what(job),
                _state(job),
                job.counters.events_mapped,
                job.counters.keys_out,
                _took(job),
            )
            for job in found
        ],
        right=("events", "keys", "took"),
        whole=("id", "submitted", "events", "keys", "took"),
    )


def _facts(job: Job) -> Iterator[tuple[str, object]]:
    request, counters, progress = job.request, job.counters, job.progress
    yield "job", job.id
    yield "state", str(job.state) + (f", run {job.runs} times" if job.runs > 1 else "")
    if job.error:
        yield "error", job.error
    yield "kind", request.get("$command")
    for name in ("map", "reduce", "finalize", "func"):
        if f"{name}_name" in request:
            yield name, request[f"{name}_name"]
    if "input_names" in request:
        yield "inputs", ", ".join(request["input_names"])
        yield "query", _query(request.get("query"))
    output = request.get("output_name")
    if request.get("output_type"):
        yield "output", f"{output} ({request['output_type']})" if output else request["output_type"]
    yield "progress", _progress(job)
    if progress.get("retries"):
        yield "tasks tried again", progress["retries"]
    if progress.get("workers_lost"):
        yield "workers lost", progress["workers_lost"]
    yield "events read", counters.events_read
    yield "events mapped", counters.events_mapped
    yield "pairs", f"{counters.pairs_out:,}, {counters.pairs_combined:,} after combining"
    yield "shuffled", byte_size(counters.bytes_shuffled)
    yield "keys", counters.keys_out
    yield "submitted", _when(job.timings.submitted_at)
    yield from _spans(job)


def _spans(job: Job) -> Iterator[tuple[str, object]]:
    """How long each state took that the job came to."""
    times = job.timings
    states = ("mapping", "reducing", "finalizing", "committing")
    marks = [("queued", times.submitted_at), *((name, getattr(times, f"{name}_at")) for name in states)]
    reached = [(name, at) for name, at in marks if at is not None]
    ends = [at for _, at in reached[1:]] + [times.ended_at]
    for (name, began), ended in zip(reached, ends, strict=True):
        if ended is not None:
            yield name, f"{(ended - began).total_seconds():.3f} s"
    if (took := _took(job)) is not None:
        yield "took", took


def _state(job: Job) -> str:
    """The state, and how much of it is done."""
    progress = job.progress
    if job.state == "mapping":
        return f"mapping {progress.get('maps_done', 0):,} of {progress.get('maps_total', 0):,}"
    if job.state == "reducing":
        return f"reducing {progress.get('reduces_done', 0):,} of {progress.get('reduces_total', 0):,}"
    return str(job.state)


def _progress(job: Job) -> str:
    progress = job.progress
    maps = f"{progress.get('maps_done', 0):,} of {progress.get('maps_total', 0):,} splits"
    if not progress.get("all_read", True):
        maps += " so far"
    return f"{maps}, {progress.get('reduces_done', 0):,} of {progress.get('reduces_total', 0):,} partitions"


def _what(job: Job) -> str:
    request = job.request
    name = request.get("map_name") or request.get("func_name") or request.get("$command")
    output = request.get("output_name")
    return f"{name} -> {output}" if output else str(name)


def _took(job: Job) -> str | None:
    began, ended = job.timings.submitted_at, job.timings.ended_at
    return None if began is None or ended is None else f"{(ended - began).total_seconds():.3f} s"


def _when(at: datetime | None) -> str:
    return "" if at is None else f"{at:%Y-%m-%d %H:%M:%S}"


def _query(query: Any) -> str:
    from zarkov.codec import decode, to_json

    if isinstance(query, bytes):
        query = decode(query)
    return to_json(query) if query else "everything"
