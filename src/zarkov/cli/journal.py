"""`journal`: what is in the journals, whether they are sound, and mending them."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from zarkov.cli.context import zcmd_of
from zarkov.cli.output import EXIT_FAILED, byte_size, plain, print_facts, print_json, print_table
from zarkov.cli.selection import AsJson, AsLines
from zarkov.config import Settings
from zarkov.errors import ConfigError, JournalError

if TYPE_CHECKING:
    from zarkov.journal.info import JournalInfo
    from zarkov.journal.reader import Journal

PANEL = "Look after"

family = typer.Typer(help="What is in the journal; checking and mending it.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    """Add the family to zcmd."""
    app.add_typer(family, name="journal", rich_help_panel=PANEL)


@family.command()
def info(ctx: typer.Context, as_json: AsJson = False) -> None:
    """Show the journal's extent: offsets, events, size, generations, segments, readers, what was quarantined.

    Each of several event servers has a journal; with --json they are then an array.

    Example: [bold]zcmd journal info --json[/bold]
    """
    from zarkov.cli.wiring import open_journals

    with open_journals(zcmd_of(ctx).settings) as journals:
        found = [journal.info() for journal in journals.journals]
    if as_json:
        each = [_without_bytes(plain(one)) for one in found]
        print_json(each if len(each) > 1 else each[0])
        return
    for number, one in enumerate(found):
        if number:
            print()
        _print_info(one)


def _print_info(found: JournalInfo) -> None:
    print_facts(
        [
            ("directory", found.directory),
            ("journal id", found.journal_id),
            ("format", found.format),
            ("offsets", f"{found.first_offset:,} to before {found.next_offset:,}"),
            ("events", found.events),
            ("chunks", found.chunks),
            ("size", byte_size(found.bytes) + _per_event(found.bytes, found.events)),
        ]
    )
    print()
    print_table(
        ("generation", "from offset", "to before", "since", "dropped"),
        [(g.name, g.first_offset, g.stop_offset, _when(g.started_ms), g.dropped or None) for g in found.generations],
        right=("from offset", "to before"),
    )
    print()
    print_table(
        ("segment", "from offset", "to before", "events", "chunks", "size", "sealed"),
        [
            (s.name, s.first_offset, s.next_offset, s.events, s.chunks, byte_size(s.bytes), s.sealed or None)
            for s in found.segments
        ],
        right=("from offset", "to before", "events", "chunks", "size"),
    )
    if found.readers:
        print()
        rows = [
            (r.name, r.next_offset, found.next_offset - r.next_offset, _when(r.updated_ms)) for r in found.readers
        ]
        print_table(("reader", "next offset", "behind", "at"), rows, right=("next offset", "behind"))
    if found.quarantined:
        print()
        print_table(
            ("quarantined", "events", "segment", "reason", "at"),
            [(q.first_offset, q.count, q.segment, q.reason, _when(q.at_ms)) for q in found.quarantined],
            right=("quarantined", "events"),
        )


@family.command()
def readers(ctx: typer.Context, as_json: AsJson = False) -> None:
    """List the registered readers: retention removes nothing before all of them are past it.

    `loader` is MongoDB's; `loader.first` stands for it until the first event is loaded.

    Example: [bold]zcmd journal readers[/bold]
    """
    from zarkov.cli.wiring import open_journals

    with open_journals(zcmd_of(ctx).settings) as journals:
        rows = [
            {
                "journal": journal.directory.name,
                "reader": each.name,
                "next_offset": each.next_offset,
                "behind": journal.next_offset - each.next_offset,
                "at": _when(each.updated_ms),
            }
            for journal in journals.journals
            for each in journal.info().readers
        ]
    if as_json:
        print_json(rows)
    elif rows:
        print_table(
            ("journal", "reader", "next offset", "behind", "at"),
            [tuple(row.values()) for row in rows],
            right=("next offset", "behind"),
        )
    else:
        print("No reader is registered.")


@family.command()
def forget(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(metavar="READER", help="As `journal readers` shows it.")],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Forget a reader that is given up, so that retention waits for it no more. Asks first.

    Example: [bold]zcmd journal forget loader --yes[/bold]
    """
    from zarkov.cli.ask import agreed
    from zarkov.journal.catalog import Catalog

    done = 0
    if not yes and not agreed(f"Forget {name}? What it has not read may be removed then. [y/N] "):
        print("Nothing was changed.", file=sys.stderr)
        raise typer.Exit(EXIT_FAILED)
    for server in _begun(zcmd_of(ctx).settings):
        catalog = Catalog.open(server.journal_dir, "write")
        if catalog is not None:
            with closing(catalog):
                known = [each.name for each in catalog.readers()]
                done += name in known
                catalog.forget_reader(name)
    if not done:
        raise JournalError(f"there is no reader {name}", hint="`zcmd journal readers` lists them.")
    print(f"Forgot {name}.")


@family.command()
def verify(ctx: typer.Context, as_json: AsJson = False) -> None:
    """Check every byte of the journal; changes nothing, also while the server runs. Exit code 1: damage.

    Example: [bold]zcmd journal verify[/bold]
    """
    from zarkov.journal.verify import verify as check

    servers = _begun(zcmd_of(ctx).settings)
    reports = []
    for server in servers:
        with _progress("checking segments") as progress:
            reports.append(check(server.journal_dir, progress=progress))
    is_sound = all(report.is_sound for report in reports)
    if as_json:
        _print_each(servers, [{"sound": report.is_sound, **plain(report)} for report in reports])
    else:
        for server, report in zip(servers, reports, strict=True):
            name = f"{server.journal}: " if len(servers) > 1 else ""
            for finding in report.findings:
                where = "" if finding.first_offset is None else f" at offset {finding.first_offset:,}"
                print(f"{name}{finding.kind} {finding.file}{where}: {finding.reason}")
            lost = f"; {report.lost_events:,} were lost before and are known" if report.lost_events else ""
            counts = f"{report.segments:,} segments, {report.chunks:,} chunks, {report.events:,} events"
            print(f"{name}{counts} checked{lost}.")
        print("Everything is as it was written." if is_sound else "There is damage: `zcmd journal repair`.")
    if not is_sound:
        raise typer.Exit(EXIT_FAILED)


@family.command()
def repair(
    ctx: typer.Context,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    as_json: AsJson = False,
) -> None:
    """Mend a damaged journal: what is sound is kept, what is not is quarantined. Needs the server to be stopped.

    The damaged files are kept in the journal's directory `damaged`. Offsets that are lost are never given again.

    Example: [bold]zcmd journal repair --yes[/bold]
    """
    import time

    from zarkov.cli.ask import agreed
    from zarkov.journal.repair import repair as mend

    servers = _begun(zcmd_of(ctx).settings)
    where = ", ".join(str(server.journal_dir) for server in servers)
    if not yes and not agreed(f"Repair the journal in {where}? [y/N] "):
        print("Nothing was changed.", file=sys.stderr)
        raise typer.Exit(EXIT_FAILED)
    reports = [mend(server.journal_dir, clock=time.time) for server in servers]
    if as_json:
        _print_each(servers, [{"changed": report.changed, **plain(report)} for report in reports])
        return
    for server, report in zip(servers, reports, strict=True):
        for action in report.actions:
            name = f" ({server.journal})" if len(servers) > 1 else ""
            print(f"{action[:1].upper()}{action[1:]}{name}.")
    if not any(report.changed for report in reports):
        print("Nothing had to be done.")


@family.command()
def dump(
    ctx: typer.Context,
    start: Annotated[
        int | None, typer.Option("--from-offset", min=0, help="First offset; else the first there is.")
    ] = None,
    stop: Annotated[int | None, typer.Option("--to-offset", min=0, help="Before this offset; else the end.")] = None,
    name: Annotated[
        str | None, typer.Option("--journal", metavar="NAME", help="Of several: journal, journal.1 ...; else all.")
    ] = None,
    as_json: AsLines = False,
) -> None:
    """Print events with their offsets, in order: one a line, with --json as {"offset": ..., "event": {...}}.

    Example: [bold]zcmd journal dump --from-offset 1000 --to-offset 1010[/bold]
    """
    from zarkov.cli.events import line
    from zarkov.cli.wiring import open_journals
    from zarkov.codec import to_json

    colour = sys.stdout.isatty()
    with open_journals(zcmd_of(ctx).settings) as journals:
        several = len(journals.journals) > 1
        chosen = _chosen(journals.journals, name, by_offset=start is not None or stop is not None)
        for journal in chosen:
            first = journal.first_offset if start is None else start
            label = journal.directory.name
            key, shown = (f'"journal": "{label}", ', f"{label}  ") if several else ("", "")
            for offset, event in journal.read(first, stop):
                if as_json:
                    sys.stdout.write(f'{{{key}"offset": {offset}, "event": {to_json(event)}}}\n')
                else:
                    sys.stdout.write(f"{shown}{offset:>12,}  {line(event, colour=colour)}\n")
        if journals.corrupt:
            print(f"{len(journals.corrupt):,} damaged places were skipped: `zcmd journal verify`.", file=sys.stderr)
            raise typer.Exit(EXIT_FAILED)


def _chosen(journals: Sequence[Journal], name: str | None, *, by_offset: bool) -> Sequence[Journal]:
    """The journal in the directory of this name, or all. Raises: JournalError, ConfigError."""
    names = ", ".join(journal.directory.name for journal in journals)
    if name is not None:
        found = [journal for journal in journals if journal.directory.name == name]
        if not found:
            raise JournalError(f"there is no journal {name}", hint=f"There are: {names}.")
        return found
    if by_offset and len(journals) > 1:
        raise ConfigError("each of several journals has its own offsets", hint=f"Name one with --journal: {names}.")
    return journals


def _begun(settings: Settings) -> list[Settings]:
    """The event servers that have a journal. Raises: ServerUnreachable: there is none."""
    from zarkov.cli.servers import every_server
    from zarkov.cli.wiring import require_journal

    servers = every_server(settings)
    begun = [server for server in servers if server.journal_dir.is_dir()]
    if not begun:
        require_journal(servers[0])
    return begun


def _print_each(servers: Sequence[Settings], reports: Sequence[dict[str, Any]]) -> None:
    """One report as an object; several as an array, each with its journal's name."""
    if len(reports) == 1:
        print_json(reports[0])
    else:
        print_json([{"journal": server.journal, **report} for server, report in zip(servers, reports, strict=True)])


@contextmanager
def _progress(what: str) -> Iterator[Callable[[int, int], None]]:
    """A progress bar on standard error, on a terminal; told how many of how many are done."""
    from rich.progress import Progress

    from zarkov.cli.output import console

    with Progress(console=console(stderr=True), disable=not sys.stderr.isatty(), transient=True) as bar:
        task = bar.add_task(what)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def _when(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S")


def _per_event(size: int, events: int) -> str:
    return f", {size / events:,.1f} bytes an event" if events else ""


def _without_bytes(info: dict[str, Any]) -> dict[str, Any]:
    """The quarantined data itself is for files, not for JSON: its size stands for it."""
    for each in info["quarantined"]:
        each["data_bytes"] = len(each.pop("data") or b"")
    return info
