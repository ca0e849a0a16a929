"""`journal`: what is in the journal, whether it is sound, and mending it."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from zarkov.cli.context import zcmd_of
from zarkov.cli.output import EXIT_FAILED
from zarkov.cli.selection import AsLines

PANEL = "Look after"

family = typer.Typer(help="The journal: what is in it, whether it is sound, mending it.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    """Add the family to zcmd."""
    app.add_typer(family, name="journal", rich_help_panel=PANEL)


@family.command()
def dump(
    ctx: typer.Context,
    start: Annotated[
        int | None, typer.Option("--from-offset", min=0, help="First offset; else the first there is.")
    ] = None,
    stop: Annotated[int | None, typer.Option("--to-offset", min=0, help="Before this offset; else the end.")] = None,
    as_json: AsLines = False,
) -> None:
    """Print events with their offsets, in order: one a line, with --json as {"offset": ..., "event": {...}}.

    Example: [bold]zcmd journal dump --from-offset 1000 --to-offset 1010[/bold]
    """
    from zarkov.cli.events import line
    from zarkov.cli.wiring import open_journal
    from zarkov.codec import to_json

    colour = sys.stdout.isatty()
    with open_journal(zcmd_of(ctx).settings) as journal:
        first = journal.first_offset if start is None else start
        for offset, event in journal.read(first, stop):
            if as_json:
                sys.stdout.write(f'{{"offset": {offset}, "event": {to_json(event)}}}\n')
            else:
                sys.stdout.write(f"{offset:>12,}  {line(event, colour=colour)}\n")
        if journal.corrupt:
            print(f"{len(journal.corrupt):,} damaged places were skipped: `zcmd journal verify`.", file=sys.stderr)
            raise typer.Exit(EXIT_FAILED)
