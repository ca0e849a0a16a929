"""`tail`: the latest events and those that arrive, from the journal itself."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from zarkov.cli.context import zcmd_of
from zarkov.cli.selection import AsLines, FilterText, Types, Where, filter_of

if TYPE_CHECKING:
    from zarkov.cli.scan import Chooser
    from zarkov.journal.reader import Journal

PANEL = "Ask"
POLL_S = 0.05


def register(app: typer.Typer) -> None:
    """Add the command to zcmd."""
    app.command(rich_help_panel=PANEL)(tail)


def tail(
    ctx: typer.Context,
    filter_text: FilterText = None,
    types: Types = None,
    where: Where = None,
    lines: Annotated[
        int, typer.Option("--lines", "-n", min=0, max=100_000, help="Latest events to begin with.")
    ] = 10,
    follow: Annotated[
        bool, typer.Option("--follow/--no-follow", "-f/-F", help="Go on with those that arrive.")
    ] = True,
    as_json: AsLines = False,
) -> None:
    """Watch events arrive, until Ctrl-C.

    It reads the journal, so what it shows is synced; it slows nobody down.

    Example: [bold]zcmd tail --type commit --where context.project=celery/kombu[/bold]
    """
    from zarkov.cli.scan import Chooser
    from zarkov.cli.wiring import open_journal

    chooser = Chooser(filter_of(filter_text, types, where))
    with open_journal(zcmd_of(ctx).settings) as journal:
        start = journal.next_offset
        _print(_latest(chooser, journal, start, lines), as_json)
        if not follow:
            return
        try:
            for chunk in journal.follow(start, stop=lambda: False, poll_s=POLL_S):
                _print(chooser.documents(chunk), as_json)
        except KeyboardInterrupt:
            return


def _latest(chooser: Chooser, journal: Journal, stop: int, count: int) -> list[dict[str, Any]]:
    """The last `count` wanted events before `stop`, oldest first."""
    found: list[dict[str, Any]] = []
    chunks = chooser.chunks(journal, journal.first_offset, stop, newest_first=True)
    while len(found) < count and (chunk := next(chunks, None)) is not None:
        found = chooser.documents(chunk)[-(count - len(found)) :] + found
    return found


def _print(documents: Iterable[Mapping[str, Any]], as_json: bool) -> None:
    from zarkov.cli.events import print_events, print_lines

    (print_lines if as_json else print_events)(documents)
    sys.stdout.flush()
