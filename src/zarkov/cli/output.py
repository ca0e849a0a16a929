"""What commands print: results on standard output, everything else on standard error."""

from __future__ import annotations

import json
import os
import select
import sys
import traceback
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Literal

from zarkov.errors import ConfigError, EventRefused, FilterInvalid, FunctionFailed, ZarkovError

if TYPE_CHECKING:
    from rich.console import Console

EXIT_DONE, EXIT_FAILED, EXIT_USAGE = 0, 1, 2

_WIDTH_PIPED = 160


def console(*, stderr: bool = False) -> Console:
    """A rich console that does not guess: colours only on a terminal, wide lines when piped."""
    from rich.console import Console

    stream = sys.stderr if stderr else sys.stdout
    width = None if stream.isatty() else _WIDTH_PIPED
    return Console(file=stream, width=width, highlight=False, soft_wrap=False, emoji=False, markup=False)


def print_json(value: object) -> None:
    """A result as indented JSON, for programs and people."""
    print(json.dumps(value, indent=2, ensure_ascii=False, default=str))


def print_table(
    columns: Sequence[str],
    rows: Iterable[Sequence[object]],
    *,
    right: Sequence[str] = (),
    whole: Sequence[str] = (),
    title: str | None = None,
) -> None:
    """A table without frames; columns in `right` are aligned to the right, those in `whole` are never folded."""
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, title=title, title_justify="left", pad_edge=False, show_edge=False)
    for column in columns:
        justify: Literal["left", "right"] = "right" if column in right else "left"
        table.add_column(column, justify=justify, overflow="fold", no_wrap=column in whole)
    for row in rows:
        table.add_row(*(number(cell) for cell in row))
    console().print(table)


def print_facts(facts: Iterable[tuple[str, object]]) -> None:
    """Names and values, one pair a line, the values in one column."""
    pairs = [(name, number(value)) for name, value in facts]
    width = max((len(name) for name, _ in pairs), default=0)
    for name, value in pairs:
        print(f"{name:<{width}}  {value}")


def number(value: object) -> str:
    """A cell as text: whole numbers with thousands separators, nothing for None."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:,}" if isinstance(value, int) else str(value)


def byte_size(count: float) -> str:
    """Bytes as `1.5 MiB`."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if abs(count) < 1024:
            return f"{count:,.0f} {unit}" if unit == "B" else f"{count:,.1f} {unit}"
        count /= 1024
    return f"{count:,.1f} TiB"


def warn(sentence: str) -> None:
    """One warning on standard error."""
    print(f"warning: {sentence}", file=sys.stderr)


def report(error: BaseException, *, verbose: bool = False) -> int:
    """Print what went wrong as one sentence with its code and hint, and return the exit code.

    Before it stands the traceback of a function of map-reduce: its author needs it.
    """
    if verbose:
        traceback.print_exception(error, file=sys.stderr)
    elif isinstance(error, FunctionFailed) and error.traceback:
        print(error.traceback, file=sys.stderr)
    if isinstance(error, ZarkovError):
        fault, code, hint = str(error), error.code, error.hint
    elif isinstance(error, OSError) and error.strerror:
        fault, code, hint = _os_fault(error), "internal", "Check the path and its rights."
    else:
        fault, code = f"{type(error).__name__}: {str(error) or 'no message'}".splitlines()[0], "internal"
        hint = "This is a fault in Zarkov; run the command with `zcmd -v` for the traceback."
    if sys.stderr.isatty():
        print(
            f"\033[1;31merror:\033[0m {_sentence(fault)} \033[2m[{code}]\033[0m\n\033[2m{hint}\033[0m",
            file=sys.stderr,
        )
    else:
        print(f"error: {_sentence(fault)} [{code}]\n{hint}", file=sys.stderr)
    return EXIT_USAGE if isinstance(error, ConfigError | FilterInvalid | EventRefused) else EXIT_FAILED


def _sentence(text: str) -> str:
    return text if text.endswith((".", "?", "!")) else text + "."


def _os_fault(error: OSError) -> str:
    return f"{error.filename}: {error.strerror}" if error.filename else str(error.strerror)


def reader_has_left(stdout: int) -> bool:
    """Whether nobody reads this descriptor any more: `head` has what it wanted, and nothing failed."""
    asked = select.poll()
    asked.register(stdout, 0)
    return any(events & select.POLLERR for _, events in asked.poll(0))


def silence_stdout() -> None:
    """After such a reader went away: let the interpreter flush into nothing."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def plain(value: object) -> Any:
    """Nested dataclasses, paths and tuples as what JSON has."""
    import dataclasses
    from pathlib import PurePath

    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(item) for item in value]
    return str(value) if isinstance(value, PurePath) else value
