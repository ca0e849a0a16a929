"""`init`: start from nothing (drop everything stored), or write a settings file to start from."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from zarkov.cli.ask import agreed
from zarkov.cli.context import zcmd_of
from zarkov.cli.output import EXIT_FAILED, warn
from zarkov.config import Settings
from zarkov.errors import ConfigError, JournalLocked

PANEL = "Set up"
DEFAULT_FILE = Path("zarkov.yaml")


def register(app: typer.Typer) -> None:
    """Add the command to zcmd."""
    app.command(rich_help_panel=PANEL)(init)


def init(
    ctx: typer.Context,
    path: Annotated[Path | None, typer.Argument(metavar="PATH", help="With --config: the file to write.")] = None,
    config: Annotated[bool, typer.Option("--config", help="Write a commented settings file instead.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Drop the database, or write a settings file.

    It drops all events, rejected events and documents, and asks first. While a server runs it does the work
    itself and goes on taking events. Offsets are not given again. With MongoDB its collections go too, those of
    other programs in the same database included.

    Example: [bold]zcmd -y development.yaml init --yes[/bold]

    With --config it writes a settings file that explains every key and changes none.

    Example: [bold]zcmd init --config zarkov.yaml[/bold]
    """
    if config:
        _write_config(path or DEFAULT_FILE)
        return
    if path is not None:
        raise ConfigError(
            f"init takes no path without --config, not {path}", hint="zcmd init --config PATH writes one."
        )
    settings = zcmd_of(ctx).settings
    where = f"{settings.data_dir}"
    if settings.mongo_uri:
        where += f" and in MongoDB's database {settings.mongo_database}"
    if not yes and not agreed(f"Drop all events, rejected events and documents in {where}? [y/N] "):
        print("Nothing was dropped.", file=sys.stderr)
        raise typer.Exit(EXIT_FAILED)
    _drop(settings)
    print(f"Dropped all events, rejected events and documents in {where}.")


def _drop(settings: Settings) -> None:
    """Events and rejected events first, through whoever holds the journal; then MongoDB's, then the documents."""
    from zarkov.cli.generations import drop_all
    from zarkov.cli.loader_lock import try_lock
    from zarkov.cli.wiring import open_store

    with try_lock(settings.data_dir / "rotate.lock") as alone:
        if not alone:
            raise JournalLocked("a rotate or another init runs", hint="Try again when it is done.")
        answers = drop_all(settings)
        if settings.mongo_uri:
            _drop_in_mongo(settings)
        elif not all(answer["removed"] for answer in answers):
            warn("some events are still waited for by a reader and are dropped behind it")
        with open_store(settings) as store:
            store.drop_database()


def _drop_in_mongo(settings: Settings) -> None:
    """Nothing dropped is loaded any more: the loader passes it by, and `event` is what came in since."""
    from zarkov.cli.mongo_dump import drop_old
    from zarkov.cli.passing import newest_generation, wait_passed

    wait_passed(settings, newest_generation(settings))
    drop_old(settings)


def _write_config(path: Path) -> None:
    from zarkov.cli.sample import sample

    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(sample())
    except FileExistsError:
        raise ConfigError(f"{path} exists already", hint="Name another file, or move that one away.") from None
    print(f"Wrote {path}. Check it with `zcmd -y {path} check-config`.")
