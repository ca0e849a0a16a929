"""`rotate`: end the generation `event`, and dump and drop what is older than `num_event_logs`."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from zarkov.cli.context import zcmd_of
from zarkov.cli.output import byte_size, print_json
from zarkov.cli.selection import AsJson
from zarkov.config import Settings
from zarkov.errors import JournalLocked

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
    a running server; nothing that comes in meanwhile is lost. With MongoDB it first waits until everything before is
    loaded, and dumps what is there.

    Example: [bold]zcmd -y development.yaml rotate /var/backups/zarkov[/bold]
    """
    from zarkov.cli.generations import rotate_all
    from zarkov.cli.loader_lock import try_lock
    from zarkov.cli.servers import every_server

    settings = zcmd_of(ctx).settings
    directory.mkdir(parents=True, exist_ok=True)
    with try_lock(settings.data_dir / "rotate.lock") as alone:
        if not alone:
            raise JournalLocked("another rotate or init runs", hint="Try again when it is done.")
        ended = rotate_all(settings)
        servers = every_server(settings)
        if settings.mongo_uri:
            dumps = _on_mongo(settings, directory)
        else:
            dumps = [_dump_and_drop(server, each, directory) for server in servers for each in _beyond(server)]
    if as_json:
        each = [{"journal": server.journal, **answer} for server, answer in ended]
        print_json({"rotated": each if len(servers) > 1 else ended[0][1], "dumped": dumps})
        return
    for server, answer in ended:
        where = f" of {server.journal}" if len(servers) > 1 else ""
        first, stop = answer["first_offset"], answer["stop_offset"]
        print(f"event.0 has the events from offset {first:,} to before {stop:,}{where} now.")
    for dump in dumps:
        print(f"Dumped {dump['events']:,} events ({byte_size(dump['bytes'])}) to {dump['file']}, and dropped them.")


def _on_mongo(settings: Settings, directory: Path) -> list[dict[str, Any]]:
    from zarkov.cli.mongo_dump import dump_and_drop
    from zarkov.cli.passing import newest_generation, wait_passed

    newest = newest_generation(settings)
    wait_passed(settings, newest)
    return dump_and_drop(settings, directory, newest, f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}")


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
    which = f"-{settings.server}" if settings.server else ""
    path = directory / f"event{which}.{generation.first_offset:020d}-{stop:020d}.bson.gz"
    with open_journal(settings) as journal:
        first = max(generation.first_offset, journal.first_offset)
        chunks = journal.chunks(first, stop) if first < stop else iter(())
        written: Dump = write(path, "bson", (chunk.documents_bytes() for chunk in chunks))
    perform(settings, "drop_generation", ordinal=generation.ordinal)
    return {"generation": generation.name, "events": written.events, "bytes": written.bytes, "file": str(path)}
