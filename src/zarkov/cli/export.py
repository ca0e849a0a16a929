"""`export`: events to a file or a pipe, as NDJSON or BSON."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from zarkov.cli.context import zcmd_of
from zarkov.cli.output import byte_size
from zarkov.cli.selection import FilterText, Since, Types, Until, Where, filter_of
from zarkov.config import Settings
from zarkov.errors import ConfigError, FilterInvalid

if TYPE_CHECKING:
    from zarkov.cli.conditions import Filter
    from zarkov.cli.dump import Format

PANEL = "Ask"
ALL = "all"
#: Events of MongoDB that are encoded and written at once.
RUN_COUNT = 1_000


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
    ] = ALL,
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

    if form not in (None, "ndjson", "bson"):
        raise ConfigError(f"the format {form} is unknown", hint="Use --format ndjson or --format bson.")
    wanted = filter_of(filter_text, types, where, since, until)
    chosen = cast("Format", form or format_of(file))
    settings = zcmd_of(ctx).settings
    with (_from_store if settings.mongo_uri else _from_journals)(settings, inside, wanted) as runs:
        dump = write_stdout(chosen, runs) if file == "-" else write(Path(file), chosen, runs)
    if file != "-":
        print(f"Wrote {dump.events:,} events ({byte_size(dump.bytes)}) to {file}.", file=sys.stderr)


@contextmanager
def _from_journals(settings: Settings, inside: str, wanted: Filter) -> Iterator[Iterator[bytes]]:
    """The chosen events as runs of concatenated BSON; at the end it says what could not be read."""
    from zarkov.cli.scan import Chooser
    from zarkov.cli.wiring import open_journals

    chooser = Chooser(wanted)
    with open_journals(settings) as journals:
        _require_known(inside, journals.generation_names())
        parts = journals.everything() if inside == ALL else journals.ranges(inside)

        def runs() -> Iterator[bytes]:
            with _progress(sum(span.count for _, span in parts)) as done:
                for journal, span in parts:
                    at = span.first
                    for chunk in chooser.chunks(journal, span.first, span.stop):
                        yield chooser.encoded(chunk)
                        done(chunk.stop - at)
                        at = chunk.stop

        yield runs()
        if journals.corrupt:
            print(f"{len(journals.corrupt):,} damaged places were skipped: `zcmd journal verify`.", file=sys.stderr)


@contextmanager
def _from_store(settings: Settings, inside: str, wanted: Filter) -> Iterator[Iterator[bytes]]:
    """The same from MongoDB, generation by generation."""
    from zarkov.cli.wiring import open_store
    from zarkov.codec import encode
    from zarkov.store.generations import generation_names
    from zarkov.store.ordering import NATURAL

    with open_store(settings) as store:
        names = generation_names(store.collection_names())
        _require_known(inside, names)
        chosen = [store.collection(name) for name in names if inside in (ALL, name)]

        def runs() -> Iterator[bytes]:
            with _progress(sum(each.estimated_document_count() for each in chosen)) as done:
                events = chain.from_iterable(each.find(wanted, sort=NATURAL) for each in chosen)
                while run := list(islice(events, RUN_COUNT)):
                    yield b"".join(map(encode, run))
                    done(len(run))

        yield runs()


def _require_known(inside: str, names: Sequence[str]) -> None:
    """Raises: FilterInvalid: there is no such generation."""
    if inside not in (ALL, *names):
        raise FilterInvalid(f"there is no generation {inside}", hint=f"There are {', '.join(names)}, and {ALL}.")


@contextmanager
def _progress(total: int) -> Iterator[Callable[[int], None]]:
    """A progress bar on a terminal; told how many more are done."""
    from rich.progress import Progress

    from zarkov.cli.output import console

    with Progress(console=console(stderr=True), disable=not sys.stderr.isatty(), transient=True) as bar:
        task = bar.add_task("exporting", total=total)
        yield lambda count: bar.advance(task, count)
