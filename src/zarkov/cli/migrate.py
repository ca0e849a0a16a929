"""`migrate`: a data directory into MongoDB, and back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from zarkov.cli.context import zcmd_of
from zarkov.cli.output import EXIT_FAILED, print_json, print_table
from zarkov.cli.selection import AsJson
from zarkov.config import Settings

if TYPE_CHECKING:
    from zarkov.cli.migration import Move, Progress

PANEL = "Look after"

family = typer.Typer(help="Move everything into MongoDB, or back into files.", no_args_is_help=True)

VerifyOnly = Annotated[
    bool, typer.Option("--verify-only", help="Move nothing: compare both sides as they are, document by document.")
]


def register(app: typer.Typer) -> None:
    """Add the family to zcmd."""
    app.add_typer(family, name="migrate", rich_help_panel=PANEL)


@family.command("to-mongo")
def to_mongo(ctx: typer.Context, verify_only: VerifyOnly = False, as_json: AsJson = False) -> None:
    """Move a data directory into MongoDB: documents, and the events of every generation.

    No server may run on it. What is there stays there. After a kill, the same command goes on where it was. At the
    end counts and checksums of both sides are compared; exit code 1: they differ. A server with these settings then
    goes on from there.

    Example: [bold]zcmd -y development.yaml migrate to-mongo[/bold]
    """
    from zarkov.cli import to_mongo as direction

    settings = zcmd_of(ctx).settings
    moves = _run(settings, direction.verify if verify_only else direction.migrate)
    _show(moves, ("journal", "MongoDB"), as_json)
    if not as_json:
        print(f"Everything is in the database {settings.mongo_database}. Keep mongo_uri in the settings, and serve.")


@family.command("to-embedded")
def to_embedded(ctx: typer.Context, verify_only: VerifyOnly = False, as_json: AsJson = False) -> None:
    """Move a database of MongoDB into a new data directory: documents, and the events of every generation.

    The directory must hold no journal yet, and no server may load into the database meanwhile. What is in MongoDB
    stays there. After a kill, the same command goes on where it was. At the end counts and checksums of both sides
    are compared; exit code 1: they differ.

    Example: [bold]zcmd -y development.yaml --data-dir new-data migrate to-embedded[/bold]
    """
    from zarkov.cli import to_embedded as direction

    settings = zcmd_of(ctx).settings
    moves = _run(settings, direction.verify if verify_only else direction.migrate)
    _show(moves, ("MongoDB", "files"), as_json)
    if not as_json:
        print(
            f"Everything is in {settings.data_dir}. In the settings, leave out mongo_uri and set "
            f"data_dir: {settings.data_dir.resolve()}, and serve."
        )


def _run(settings: Settings, act: Callable[[Settings, Progress], list[Move]]) -> list[Move]:
    from zarkov.cli.migration import bars

    with bars() as progress:
        return act(settings, progress)


def _show(moves: Sequence[Move], sides: tuple[str, str], as_json: bool) -> None:
    """Print both sides of every collection. Raises: typer.Exit: they differ."""
    unequal = [move.name for move in moves if not move.is_equal]
    if as_json:
        print_json({"equal": not unequal, "collections": [_facts(move) for move in moves]})
    else:
        counts = [f"in {side}" for side in sides]
        rows = [(m.name, m.source.count, m.target.count, str(m.target), _said(m.is_equal)) for m in moves]
        print_table(("collection", *counts, "checksum", "equal"), rows, right=counts)
    if unequal:
        if not as_json:
            print(f"There are differences in {', '.join(unequal)}: docs/migrate.md says what they can come from.")
        raise typer.Exit(EXIT_FAILED)


def _facts(move: Move) -> dict[str, Any]:
    return {
        "name": move.name,
        "equal": move.is_equal,
        "source": {"count": move.source.count, "checksum": str(move.source)},
        "target": {"count": move.target.count, "checksum": str(move.target)},
    }


def _said(is_equal: bool) -> str:
    return "yes" if is_equal else "NO"
