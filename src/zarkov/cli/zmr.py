"""`zmr-router`, `zmr-worker` and `zmr-clean`: the processes of map-reduce, and what they leave behind."""

from __future__ import annotations

import shutil
from typing import Annotated

import typer

from zarkov.cli.context import zcmd_of
from zarkov.cli.run import PANEL, become


def register(app: typer.Typer) -> None:
    """Add the family to zcmd."""
    app.command("zmr-router", rich_help_panel=PANEL)(zmr_router)
    app.command("zmr-worker", rich_help_panel=PANEL)(zmr_worker)
    app.command("zmr-clean", rich_help_panel=PANEL)(zmr_clean)


def zmr_router(ctx: typer.Context) -> None:
    """Run the router of map-reduce alone; [bold]serve[/bold] runs one too.

    It reads the log and the store, and gives workers their tasks.

    Example: [bold]zcmd -y development.yaml zmr-router[/bold]
    """
    become(ctx, "zarkov.cli.zmr_router")


def zmr_worker(
    ctx: typer.Context,
    processes: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Processes [dim](zmr.processes_per_worker)[/dim].")
    ] = None,
) -> None:
    """Run workers of map-reduce, here or on another machine.

    They take tasks from the router at zmr.req_uri and zmr.worker_uri, and need nothing but that and their keys.

    Example: [bold]zcmd --set zmr.req_uri=tcp://10.0.0.5:5555 --set zmr.worker_uri=tcp://10.0.0.5 zmr-worker[/bold]
    """
    become(ctx, "zarkov.cli.zmr_worker", *([] if processes is None else [f"--processes={processes}"]))


def zmr_clean(ctx: typer.Context) -> None:
    """Remove the intermediate data that killed routers left behind.

    Data of jobs that run stays.

    Example: [bold]zcmd zmr-clean[/bold]
    """
    from zarkov.zmr.spill import leftovers

    job_root = zcmd_of(ctx).settings.zmr.job_root
    folders = leftovers(job_root)
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)
    jobs = "1 job" if len(folders) == 1 else f"{len(folders):,} jobs"
    print(f"Removed the data of {jobs} from {job_root}.")
