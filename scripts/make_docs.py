"""Rewrite the generated parts of docs/configuration.md and docs/commands.md from the code.

    .venv/bin/python scripts/make_docs.py

The parts stand between `<!-- generated -->` and `<!-- end -->`; a test fails when they are not up to date.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer

from zarkov.cli.app import app
from zarkov.config import RETIRED, Row, sections, table

DOCS = Path(__file__).parents[1] / "docs"
BEGIN, END = "<!-- generated -->", "<!-- end -->"
UNITS = ((1024**4, "TiB"), (1024**3, "GiB"), (1024**2, "MiB"), (1024, "KiB"))


def settings() -> str:
    """The settings, a table a section, and the keys of 2011."""
    rows = list(table().values())
    lines: list[str] = []
    for section in ["", *sorted(sections())]:
        lines += [f"### {section or 'Top level'}", "", "| key | default | unit | meaning |", "|---|---|---|---|"]
        lines += [_setting(row) for row in rows if row.section == section]
        lines.append("")
    lines += ["### Keys of 2011", "", "| key | instead |", "|---|---|"]
    lines += [f"| `{key}` | {retired.instead} |" for key, retired in sorted(RETIRED.items())]
    return "\n".join(lines)


def _setting(row: Row) -> str:
    meaning = row.info.meaning + (f" ({', '.join(row.info.choices)})" if row.info.choices else "")
    return f"| `{row.key}` | {_value(row)} | {row.info.unit} | {meaning} |"


def _value(row: Row) -> str:
    default = row.default
    if row.info.unit == "bytes" and isinstance(default, int) and default:
        for size, unit in UNITS:
            if default % size == 0:
                return f"{default // size} {unit}"
    if isinstance(default, bool) or default is None:
        return {True: "`true`", False: "`false`", None: "`null`"}[default]
    if isinstance(default, int):
        return f"{default:,}"
    return f"`{default}`"


def commands() -> str:
    """Every command: what it does, its examples, its arguments and options."""
    lines: list[str] = []
    for path, command in _leaves(typer.main.get_command(app), ("zcmd",)):
        summary, examples = _help(command)
        lines += [f"### {' '.join(path)}", "", summary, ""]
        if examples:
            lines += ["```sh", *examples, "```", ""]
        parameters = [each for each in command.params if each.name not in ("help",)]
        if parameters:
            lines += ["| option | meaning |", "|---|---|", *map(_parameter, parameters), ""]
    return "\n".join(lines).rstrip()


def _leaves(command: Any, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    children = getattr(command, "commands", None)
    if not children:
        yield path, command
        return
    for name, child in children.items():
        yield from _leaves(child, (*path, name))


def _help(command: Any) -> tuple[str, list[str]]:
    text = re.sub(r"\[/?(?:bold|dim)\]", "", command.help or "")
    examples = [line.strip() for part in re.findall(r"Examples?:(.*)", text, re.S) for line in part.split("\n")]
    summary = " ".join(re.sub(r"Examples?:.*", "", text, flags=re.S).split())
    return summary, [line for line in examples if line]


def _parameter(parameter: Any) -> str:
    names = ", ".join(f"`{name}`" for name in parameter.opts)
    if parameter.param_type_name == "argument":
        names = f"`{(parameter.metavar or parameter.name).upper()}`"
    text = " ".join(re.sub(r"\[/?(?:bold|dim)\]", "", getattr(parameter, "help", None) or "").split())
    return f"| {names} | {text} |".replace("|  |", "| |")


def updated(page: Path, generated: str) -> str:
    """The page with its generated part replaced."""
    before, _, rest = page.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n\n{generated}\n\n{END}{after}"


PAGES = {"configuration.md": settings, "commands.md": commands}


def main() -> int:
    for name, make in PAGES.items():
        page = DOCS / name
        page.write_text(updated(page, make()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
