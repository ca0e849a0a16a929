"""`export`: events to a file or a pipe, as NDJSON or BSON."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from zarkov.cli.context import zcmd_of
from zarkov.cli.output import byte_size
from zarkov.cli.selection import FilterText, Since, Types, Until, Where, filter_of
from zarkov.errors import ConfigError

if TYPE_CHECKING:
    from zarkov.cli.conditions import Filter
    from zarkov.cli.dump import Format
    from zarkov.journal.reader import Journal

PANEL = "Ask"


def register(app: typer.Typer) -> None:
    """Add the command to zcmd."""
    app.command(rich_help_panel=PANEL)(export)


def export(
    ctx: typer.Context,
    file: Annotated[str, typer.Argument(metavar="FILE", help="The file; - is standard output.")] = "-",
    filter_text: FilterText = None,
    types: Types = None,
    where: Where = None,
    since: Since = None,
    until: Until = None,
    inside: Annotated[
        str, typer.Option("--in", metavar="NAME", help="all, or a generation: event, event.0 ...")
    ] = "all",
    form: Annotated[
        str | None, typer.Option("--format", "-f", help="ndjson or bson; without it the file's name decides.")
    ] = None,
) -> None:
    """Write events to a file or a pipe: NDJSON or BSON, maybe gzip.

    In the order of arrival; gzip when the name ends with .gz. `zsend.py` reads the NDJSON back, mongorestore
    the BSON. Events that come in meanwhile are left out.

    Example: [bold]zcmd export commits.ndjson.gz --type commit --from 2011-01-01 --to 2012-01-01[/bold]

    Example: [bold]zcmd export - --format ndjson | head[/bold]
    """
    from zarkov.cli.dump import format_of, write, write_stdout
    from zarkov.cli.wiring import open_journal

    if form not in (None, "ndjson", "bson"):
        raise ConfigError(f"the format {form} is unknown", hint="Use --format ndjson or --format bson.")
    wanted = filter_of(filter_text, types, where, since, until)
    chosen = cast("Format", form or format_of(file))
    with open_journal(zcmd_of(ctx).settings) as journal:
        runs = _runs(journal, inside, wanted)
        dump = write_stdout(chosen, runs) if file == "-" else write(Path(file), chosen, runs)
        if journal.corrupt:
            print(f"{len(journal.corrupt):,} damaged places were skipped: `zcmd journal verify`.", file=sys.stderr)
    if file != "-":
        print(f"Wrote {dump.events:,} events ({byte_size(dump.bytes)}) to {file}.", file=sys.stderr)


def _runs(journal: Journal, inside: str, wanted: Filter) -> Iterator[bytes]:
    """The chosen events as runs of concatenated BSON, with a progress bar on a terminal."""
    from rich.progress import Progress

    from zarkov.cli.output import console
    from zarkov.cli.scan import Chooser

    chooser = Chooser(wanted)
    start, stop = journal.first_offset, journal.next_offset
    if inside != "all":
        offsets = journal.range_of(inside)
        start, stop = offsets.first, offsets.stop
    with Progress(console=console(stderr=True), disable=not sys.stderr.isatty(), transient=True) as bar:
        task = bar.add_task("exporting", total=stop - start)
        for chunk in chooser.chunks(journal, start, stop):
            yield chooser.encoded(chunk)
            bar.update(task, completed=chunk.stop - start)
