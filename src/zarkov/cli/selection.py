"""The options by which find, tail and export choose events, declared once."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

import typer

from zarkov.cli.conditions import Filter, build, with_dates

FilterText = Annotated[
    str | None,
    typer.Argument(metavar="FILTER", help="""A MongoDB filter as JSON: '{"context.user": "rick"}'."""),
]
Types = Annotated[list[str] | None, typer.Option("--type", "-t", help="Only this type; may be repeated.")]
Where = Annotated[
    list[str] | None,
    typer.Option(
        "--where", "-w", metavar="KEY=VALUE", help="A condition with = != > >= < <= or =~ (regular expression)."
    ),
]
Since = Annotated[
    str | None,
    typer.Option("--from", metavar="TIME", help="From this time on: 2011-07-20T18:52Z, 2011-07-20, 2h (ago), today."),
]
Until = Annotated[str | None, typer.Option("--to", metavar="TIME", help="Before this time; all times are UTC.")]
AsJson = Annotated[bool, typer.Option("--json", help="As JSON.")]
AsLines = Annotated[bool, typer.Option("--json", help="One JSON document a line.")]


def filter_of(
    text: str | None,
    types: list[str] | None,
    where: list[str] | None,
    since: str | None = None,
    until: str | None = None,
    *,
    of_events: bool = True,
) -> Filter:
    """The filter that the options mean now; a text beside `timestamp` is a time, where it is asked of events.

    Raises: FilterInvalid.
    """
    now = datetime.now(UTC).replace(tzinfo=None)
    found = build(text=text, types=types or (), where=where or (), since=since, until=until, now=now)
    return with_dates(found, now) if of_events else found
