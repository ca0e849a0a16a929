"""`perftest`: send events at a rate and say how it went."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from zarkov.cli.context import zcmd_of
from zarkov.cli.output import EXIT_FAILED, print_facts, print_json

if TYPE_CHECKING:
    from zarkov.cli.load import Result

PANEL = "Look after"


def register(app: typer.Typer) -> None:
    """Add the command to zcmd."""
    app.command(rich_help_panel=PANEL)(perftest)


def perftest(
    ctx: typer.Context,
    uri: Annotated[str, typer.Argument(help="Where to send: bson_bind_address, or ack_bind_address with --ack.")],
    count: Annotated[int, typer.Argument(metavar="N", min=1, help="Events in all.")],
    concurrency: Annotated[int, typer.Argument(metavar="CONCURRENCY", min=1, max=256, help="Clients at once.")],
    rate: Annotated[float, typer.Argument(metavar="RATE", min=0, help="Events a second in all; 0: all they can.")],
    ack: Annotated[bool, typer.Option("--ack", help="Acknowledged, with the latency until the sync.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
) -> None:
    """Send N events of type perftest, and print how it went.

    The rate, and with --ack the latency of acknowledgements. A server with keys is sent to with the client's keys of
    the settings (curve).

    Example: [bold]zcmd perftest tcp://localhost:6543 1000 1 100[/bold]

    Example: [bold]zcmd perftest tcp://localhost:6546 100000 2 10000 --ack[/bold]
    """
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from zarkov.cli.curve import client_keys
    from zarkov.cli.load import Load
    from zarkov.cli.output import console

    load = Load(uri, count, concurrency, rate, ack=ack, keys=client_keys(zcmd_of(ctx).settings))
    columns = (TextColumn("sending"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console(stderr=True), disable=not sys.stderr.isatty(), transient=True) as bar:
        task = bar.add_task("sending", total=count)
        result = load.run(lambda sent: bar.update(task, completed=sent))
    facts = _facts(result, ack)
    if as_json:
        print_json(facts)
    else:
        print_facts(
            (name.removesuffix("_s") if name.startswith("latency") else name, _shown(name, value))
            for name, value in facts.items()
        )
    if result.refused:
        raise typer.Exit(EXIT_FAILED)


def _facts(result: Result, ack: bool) -> dict[str, Any]:
    facts: dict[str, Any] = {
        "sent": result.sent,
        "elapsed_s": round(result.elapsed_s, 3),
        "events_per_s": round(result.sent / result.elapsed_s, 1),
    }
    if ack:
        facts |= {"acknowledged": result.acknowledged, "refused": result.refused}
        facts |= {f"latency_p{share}_s": round(result.latency.percentile_s(share / 100), 6) for share in (50, 90, 99)}
        facts["latency_max_s"] = round(result.latency.max_s, 6)
    return facts


def _shown(name: str, value: float) -> str:
    if name.startswith("latency"):
        return f"{value * 1000:.2f} ms"
    return f"{value:,}"
