"""`mapreduce`: run a job from a file that defines its functions."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from zarkov.cli.context import zcmd_of
from zarkov.cli.output import print_json
from zarkov.cli.selection import AsJson, Since, Until, Where, filter_of
from zarkov.errors import ConfigError

if TYPE_CHECKING:
    from zarkov.zmr import Job, Zmr

PANEL = "Compute"
#: A reduce that also takes the collection is that of xmapreduce.
X_REDUCE_ARGUMENTS = 3

OutputType = Literal["replace", "merge", "reduce", "inline"]
Executor = Literal["zmr", "inline", "dask"]


def register(app: typer.Typer) -> None:
    """Add the command to zcmd."""
    app.command(rich_help_panel=PANEL)(mapreduce)


def mapreduce(
    ctx: typer.Context,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A Python file with map, reduce, maybe finalize.")],
    query: Annotated[str | None, typer.Option("--query", "-q", metavar="JSON", help="A MongoDB filter.")] = None,
    where: Where = None,
    since: Since = None,
    until: Until = None,
    inputs: Annotated[
        list[str] | None,
        typer.Option("--input", "-i", metavar="NAME", help="Collection to read; default event and event.0."),
    ] = None,
    output: Annotated[
        str | None, typer.Option("--output", "-o", metavar="NAME", help="Collection of the results; else printed.")
    ] = None,
    output_type: Annotated[
        OutputType | None, typer.Option("--type", help="What becomes of those that are there: replace by default.")
    ] = None,
    executor: Annotated[Executor | None, typer.Option(help="Where it runs; default zmr.executor.")] = None,
    reduce_count: Annotated[int | None, typer.Option(min=1, help="Partitions of the map output.")] = None,
    event_limit: Annotated[int | None, typer.Option(min=1, help="Events read, at most.")] = None,
    detach: Annotated[bool, typer.Option("--detach", help="Print the job's id, and do not wait.")] = False,
    as_json: AsJson = False,
) -> None:
    """Run map-reduce over the events, with the functions of a file.

    `map(events)` yields (key, value), `reduce(key, values)` returns a value, `finalize(documents)` yields documents.
    A reduce that takes (collection, key, values) fills several collections: its map yields {c, k, v}. Ctrl-C cancels
    the job.

    Example: [bold]zcmd mapreduce my_job.py --query '{"type": "commit"}' --output commits_by_project[/bold]

    Example: [bold]zcmd mapreduce my_job.py --from 2011-07-01 --to 2011-08-01 --executor inline[/bold]
    """
    from zarkov.cli.zmr_wiring import open_zmr

    functions = _functions_of(file)
    wanted = filter_of(query, None, where, since, until)
    with open_zmr(zcmd_of(ctx).settings) as zmr:
        options: dict[str, Any] = {
            "query": wanted,
            "inputs": tuple(inputs) if inputs else ("event", "event.0"),
            "executor": executor,
            "reduce_count": reduce_count,
            "event_limit": event_limit,
        }
        job = _submit(zmr, functions, options, output, output_type)
        if detach:
            _refuse_detached(executor or zcmd_of(ctx).settings.zmr.executor)
            print(job.id)
            return
        _wait(job)
        _show(job, as_json)


def _functions_of(file: Path) -> dict[str, Any]:
    """The file's map, reduce and finalize. Raises: ConfigError: it is no Python, or lacks one."""
    import runpy
    import traceback

    if not file.is_file():
        raise ConfigError(f"{file} is not a file", hint="Name a Python file that defines map and reduce.")
    sys.path.insert(0, str(file.resolve().parent))
    try:
        names = runpy.run_path(str(file), run_name=file.stem)
    except Exception as error:  # noqa: BLE001  # the file's own fault: its author needs the traceback
        traceback.print_exception(error, limit=-1)
        raise ConfigError(f"{file} cannot be run: {error}", hint="Its functions are defined by running it.") from None
    missing = [name for name in ("map", "reduce") if not callable(names.get(name))]
    if missing:
        raise ConfigError(
            f"{file} defines no {' and no '.join(missing)}", hint="docs/map-reduce.md shows such a file."
        )
    return {name: names[name] for name in ("map", "reduce", "finalize") if callable(names.get(name))}


def _submit(
    zmr: Zmr, functions: dict[str, Any], options: dict[str, Any], output: str | None, output_type: OutputType | None
) -> Job:
    import inspect

    if output_type == "inline" and output is not None:
        raise ConfigError("--type inline prints the results, and --output names a collection for them")
    if len(inspect.signature(functions["reduce"]).parameters) >= X_REDUCE_ARGUMENTS:
        if output is not None:
            raise ConfigError("--output is for one collection; the map of this file names its own (`c`)")
        return zmr.xmapreduce(**functions, **options, output_type=output_type or "replace")
    if output is None and output_type not in (None, "inline"):
        raise ConfigError(f"--type {output_type} needs --output", hint="Name the collection of the results.")
    return zmr.mapreduce(**functions, **options, output=output, output_type=output_type)


def _refuse_detached(executor: str) -> None:
    if executor != "zmr":
        raise ConfigError(f"a job of the executor {executor} runs in this process, and ends with it")


def _wait(job: Job) -> None:
    try:
        job.wait()
    except KeyboardInterrupt:
        print("\nCancelling the job ...", file=sys.stderr)
        job.cancel()
        job.wait()


def _show(job: Job, as_json: bool) -> None:
    """The results that are returned, one a line; of those that were stored the first, and where they are."""
    from zarkov.cli.events import print_lines
    from zarkov.cli.jobs import plain_job, summary

    record = job.status()
    results = job.result()
    if as_json and record.request.get("output_type") != "inline":
        print_json(plain_job(record))
        return
    if record.request.get("output_type") == "inline" and record.request["$command"] == "mapreduce":
        print_lines(results)
    elif isinstance(results, dict):
        for name, found in results.items():
            print(f"{name}: {len(found):,} documents")
    print(summary(record), file=sys.stderr)
