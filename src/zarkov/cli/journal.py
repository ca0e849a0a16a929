"""`journal`: what is in the journal, whether it is sound, and mending it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from zarkov.cli.context import zcmd_of
from zarkov.cli.output import EXIT_FAILED, byte_size, plain, print_facts, print_json, print_table
from zarkov.cli.selection import AsJson, AsLines

PANEL = "Look after"

family = typer.Typer(help="What is in the journal; checking and mending it.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    """Add the family to zcmd."""
    app.add_typer(family, name="journal", rich_help_panel=PANEL)


@family.command()
def info(ctx: typer.Context, as_json: AsJson = False) -> None:
    """Show the journal's extent: offsets, events, size, generations, segments, readers, what was quarantined.

    Example: [bold]zcmd journal info --json[/bold]
    """
    from zarkov.cli.wiring import open_journal

    with open_journal(zcmd_of(ctx).settings) as journal:
        found = journal.info()
    if as_json:
        print_json(_without_bytes(plain(found)))
        return
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
def verify(ctx: typer.Context, as_json: AsJson = False) -> None:
    """Check every byte of the journal; changes nothing, also while the server runs. Exit code 1: damage.

    Example: [bold]zcmd journal verify[/bold]
    """
    from zarkov.cli.wiring import require_journal
    from zarkov.journal.verify import verify as check

    settings = zcmd_of(ctx).settings
    require_journal(settings)
    with _progress("checking segments") as progress:
        report = check(settings.journal_dir, progress=progress)
    if as_json:
        print_json({"sound": report.is_sound, **plain(report)})
    else:
        for finding in report.findings:
            where = "" if finding.first_offset is None else f" at offset {finding.first_offset:,}"
            print(f"{finding.kind} {finding.file}{where}: {finding.reason}")
        lost = f"; {report.lost_events:,} were lost before and are known" if report.lost_events else ""
        print(f"{report.segments:,} segments, {report.chunks:,} chunks, {report.events:,} events checked{lost}.")
        print("Everything is as it was written." if report.is_sound else "There is damage: `zcmd journal repair`.")
    if not report.is_sound:
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
    from zarkov.cli.wiring import require_journal
    from zarkov.journal.repair import repair as mend

    settings = zcmd_of(ctx).settings
    require_journal(settings)
    if not yes and not agreed(f"Repair the journal in {settings.journal_dir}? [y/N] "):
        print("Nothing was changed.", file=sys.stderr)
        raise typer.Exit(EXIT_FAILED)
    report = mend(settings.journal_dir, clock=time.time)
    if as_json:
        print_json({"changed": report.changed, **plain(report)})
        return
    for action in report.actions:
        print(f"{action[:1].upper()}{action[1:]}.")
    if not report.changed:
        print("Nothing had to be done.")


@family.command()
def dump(
    ctx: typer.Context,
    start: Annotated[
        int | None, typer.Option("--from-offset", min=0, help="First offset; else the first there is.")
    ] = None,
    stop: Annotated[int | None, typer.Option("--to-offset", min=0, help="Before this offset; else the end.")] = None,
    as_json: AsLines = False,
) -> None:
    """Print events with their offsets, in order: one a line, with --json as {"offset": ..., "event": {...}}.

    Example: [bold]zcmd journal dump --from-offset 1000 --to-offset 1010[/bold]
    """
    from zarkov.cli.events import line
    from zarkov.cli.wiring import open_journal
    from zarkov.codec import to_json

    colour = sys.stdout.isatty()
    with open_journal(zcmd_of(ctx).settings) as journal:
        first = journal.first_offset if start is None else start
        for offset, event in journal.read(first, stop):
            if as_json:
                sys.stdout.write(f'{{"offset": {offset}, "event": {to_json(event)}}}\n')
            else:
                sys.stdout.write(f"{offset:>12,}  {line(event, colour=colour)}\n")
        if journal.corrupt:
            print(f"{len(journal.corrupt):,} damaged places were skipped: `zcmd journal verify`.", file=sys.stderr)
            raise typer.Exit(EXIT_FAILED)


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
