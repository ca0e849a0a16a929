"""`serve`, `eventlog` and `balancer`: the commands that run until they are stopped."""

from __future__ import annotations

import os
import sys
from typing import Annotated, NoReturn

import typer

from zarkov.cli.context import zcmd_of

PANEL = "Run"


def register(app: typer.Typer) -> None:
    """Add the family to zcmd."""
    app.command(rich_help_panel=PANEL)(serve)
    app.command(rich_help_panel=PANEL)(eventlog)
    app.command(rich_help_panel=PANEL)(balancer)


def serve(ctx: typer.Context) -> None:
    """Run the server: take events in, keep them, answer.

    It runs in the foreground until SIGTERM or Ctrl-C, which drain and sync before it ends. A child process that
    dies is started again. Under systemd (Type=notify) it says when it is ready.

    Example: [bold]zcmd -y development.yaml serve[/bold]
    """
    become(ctx, "zarkov.cli.serve")


def eventlog(
    ctx: typer.Context,
    server: Annotated[int | None, typer.Option(min=0, metavar="K", help="Which of several, from 0.")] = None,
) -> None:
    """Run the event server alone, without a supervisor.

    Where num_event_servers is more than 1 it is one of several, behind a balancer.

    Example: [bold]zcmd --data-dir /var/lib/zarkov eventlog[/bold]
    """
    become(ctx, "zarkov.cli.eventlog", *([] if server is None else [f"--server={server}"]))


def balancer(ctx: typer.Context) -> None:
    """Run the balancer alone: one address in front of several event servers.

    Example: [bold]zcmd --set num_event_servers=2 balancer[/bold]
    """
    become(ctx, "zarkov.cli.balancer")


def become(ctx: typer.Context, module: str, *arguments: str) -> NoReturn:
    """Turn this process into the light one, which does without typer and rich; its id stays."""
    sys.stdout.flush()
    sys.stderr.flush()
    # -P: the working directory must not supply modules of the server.
    os.execv(sys.executable, [sys.executable, "-P", "-m", module, *zcmd_of(ctx).options.argv(), *arguments])
