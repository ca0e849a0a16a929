"""`send`: send events from a shell, and end once they are synced."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING, Annotated

import typer

from zarkov.cli.context import zcmd_of
from zarkov.cli.output import EXIT_FAILED, plain, print_json

if TYPE_CHECKING:
    from zarkov.cli.sending import Lines, Outcome, Refusal

PANEL = "Ask"
TIMEOUT_S = 10.0


def register(app: typer.Typer) -> None:
    """Add the command to zcmd."""
    app.command(rich_help_panel=PANEL)(send)


def send(
    ctx: typer.Context,
    kind: Annotated[
        str | None, typer.Argument(metavar="TYPE", help="The event's type; - reads events from standard input.")
    ] = None,
    pairs: Annotated[
        list[str] | None,
        typer.Argument(metavar="KEY=VALUE", help="Its context; a value is read as JSON where it is JSON."),
    ] = None,
    extra: Annotated[str | None, typer.Option(metavar="JSON", help="Its extra: any JSON value.")] = None,
    time: Annotated[
        str | None, typer.Option(metavar="TIME", help="When it happened: 2011-07-20T18:52Z, 2h (ago), today; UTC.")
    ] = None,
    file: Annotated[
        str | None, typer.Option("--file", "-f", metavar="FILE", help="Events from a file, one JSON object a line.")
    ] = None,
    address: Annotated[
        str | None, typer.Option("--ack-address", metavar="URI", help="Where to send (default: the settings').")
    ] = None,
    timeout_s: Annotated[
        float, typer.Option("--timeout", min=0.001, metavar="S", help="Longest wait for an acknowledgement.")
    ] = TIMEOUT_S,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
) -> None:
    """Send events over the acknowledging channel, and print their offsets once they are synced.

    Exit code 0: all are stored; 1: some are not, or it is not known; 2: wrong usage, and nothing was sent.

    Examples:

    [bold]zcmd send deploy app=shop version=1.4 --extra '{"by": "ada"}'[/bold]

    [bold]zcmd send --file examples/events.ndjson.gz[/bold]

    [bold]echo '{"type": "nop"}' | zcmd send -[/bold]
    """
    from zarkov.cli.curve import client_keys
    from zarkov.cli.sending import Outcome
    from zarkov.client.stepwise import StepwiseSender

    outcome, index = Outcome(), 0
    with ExitStack() as stack:
        batches = _batches(stack, kind, pairs or [], extra, time, file)
        settings = zcmd_of(ctx).settings
        sender = stack.enter_context(
            StepwiseSender(address or settings.ack_client_uri, timeout_s=timeout_s, keys=client_keys(settings))
        )
        try:
            for batch in batches:
                outcome.refused += batch.refused
                _tell(batch.refused)
                for answered in sender.send(batch.events) if batch.events else ():
                    _tell(outcome.note(answered, index, batch.numbers))
                index += len(batch.events)
        finally:
            # What was stored before an error is told all the same.
            _show(outcome, as_json=as_json)
    if outcome.refused:
        raise typer.Exit(EXIT_FAILED)


def _batches(
    stack: ExitStack, kind: str | None, pairs: list[str], extra: str | None, time: str | None, file: str | None
) -> Iterator[Lines]:
    """The events to send. Raises: ConfigError: the arguments do not go together; or as `event_of`."""
    from datetime import UTC, datetime

    from zarkov.cli.sending import Lines, event_of, lines_of, opened
    from zarkov.errors import ConfigError

    if (kind is None) == (file is None):
        raise ConfigError("give a TYPE, or - for standard input, or --file", hint="Example: zcmd send nop")
    if kind is not None and kind != "-":
        event = event_of(kind, pairs, extra, time, datetime.now(UTC).replace(tzinfo=None))
        return iter([Lines([event], [None])])
    if pairs or extra is not None or time is not None:
        hint = 'Write them into the lines: {"type": ..., "context": {...}, "extra": ...}.'
        raise ConfigError("KEY=VALUE, --extra and --time are for an event of the command line", hint=hint)
    if file is None or file == "-":
        if sys.stdin is None:
            raise ConfigError("standard input is closed", hint="Pipe the events in, or name a --file.")
        return lines_of(io.BufferedReader(io.FileIO(sys.stdin.fileno(), closefd=False)))
    return lines_of(stack.enter_context(opened(file)))


def _tell(refusals: list[Refusal]) -> None:
    for one in refusals:
        where = f"line {one.line}" if one.line is not None else "the event was refused"
        print(f"zcmd send: {where}: {one.reason or one.code} [{one.code}]", file=sys.stderr)


def _show(outcome: Outcome, *, as_json: bool) -> None:
    if as_json:
        print_json(plain(outcome))
        return
    for journal, runs in outcome.offsets.items():
        for first, last in runs:
            run = f"{first}" if first == last else f"{first}-{last}"
            print(f"{journal} {run}" if len(outcome.offsets) > 1 else run)
    if outcome.duplicates:
        print(f"zcmd send: {len(outcome.duplicates):,} were stored before, under their _id", file=sys.stderr)
