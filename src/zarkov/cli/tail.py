"""`tail`: the latest events, and with --follow those that arrive, from the journal itself."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from typing import Annotated, Any

import typer

from zarkov.cli.context import zcmd_of
from zarkov.cli.selection import AsLines, FilterText, Types, Where, filter_of

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
    lines: Annotated[int, typer.Option("--lines", "-n", min=0, max=100_000, help="Latest events to begin with.")] = 10,
    follow: Annotated[bool, typer.Option("--follow/--no-follow", "-f/-F", help="Go on with those that arrive.")] = True,
    as_json: AsLines = False,
) -> None:
    """Watch events arrive, in the order of arrival, until Ctrl-C.

    It reads the journal, so what it shows is synced; it slows nobody down.

    Example: [bold]zcmd tail --type commit --where context.project=redis/redis[/bold]
    """
    from zarkov.cli.wiring import open_journal
    from zarkov.codec import decode_all
    from zarkov.store.filter import compile_filter

    wanted = filter_of(filter_text, types, where)
    matches = compile_filter(wanted)
    names = frozenset(types) if types else None
    with open_journal(zcmd_of(ctx).settings) as journal:
        start = journal.next_offset
        _print(_latest(journal, start, lines, matches, names), as_json)
        if not follow:
            return
        try:
            for chunk in journal.follow(start, stop=lambda: False, poll_s=POLL_S):
                documents = decode_all(chunk.documents_bytes())
                _print((document for document in documents if matches(document)), as_json)
        except KeyboardInterrupt:
            return


def _latest(journal: Any, stop: int, count: int, matches: Any, types: frozenset[str] | None) -> list[dict[str, Any]]:
    """The last `count` matching events before `stop`, oldest first."""
    from zarkov.codec import decode_all

    found: list[dict[str, Any]] = []
    if count == 0:
        return found
    for chunk in journal.chunks(journal.first_offset, stop, types=types, newest_first=True):
        documents = [document for document in decode_all(chunk.documents_bytes()) if matches(document)]
        found = documents[-(count - len(found)) :] + found
        if len(found) >= count:
            break
    return found


def _print(documents: Iterable[Mapping[str, Any]], as_json: bool) -> None:
    from zarkov.cli.events import print_events, print_lines

    (print_lines if as_json else print_events)(documents)
    sys.stdout.flush()
