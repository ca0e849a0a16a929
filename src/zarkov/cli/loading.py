"""`loader`: taking events to MongoDB, how far that is, and doing it again."""

from __future__ import annotations

import sys
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from zarkov.cli.context import zcmd_of
from zarkov.cli.output import EXIT_FAILED, print_facts, print_json, print_table
from zarkov.cli.selection import AsJson
from zarkov.config import Settings
from zarkov.errors import ConfigError, JournalError

if TYPE_CHECKING:
    from zarkov.cli.load_source import JournalSource

PANEL = "Look after"

family = typer.Typer(help="Taking events to MongoDB: run it, its state, doing it again.", invoke_without_command=True)


def register(app: typer.Typer) -> None:
    """Add the family to zcmd."""
    app.add_typer(family, name="loader", rich_help_panel=PANEL)


@family.callback()
def loader(ctx: typer.Context) -> None:
    """Load events into MongoDB, without a supervisor; `serve` does so by itself where mongo_uri is set.

    It waits for MongoDB as long as it takes, and for its turn while another loader runs. SIGTERM or Ctrl-C end it.

    Example: [bold]zcmd -y development.yaml loader run[/bold]
    """
    if ctx.invoked_subcommand is None:
        run(ctx)


@family.command()
def run(ctx: typer.Context) -> None:
    """Load events into MongoDB, without a supervisor; `zcmd loader` alone does the same.

    `serve` does so by itself where mongo_uri is set. It waits for MongoDB as long as it takes, and for its turn while
    another loader runs. SIGTERM or Ctrl-C end it.

    Example: [bold]zcmd -y development.yaml loader run[/bold]
    """
    from zarkov.cli.run import become

    become(ctx, "zarkov.cli.loader")


@family.command()
def status(ctx: typer.Context, as_json: AsJson = False) -> None:
    """Show how far MongoDB is behind the journal, and what the loader is doing.

    Works with and without a running loader. Exit code 1: journal and database do not fit together.

    Example: [bold]zcmd loader status[/bold]
    """
    found = read_status(zcmd_of(ctx).settings)
    if as_json:
        print_json(found)
    else:
        _show(found)
    if found["state"] == "behind":
        raise typer.Exit(EXIT_FAILED)


@family.command()
def rewind(
    ctx: typer.Context,
    to: Annotated[
        int | None, typer.Option("--to", min=0, metavar="OFFSET", help="Where to begin; else as far back as needed.")
    ] = None,
    journal: Annotated[str | None, typer.Option("--journal", metavar="NAME", help="Only this of several.")] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Load events again, after MongoDB was restored from a backup or emptied. Asks first.

    Events that MongoDB has already are recognised by their `_id`, so that going back too far costs time only. A
    running loader takes it up by itself.

    Example: [bold]zcmd loader rewind --to 1000000 --yes[/bold]
    """
    from zarkov.cli.ask import agreed
    from zarkov.cli.load_source import open_sources

    settings = zcmd_of(ctx).settings
    with open_sources(settings) as sources:
        chosen = _chosen(sources, journal, several_are_wrong=to is not None)
        starts = [_start(settings, source, to) for source in chosen]
        for source, (start, lost) in zip(chosen, starts, strict=True):
            name = source.server.journal
            print(f"{name}: from offset {start:,}, {source.next_offset - start:,} offsets to the end.")
            if lost:
                print(f"{name}: offsets {start - lost:,} to {start - 1:,} are in neither MongoDB nor the journal.")
        if not yes and not agreed("Load these again? [y/N] "):
            print("Nothing was changed.", file=sys.stderr)
            raise typer.Exit(EXIT_FAILED)
        for source, (start, _) in zip(chosen, starts, strict=True):
            _ask(settings, source, start)
    print("The loader begins there, now or when it runs next; `zcmd loader status` shows how far it is.")


def read_status(settings: Settings) -> dict[str, Any]:
    """The loader's last word on itself, and each journal against it; `state` is `not running` where none runs."""
    from zarkov.cli.load_source import open_sources
    from zarkov.cli.loader_lock import StatusFile, holder, lock_path

    pid = holder(lock_path(settings))
    said = StatusFile(settings).read()
    current = pid is not None and said.get("pid") == pid
    found: dict[str, Any] = {"state": said["state"] if current else "starting" if pid else "not running", "pid": pid}
    if current:
        found["since"] = _when(said["since_ms"])
        found |= {key: said[key] for key in ("reason", "code", "hint") if said[key]}
        found |= {key: said[key] for key in ("loaded", "retried", "repeated", "rejected")}
        found["events_per_s"] = round(said["rate"])
    with open_sources(settings) as sources:
        found["journals"] = [_progress(source) for source in sources]
    return found


def _progress(source: JournalSource) -> dict[str, Any]:
    loaded_to, end = source.loaded_to(), source.next_offset
    start = source.first_offset if loaded_to is None else max(loaded_to, source.first_offset)
    return {
        "journal": source.server.journal,
        "journal_id": source.journal_id,
        "loaded_to": loaded_to,
        "end": end,
        "behind_events": source.count(start, end),
    }


def _show(found: dict[str, Any]) -> None:
    print_facts((name.replace("_", " "), value) for name, value in found.items() if name != "journals")
    print()
    columns = ("journal", "loaded to", "end", "behind")
    rows = [(each["journal"], each["loaded_to"], each["end"], each["behind_events"]) for each in found["journals"]]
    print_table(columns, rows, right=columns[1:])


def _chosen(sources: list[JournalSource], name: str | None, *, several_are_wrong: bool) -> list[JournalSource]:
    names = ", ".join(source.server.journal for source in sources)
    chosen = [source for source in sources if name in (None, source.server.journal)]
    if not chosen:
        raise JournalError(f"there is no journal {name or ''}".rstrip(), hint=f"There are: {names or 'none'}.")
    if several_are_wrong and len(chosen) > 1:
        raise ConfigError("each of several journals has its own offsets", hint=f"Name one with --journal: {names}.")
    return chosen


def _start(settings: Settings, source: JournalSource, to: int | None) -> tuple[int, int]:
    """Where to begin with a journal, and how many offsets before that are in neither place.

    Without `to`, that is where MongoDB's checkpoint is, if it still has the last event before it; else the first
    offset of the journal.
    """
    from zarkov.cli.load_source import Target
    from zarkov.store.load_check import safe_start

    first, end = source.first_offset, source.next_offset
    if to is not None:
        return min(max(to, first), end), 0
    with Target(settings) as target:
        known = safe_start(source, target.database())
    return min(max(known, first), end), max(0, first - known)


def _ask(settings: Settings, source: JournalSource, start: int) -> None:
    from zarkov.cli.load_source import Target
    from zarkov.store.load_check import ask_rewind

    # Held first: where no loader runs, retention must not take what the next one is to load.
    source.hold_at(start)
    with Target(settings) as target:
        ask_rewind(target.database(), source.journal_id, start)


def _when(at_ms: int) -> str:
    at = datetime.fromtimestamp(at_ms / 1000, UTC)
    age_s = max(0, int(time.time() - at_ms / 1000))
    return f"{at:%Y-%m-%d %H:%M:%S} ({age_s:,} s ago)"
