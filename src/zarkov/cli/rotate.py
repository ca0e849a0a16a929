"""`rotate`: end the generation `event`, and dump and drop what is older than `num_event_logs`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from zarkov.cli.context import zcmd_of
from zarkov.cli.output import byte_size, print_json
from zarkov.cli.selection import AsJson
from zarkov.config import Settings

if TYPE_CHECKING:
    from zarkov.journal.catalog import Generation

PANEL = "Look after"


def register(app: typer.Typer) -> None:
    """Add the command to zcmd."""
    app.command(rich_help_panel=PANEL)(rotate)


def rotate(
    ctx: typer.Context,
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="Where dropped generations are dumped to.")],
    as_json: AsJson = False,
) -> None:
    """Begin a new generation of events.

    `event` becomes `event.0`, `event.0` becomes `event.1` and so on, and `event` is empty. Generations beyond
    num_event_logs are dumped to DIR as .bson.gz, and dropped once their dump is synced. Works with and without
    a running server; nothing that comes in meanwhile is lost.

    Example: [bold]zcmd -y development.yaml rotate /var/backups/zarkov[/bold]
    """
    from zarkov.cli.operations import perform

    settings = zcmd_of(ctx).settings
    directory.mkdir(parents=True, exist_ok=True)
    ended = perform(settings, "rotate")
    dumps = [_dump_and_drop(settings, generation, directory) for generation in _beyond(settings)]
    if as_json:
        print_json({"rotated": ended, "dumped": dumps})
        return
    print(f"event.0 has the events from offset {ended['first_offset']:,} to before {ended['stop_offset']:,} now.")
    for dump in dumps:
        print(f"Dumped {dump['events']:,} events ({byte_size(dump['bytes'])}) to {dump['file']}, and dropped them.")


def _beyond(settings: Settings) -> list[Generation]:
    """The generations to be dropped, oldest first."""
    from zarkov.cli.wiring import open_journal

    with open_journal(settings) as journal:
        kept = [generation for generation in journal.generations() if not generation.dropped]
    return list(reversed(kept[1 + settings.log.num_event_logs :]))


def _dump_and_drop(settings: Settings, generation: Generation, directory: Path) -> dict[str, Any]:
    """Dump one generation, and drop it (and what is older) once the dump is synced."""
    from zarkov.cli.dump import Dump, write
    from zarkov.cli.operations import perform
    from zarkov.cli.wiring import open_journal

    stop = generation.stop_offset or generation.first_offset
    path = directory / f"event.{generation.first_offset:020d}-{stop:020d}.bson.gz"
    with open_journal(settings) as journal:
        first = max(generation.first_offset, journal.first_offset)
        chunks = journal.chunks(first, stop) if first < stop else iter(())
        written: Dump = write(path, "bson", (chunk.documents_bytes() for chunk in chunks))
    perform(settings, "drop_generation", ordinal=generation.ordinal)
    return {"generation": generation.name, "events": written.events, "bytes": written.bytes, "file": str(path)}
