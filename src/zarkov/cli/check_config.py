"""`check-config`: the settings as they were resolved, and where each came from."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from zarkov.cli.context import zcmd_of
from zarkov.cli.output import plain, print_json, warn
from zarkov.cli.servers import warnings
from zarkov.config import DEFAULT, Resolved, Row, table, value_of
from zarkov.keyfiles import is_key

PANEL = "Set up"
SECRET = "********"


def register(app: typer.Typer) -> None:
    """Add the command to zcmd."""
    app.command("check-config", rich_help_panel=PANEL)(check_config)


def check_config(
    ctx: typer.Context,
    changed: Annotated[bool, typer.Option("--changed", "-c", help="Only what differs from the defaults.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
) -> None:
    """Check the settings, and show where each came from.

    A file gives way to the environment, and that to flags. An unknown key, a wrong type or a value out of range
    ends with exit code 2 and says what to do.

    Example: [bold]zcmd -y development.yaml --set web_port=9000 check-config --changed[/bold]
    """
    resolved = zcmd_of(ctx).resolved
    for warning in warnings(resolved.settings):
        warn(warning)
    rows = [row for row in table().values() if not changed or resolved.origins[row.key] != DEFAULT]
    if as_json:
        print_json(
            {
                row.key: {"value": _value(resolved, row), "origin": resolved.origins[row.key], "unit": row.info.unit}
                for row in rows
            }
        )
    else:
        _print(resolved, rows)


def _print(resolved: Resolved, rows: list[Row]) -> None:
    from rich import box
    from rich.table import Table

    from zarkov.cli.output import console

    shown = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for column in ("setting", "value", "unit", "from", "meaning"):
        shown.add_column(column, overflow="fold", no_wrap=column in ("setting", "unit"))
    for row in rows:
        origin = resolved.origins[row.key]
        style = "dim" if origin == DEFAULT else "bold"
        shown.add_row(
            row.key, _text(_value(resolved, row), row), row.info.unit, origin, row.info.meaning, style=style
        )
    console().print(shown)


def _value(resolved: Resolved, row: Row) -> object:
    value = value_of(resolved.settings, row.key)
    # Where the name of a key file belongs, the key itself may stand by mistake.
    if (row.info.secret and value is not None) or (isinstance(value, Path) and is_key(value.name)):
        return SECRET
    if isinstance(value, tuple):
        return [_item(item) for item in value]
    return plain(value)


def _item(item: object) -> object:
    """An item of a list, without the addresses that may carry a password."""
    shown = plain(item)
    return {**shown, "master": SECRET} if isinstance(shown, dict) and "master" in shown else shown


def _text(value: object, row: Row) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    return f"{value:,}" if isinstance(value, int) and row.info.unit else str(value)
