"""`rejected`: what was refused, why, and giving it another try."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from zarkov.cli.context import zcmd_of
from zarkov.cli.output import EXIT_FAILED, print_facts, print_json, print_table
from zarkov.cli.selection import AsJson
from zarkov.config import Settings
from zarkov.errors import ConfigError

if TYPE_CHECKING:
    from zarkov.cli.replay import Replayed
    from zarkov.journal.rejected import Kept, RejectedStore

PANEL = "Look after"
PREVIEW_CHARACTERS = 60

family = typer.Typer(help="Events that were refused, and why.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    """Add the family to zcmd."""
    app.add_typer(family, name="rejected", rich_help_panel=PANEL)


@family.command("list")
def list_rejected(
    ctx: typer.Context,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, help="At most so many.")] = 20,
    after: Annotated[str, typer.Option(metavar="ID", help="Only ids beyond this one.")] = "0",
    as_json: AsJson = False,
) -> None:
    """List rejected events, oldest first: id, time, source, code, reason, and how the bytes begin.

    Each of several event servers keeps its own: they follow one another, with ids such as 1.7 from the second on.

    Example: [bold]zcmd rejected list --limit 100[/bold]
    """
    place = _place_of(after)
    page: list[tuple[int, Kept]] = []
    count = dropped = 0
    for number, rejected in _each(zcmd_of(ctx).settings):
        stats = rejected.stats()
        count, dropped = count + stats.count, dropped + stats.dropped_count
        if number >= place[0] and len(page) < limit:
            first = place[1] if number == place[0] else 0
            page += [(number, kept) for kept in rejected.list(limit - len(page), first)]
    if as_json:
        print_json([_facts(kept, number) for number, kept in page])
        return
    if page:
        print_table(
            ("id", "at", "source", "code", "reason", "bytes", "data"),
            [
                (str(f["id"]), f["at"], f["source"], f["code"], f["reason"], f["bytes"], _preview(k))
                for number, k in page
                if (f := _facts(k, number))
            ],
            right=("id", "bytes"),
        )
    shown = f"{len(page):,} of " if len(page) < count else ""
    print(f"{shown}{count:,} rejected events; {dropped:,} older ones left to make room.", file=sys.stderr)


@family.command()
def show(
    ctx: typer.Context,
    rejected_id: Annotated[str, typer.Argument(metavar="ID", help="As `rejected list` shows it.")],
    raw: Annotated[bool, typer.Option("--raw", help="Only the bytes as they came, on standard output.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show one rejected event: why it was refused, and what came.

    Example: [bold]zcmd rejected show 7 --raw > event.bson[/bold]
    """
    place = _place_of(rejected_id)
    found = (rejected.get(place[1]) for number, rejected in _each(zcmd_of(ctx).settings) if number == place[0])
    kept = next(found, None)
    if kept is None:
        raise ConfigError(
            f"there is no rejected event {rejected_id}", hint="`zcmd rejected list` shows which there are."
        )
    if raw:
        sys.stdout.buffer.write(kept.rejection.data)
    elif as_json:
        import base64

        print_json({**_facts(kept, place[0]), "data": base64.b64encode(kept.rejection.data).decode()})
    else:
        print_facts(_facts(kept, place[0]).items())
        print(f"\n{_readable(kept)}")


@family.command()
def replay(
    ctx: typer.Context,
    ids: Annotated[list[str] | None, typer.Argument(metavar="ID...", help="Which; all without.")] = None,
    as_json: AsJson = False,
) -> None:
    """Give rejected events another try: those that are taken now leave, the others stay.

    Useful after a limit was raised. Works with and without a running server.

    Example: [bold]zcmd rejected replay[/bold]
    """
    from zarkov.cli.output import plain
    from zarkov.cli.replay import Replayed
    from zarkov.cli.servers import every_server

    settings = zcmd_of(ctx).settings
    places = [_place_of(each) for each in ids or ()]
    result = Replayed()
    servers = [server for server in every_server(settings) if server.rejected_path.exists()]
    if not servers:
        print("Nothing was ever rejected here.", file=sys.stderr)
        return
    for server in servers:
        chosen = [each for number, each in places if number == server.server] if places else None
        if chosen is None or chosen:
            result.add(_replay_on(server, settings, chosen))
    if as_json:
        print_json(plain(result))
    else:
        reasons = ", ".join(f"{code} {count:,}" for code, count in sorted(result.codes.items()))
        print(f"{result.stored:,} stored, {result.known:,} stored before, {result.refused:,} refused again")
        if reasons:
            print(reasons)
    if result.refused:
        raise typer.Exit(EXIT_FAILED)


def _replay_on(server: Settings, settings: Settings, ids: Sequence[int] | None) -> Replayed:
    """Give the rejected events of one event server another try there."""
    import base64

    from rich.progress import Progress

    from zarkov.cli.operations import taker
    from zarkov.cli.output import console
    from zarkov.cli.replay import replay as try_again
    from zarkov.cli.wiring import open_journals, open_rejected

    with (
        open_rejected(server, writing=True) as rejected,
        taker(server) as take,
        open_journals(settings) as journals,
        Progress(console=console(stderr=True), disable=not sys.stderr.isatty(), transient=True) as bar,
    ):
        assert rejected is not None
        task = bar.add_task("replaying", total=len(ids) if ids else rejected.stats().count)
        return try_again(
            rejected,
            ids,
            lambda data, form: take({"data": base64.b64encode(data).decode(), "format": form}),
            journals.find_id,
            lambda count: bar.advance(task, count),
            until_ms=int(time.time() * 1000),
        )


@family.command()
def purge(
    ctx: typer.Context,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Delete all rejected events. Asks first.

    Example: [bold]zcmd rejected purge --yes[/bold]
    """
    from zarkov.cli.ask import agreed

    settings = zcmd_of(ctx).settings
    count = sum(rejected.stats().count for _, rejected in _each(settings))
    if count:
        if not yes and not agreed(f"Delete {count:,} rejected events? [y/N] "):
            print("Nothing was deleted.", file=sys.stderr)
            raise typer.Exit(EXIT_FAILED)
        count = sum(rejected.purge() for _, rejected in _each(settings, writing=True))
    print(f"Deleted {count:,} rejected events.")


def _each(settings: Settings, *, writing: bool = False) -> Iterator[tuple[int, RejectedStore]]:
    """The rejected events of each event server that keeps some, with its number; open until the next."""
    from zarkov.cli.servers import every_server
    from zarkov.cli.wiring import open_rejected

    for server in every_server(settings):
        with open_rejected(server, writing=writing) as rejected:
            if rejected is not None:
                yield server.server, rejected


def _place_of(text: str) -> tuple[int, int]:
    """`7` is number 7 of the first event server, `1.7` of the second. Raises: ConfigError: it is no id."""
    server, _, number = text.rpartition(".")
    if not number.isdecimal() or not (server or "0").isdecimal():
        raise ConfigError(f"{text[:40]!r} is no id of a rejected event", hint="`zcmd rejected list` shows them.")
    return int(server or "0"), int(number)


def _facts(kept: Kept, server: int) -> dict[str, Any]:
    found = kept.rejection
    at = datetime.fromtimestamp(found.at_ms / 1000, UTC).replace(tzinfo=None)
    return {
        "id": f"{server}.{kept.id}" if server else kept.id,
        "at": at.isoformat(" ", "milliseconds"),
        "source": found.source,
        "code": found.code,
        "reason": found.reason,
        "bytes": len(found.data),
    }


def _preview(kept: Kept) -> str:
    text = _readable(kept, bytes_max=4 * PREVIEW_CHARACTERS).split("\n")[0]
    return text if len(text) <= PREVIEW_CHARACTERS else text[: PREVIEW_CHARACTERS - 1] + "…"


def _readable(kept: Kept, bytes_max: int | None = None) -> str:
    """The bytes as JSON if they are BSON, as text if they are text, else escaped."""
    from zarkov.cli.events import clean
    from zarkov.cli.replay import form_of
    from zarkov.codec import decode_all, to_json
    from zarkov.errors import EventRefused

    data = kept.rejection.data
    if form_of(kept.rejection) == "bson" and (bytes_max is None or len(data) <= 65_536):
        try:
            documents = decode_all(data)
            if documents:
                return "\n".join(clean(to_json(document)) for document in documents)
        except (EventRefused, ValueError, TypeError):
            pass
    text = data[:bytes_max].decode("utf-8", "backslashreplace")
    return "\n".join(clean(line) for line in text.split("\n"))
