"""`find`: ask for events by a filter, with the operators of MongoDB."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from itertools import islice
from typing import TYPE_CHECKING, Annotated, Any

import typer

from zarkov.cli.conditions import sort_keys
from zarkov.cli.context import zcmd_of
from zarkov.cli.selection import AsLines, FilterText, Since, Types, Until, Where, filter_of

if TYPE_CHECKING:
    from zarkov.store.contract import Collection, Store
    from zarkov.store.generations import AllGenerations

PANEL = "Ask"
LINES_SHOWN = 20
ALL = "all"


def register(app: typer.Typer) -> None:
    """Add the command to zcmd."""
    app.command(rich_help_panel=PANEL)(find)


def find(
    ctx: typer.Context,
    filter_text: FilterText = None,
    types: Types = None,
    where: Where = None,
    since: Since = None,
    until: Until = None,
    inside: Annotated[
        str,
        typer.Option(
            "--in", metavar="NAME", help="Collection: event, event.0 (before the last rotate) ...; all: every event."
        ),
    ] = "event",
    sort: Annotated[
        str | None, typer.Option(metavar="KEYS", help="Order by these keys, descending with -: '-timestamp,type'.")
    ] = None,
    skip: Annotated[int, typer.Option(min=0, help="Leave out the first of them.")] = 0,
    limit: Annotated[
        int | None,
        typer.Option(
            "--limit", "-n", min=0, help=f"At most so many, 0 for all (default {LINES_SHOWN}; --json: all)."
        ),
    ] = None,
    count: Annotated[bool, typer.Option("--count", "-c", help="Print only how many.")] = False,
    as_json: AsLines = False,
) -> None:
    """Find events by a filter, in the order of arrival unless sorted.

    Examples:

    [bold]zcmd find --type commit --where context.project=celery/kombu --from 2011-07-20 --limit 5[/bold]

    [bold]zcmd find '{"extra.files": {"$gt": 20}}' --sort=-extra.files --json[/bold]

    [bold]zcmd find --in all --type nop --from 2h --count[/bold]
    """
    from zarkov.cli.events import print_events, print_lines
    from zarkov.cli.wiring import open_store
    from zarkov.store.generations import is_generation

    of_events = inside == ALL or is_generation(inside)
    wanted = filter_of(filter_text, types, where, since, until, of_events=of_events)
    with open_store(zcmd_of(ctx).settings) as store:
        collection = _collection(store, inside)
        if count:
            print(collection.count_documents(wanted))
            return
        limit_s = limit if limit is not None else (0 if as_json else LINES_SHOWN)
        cursor = collection.find(wanted, sort=sort_keys(sort) or None, skip=skip, limit=limit_s + 1 if limit_s else 0)
        shown = _at_most(iter(cursor), limit_s)
        (print_lines if as_json else print_events)(shown)
        if limit is None and not as_json and next(iter(cursor), None) is not None:
            print(f"There are more than {LINES_SHOWN}: use --limit or --count.", file=sys.stderr)


def _collection(store: Store, name: str) -> Collection | AllGenerations:
    """Raises: FilterInvalid: there is none of that name."""
    from zarkov.errors import FilterInvalid
    from zarkov.store.generations import AllGenerations

    if name == ALL:
        return AllGenerations(store)
    if name != "event" and name not in (names := store.collection_names()):
        raise FilterInvalid(f"there is no collection {name!r}", hint=f"There are {', '.join(names)}, and {ALL}.")
    return store.collection(name)


def _at_most(documents: Iterator[Any], limit: int) -> Iterator[Any]:
    return islice(documents, limit) if limit else documents
