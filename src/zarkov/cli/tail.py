"""`tail`: the latest events and those that arrive, from the journal itself or from a server that publishes them."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping
from operator import itemgetter
from typing import TYPE_CHECKING, Annotated, Any

import typer

from zarkov.cli.context import zcmd_of
from zarkov.cli.selection import AsLines, FilterText, Types, Where, filter_of
from zarkov.config import Settings
from zarkov.errors import ServerUnreachable

if TYPE_CHECKING:
    from zarkov.cli.conditions import Filter
    from zarkov.cli.scan import Chooser, Document
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
    uri: Annotated[
        str | None, typer.Option(metavar="URI", help="Follow the server that publishes there, not the journal here.")
    ] = None,
    as_json: AsLines = False,
) -> None:
    """Watch events arrive, until Ctrl-C.

    It reads the journal, so what it shows is synced; it slows nobody down. On a machine without one, --uri follows
    the server that publishes there, and the latest events before that come from MongoDB.

    Example: [bold]zcmd tail --type commit --where context.project=celery/kombu[/bold]

    Example: [bold]zcmd -y development.yaml tail --uri tcp://localhost:6545[/bold]
    """
    from zarkov.cli.scan import Chooser

    settings = zcmd_of(ctx).settings
    wanted = filter_of(filter_text, types, where)
    chooser = Chooser(wanted)
    runs = _published(settings, wanted, chooser, uri, lines) if uri else _journaled(settings, chooser, lines)
    try:
        for number, run in enumerate(runs):
            _print(run, as_json)
            if number == 0 and not follow:
                return
    except KeyboardInterrupt:
        return


def _journaled(settings: Settings, chooser: Chooser, lines: int) -> Iterator[list[Document]]:
    """From the journals here: first the latest, then those that arrive."""
    from zarkov.cli.wiring import open_journals

    _require_journal(settings)
    with open_journals(settings) as journals:
        start = journals.position
        # Between journals there is no order of arrival; ids begin with the time they were given.
        latest = [each for one in journals.journals for each in _latest(chooser, one, start[one.journal_id], lines)]
        if len(journals.journals) > 1:
            latest = sorted(latest, key=itemgetter("_id"))[-lines or len(latest) :]
        yield latest
        for chunk in journals.follow(start, stop=lambda: False, poll_s=POLL_S):
            yield chooser.documents(chunk)


def _latest(chooser: Chooser, journal: Journal, stop: int, count: int) -> list[Document]:
    """The last `count` wanted events before `stop`, oldest first."""
    found: list[Document] = []
    chunks = chooser.chunks(journal, journal.first_offset, stop, newest_first=True)
    while len(found) < count and (chunk := next(chunks, None)) is not None:
        found = chooser.documents(chunk)[-(count - len(found)) :] + found
    return found


def _published(
    settings: Settings, wanted: Filter, chooser: Chooser, uri: str, lines: int
) -> Iterator[list[Document]]:
    """From a server's PUB address, after the latest in the store; what comes in between may be shown twice or not."""
    from zarkov.cli.curve import client_keys
    from zarkov.cli.subscribe import published
    from zarkov.cli.wiring import open_store

    latest: list[Document] = []
    if lines and (settings.mongo_uri or settings.journal_dir.is_dir()):
        with open_store(settings) as store:
            latest = list(store.collection("event").find(wanted, sort=[("_id", -1)], limit=lines))[::-1]
    yield latest
    for event in published(uri, client_keys(settings)):
        if chooser.wants(event):
            yield [event]


def _require_journal(settings: Settings) -> None:
    """Raises: ServerUnreachable: there is no journal here to follow."""
    from zarkov.cli.servers import every_server
    from zarkov.cli.wiring import has_journal, require_journal

    if settings.mongo_uri and not any(has_journal(each) for each in every_server(settings)):
        raise ServerUnreachable(
            f"there is no journal in {settings.data_dir} to follow, and MongoDB tells nobody what arrives",
            hint="Run it where the server runs, or follow the server: zcmd tail --uri tcp://SERVER:6545. "
            "The latest events in MongoDB: zcmd find --sort=-timestamp.",
        )
    require_journal(settings)


def _print(documents: Iterable[Mapping[str, Any]], as_json: bool) -> None:
    from zarkov.cli.events import print_events, print_lines

    (print_lines if as_json else print_events)(documents)
    sys.stdout.flush()
