"""`rejected`: what was refused, why, and giving it another try."""

from __future__ import annotations

import sys
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from zarkov.cli.context import zcmd_of
from zarkov.cli.output import EXIT_FAILED, print_facts, print_json, print_table
from zarkov.cli.selection import AsJson
from zarkov.errors import ConfigError

if TYPE_CHECKING:
    from zarkov.journal.rejected import Kept

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
    after: Annotated[int, typer.Option(min=0, help="Only ids beyond this one.")] = 0,
    as_json: AsJson = False,
) -> None:
    """List rejected events, oldest first: id, time, source, code, reason, and how the bytes begin.

    Example: [bold]zcmd rejected list --limit 100[/bold]
    """
    from zarkov.cli.wiring import open_rejected

    with open_rejected(zcmd_of(ctx).settings) as rejected:
        page = rejected.list(limit, after) if rejected else []
        stats = rejected.stats() if rejected else None
    if as_json:
        print_json([_facts(kept) for kept in page])
        return
    if page:
        print_table(
            ("id", "at", "source", "code", "reason", "bytes", "data"),
            [
                (str(f["id"]), f["at"], f["source"], f["code"], f["reason"], f["bytes"], _preview(k))
                for k in page
                if (f := _facts(k))
            ],
            right=("id", "bytes"),
        )
    count, dropped = (stats.count, stats.dropped_count) if stats else (0, 0)
    shown = f"{len(page):,} of " if len(page) < count else ""
    print(f"{shown}{count:,} rejected events; {dropped:,} older ones left to make room.", file=sys.stderr)


@family.command()
def show(
    ctx: typer.Context,
    rejected_id: Annotated[int, typer.Argument(metavar="ID", help="As `rejected list` shows it.")],
    raw: Annotated[bool, typer.Option("--raw", help="Only the bytes as they came, on standard output.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show one rejected event: why it was refused, and what came.

    Example: [bold]zcmd rejected show 7 --raw > event.bson[/bold]
    """
    from zarkov.cli.wiring import open_rejected

    with open_rejected(zcmd_of(ctx).settings) as rejected:
        kept = rejected.get(rejected_id) if rejected else None
    if kept is None:
        raise ConfigError(
            f"there is no rejected event {rejected_id}", hint="`zcmd rejected list` shows which there are."
        )
    if raw:
        sys.stdout.buffer.write(kept.rejection.data)
    elif as_json:
        import base64

        print_json({**_facts(kept), "data": base64.b64encode(kept.rejection.data).decode()})
    else:
        print_facts(_facts(kept).items())
        print(f"\n{_readable(kept)}")


@family.command()
def replay(
    ctx: typer.Context,
    ids: Annotated[list[int] | None, typer.Argument(metavar="ID...", help="Which; all without.")] = None,
    as_json: AsJson = False,
) -> None:
    """Give rejected events another try: those that are taken now leave, the others stay.

    Useful after a limit was raised. Works with and without a running server.

    Example: [bold]zcmd rejected replay[/bold]
    """
    import base64

    from rich.progress import Progress

    from zarkov.cli.operations import taker
    from zarkov.cli.output import console, plain
    from zarkov.cli.replay import replay as try_again
    from zarkov.cli.wiring import open_journal, open_rejected

    settings = zcmd_of(ctx).settings
    with open_rejected(settings, writing=True) as rejected:
        if rejected is None:
            print("Nothing was ever rejected here.", file=sys.stderr)
            return
        with (
            taker(settings) as take,
            open_journal(settings) as journal,
            Progress(console=console(stderr=True), disable=not sys.stderr.isatty(), transient=True) as bar,
        ):
            task = bar.add_task("replaying", total=len(ids) if ids else rejected.stats().count)
            result = try_again(
                rejected,
                ids or None,
                lambda data, form: take({"data": base64.b64encode(data).decode(), "format": form}),
                lambda oid: found[1] if (found := journal.find_id(oid)) else None,
                lambda count: bar.advance(task, count),
                until_ms=int(time.time() * 1000),
            )
    if as_json:
        print_json(plain(result))
    else:
        reasons = ", ".join(f"{code} {count:,}" for code, count in sorted(result.codes.items()))
        print(f"{result.stored:,} stored, {result.known:,} stored before, {result.refused:,} refused again")
        if reasons:
            print(reasons)
    if result.refused:
        raise typer.Exit(EXIT_FAILED)


@family.command()
def purge(
    ctx: typer.Context,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Delete all rejected events. Asks first.

    Example: [bold]zcmd rejected purge --yes[/bold]
    """
    from zarkov.cli.ask import agreed
    from zarkov.cli.wiring import open_rejected

    with open_rejected(zcmd_of(ctx).settings, writing=True) as rejected:
        count = rejected.stats().count if rejected else 0
        if rejected is not None and count:
            if not yes and not agreed(f"Delete {count:,} rejected events? [y/N] "):
                print("Nothing was deleted.", file=sys.stderr)
                raise typer.Exit(EXIT_FAILED)
            count = rejected.purge()
    print(f"Deleted {count:,} rejected events.")


def _facts(kept: Kept) -> dict[str, Any]:
    found = kept.rejection
    at = datetime.fromtimestamp(found.at_ms / 1000, UTC).replace(tzinfo=None)
    return {
        "id": kept.id,
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
