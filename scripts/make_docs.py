"""Rewrite the generated parts of docs/configuration.md, docs/commands.md and docs/operations.md from the code.

    .venv/bin/python scripts/make_docs.py

The parts stand between `<!-- generated -->` and `<!-- end -->`; a test fails when they are not up to date.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import typer

from zarkov import event, keyfiles
from zarkov.cli import settings as files
from zarkov.cli.app import app
from zarkov.client import limits as client
from zarkov.client import zsend
from zarkov.config import RETIRED, Row, sections, table
from zarkov.ingest import acknowledger, admission, control, handoff, protocol, publisher, sockets, window
from zarkov.journal import reader
from zarkov.store import compare, cursor, ordering

DOCS = Path(__file__).parents[1] / "docs"
BEGIN, END = "<!-- generated -->", "<!-- end -->"
UNITS = ((1024**4, "TiB"), (1024**3, "GiB"), (1024**2, "MiB"), (1024, "KiB"))

#: Settings of features that this version does not have: they load and are checked, and nothing reads them.
LATER = (*("bson_uri", "json_uri", "web_port", "extra", "incremental", "backdoor", "logstream"),)
GROUPS = {"": "General", "ingest": "The event server", "log": "The journal", "loader": "The loader into MongoDB"}
#: Sections of the settings file whose features this version has.
SECTIONS = {"zmr": "Map-reduce (`zmr:`)", "curve": "Keys (`curve:`)"}


def settings() -> str:
    """The settings, a table a group, and the keys of 2011."""
    now = [row for row in table().values() if not row.section and row.key not in LATER]
    lines: list[str] = []
    for home, title in GROUPS.items():
        lines += [f"### {title}", "", *_settings(row for row in now if row.homes[0] == home), ""]
    for section, title in SECTIONS.items():
        lines += [f"### {title}", "", *_settings(row for row in table().values() if row.section == section), ""]
    idle = set(sections()) - set(SECTIONS)
    later = [row for row in table().values() if row.section in idle or row.key in LATER]
    lines += ["### Accepted, and not used yet", "", *_settings(later), ""]
    lines += ["### Keys of 2011", "", "| key | instead |", "|---|---|"]
    lines += [f"| `{key}` | {_code_keys(retired.instead)} |" for key, retired in sorted(RETIRED.items())]
    return "\n".join(lines)


def _settings(rows: Iterable[Row]) -> list[str]:
    return ["| key | default | range | unit | meaning |", "|---|---|---|---|---|", *map(_setting, rows)]


def _setting(row: Row) -> str:
    limits = ", ".join(f"`{choice}`" for choice in row.info.choices) or _range(row)
    return f"| `{row.key}` | {_value(row, row.default)} | {limits} | {row.info.unit} | {row.info.meaning} |"


def _range(row: Row) -> str:
    low, high = row.info.minimum, row.info.maximum
    if low is not None and high is not None:
        return f"{_value(row, low)} to {_value(row, high)}"
    return "" if low is None else f"from {_value(row, low)}"


def _value(row: Row, value: object) -> str:
    if isinstance(value, bool) or value is None:
        return {True: "`true`", False: "`false`", None: "`null`"}[value]
    if isinstance(value, int | float):
        return _bytes(int(value)) if row.info.unit == "bytes" else f"{value:,.15g}"
    return "`[]`" if value == () else f"`{value}`"


def _bytes(count: int) -> str:
    for size, unit in UNITS:
        if count and count % size == 0:
            return f"{count // size:,} {unit}"
    return f"{count:,}"


def _code_keys(text: str) -> str:
    return re.sub(r"[\w.]+", lambda found: f"`{found[0]}`" if found[0] in table() else found[0], text)


def commands() -> str:
    """The options before the command, then every command: what it does, examples, its arguments and options."""
    root = typer.main.get_command(app)
    lines = ["### zcmd", "", "Before the command:", ""]
    lines += [_parameter(each) for each in root.params if "completion" not in (each.name or "")]
    lines.append("")
    for path, command in leaves(root, ("zcmd",)):
        prose, examples = explained(command.help or "")
        lines += [f"### {' '.join(path)}", "", *prose, ""]
        lines += ["```sh", *examples, "```", ""]
        lines += [*map(_parameter, command.params), ""] if command.params else []
    return "\n".join(lines).rstrip()


def leaves(command: Any, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    """The commands that do something, each with the words that name it."""
    children = getattr(command, "commands", None)
    if not children:
        yield path, command
        return
    for name, child in children.items():
        yield from leaves(child, (*path, name))


def explained(text: str) -> tuple[list[str], list[str]]:
    """A command's help as its prose on one line, and its examples."""
    prose: list[str] = []
    examples: list[str] = []
    for paragraph in text.split("\n\n"):
        example = re.fullmatch(r"(?:Examples?:)?\s*\[bold\](zcmd .*|echo .*)\[/bold\]", paragraph.strip(), re.S)
        if example:
            examples.append(" ".join(example[1].split()))
        elif not re.fullmatch(r"\s*Examples?:\s*", paragraph):
            prose.append(_plain(paragraph))
    return [" ".join(prose)], examples


def _plain(text: str) -> str:
    return " ".join(re.sub(r"\[/?(?:bold|dim)\]", "", text).split())


def _parameter(parameter: Any) -> str:
    """One argument or option as an item of a list: its names, its value's name, its meaning, its default."""
    help_text = _plain(getattr(parameter, "help", None) or "")
    if parameter.param_type_name == "argument":
        names = f"`{(parameter.metavar or parameter.name).upper()}`"
    else:
        names = ", ".join(f"`{name}`" for name in (*parameter.opts, *parameter.secondary_opts))
        if not parameter.is_flag:
            names += f" `{parameter.metavar or parameter.opts[0].lstrip('-').upper()}`"
    default = parameter.default
    if default is not None and not isinstance(default, bool) and default != "":
        help_text += f" Default: {default}."
    return f"- {names}: {help_text}"


def limits() -> str:
    """The limits that are no settings."""
    rows = [
        ("an event, and a document", _bytes(event.EVENT_BYTES_MAX), "`event_bytes_max` may lower it"),
        ("levels of nesting", f"{event.DEPTH_MAX}", "`depth_max` may lower it; also of a filter, and of a path"),
        ("bytes of `type`", f"{event.TYPE_BYTES_MAX:,}", "`type_invalid`"),
        ("bytes of a producer's id", f"{protocol.PRODUCER_BYTES_MAX}", "`bad_frame`"),
        ("frames of a request", f"{protocol.FRAMES_MAX:,}", "`bad_frame`"),
        ("reasons in an acknowledgement", f"{protocol.REASONS_MAX}", "the others have only their code"),
        (
            "entries on their way to the journal",
            f"{handoff.ENTRIES_MAX:,}",
            "the sockets wait, as at `ingest_pending_bytes_max`",
        ),
        (
            "requests, and bytes, taken from 6546 at one go",
            f"{acknowledger.REQUESTS_MAX}, {_bytes(acknowledger.REQUESTS_BYTES_MAX)}",
            "the rest waits its turn",
        ),
        ("answers queued for one client", f"{sockets.ANSWERS_HWM:,}", "dropped and counted; the client asks again"),
        (
            "answers remembered, besides their offsets",
            _bytes(window.NOTES_BYTES_MAX),
            "the longest idle producers are forgotten",
        ),
        ("bytes waiting to be published", _bytes(publisher.PENDING_BYTES_MAX), "not published, and counted"),
        ("topics told apart", f"{publisher.TOPICS_MAX:,}", "beyond, every event is published"),
        ("connections to the control socket", f"{control.CONNECTIONS_MAX}", "the next one waits"),
        ("a request on the control socket", _bytes(control.LINE_BYTES_MAX), "the connection ends"),
        (
            "documents in a sort",
            f"{ordering.SORT_COUNT_MAX:,}",
            "`store_failed`, or `filter_invalid` where `skip` and `limit` ask for more",
        ),
        ("values of a `distinct`", f"{cursor.DISTINCT_COUNT_MAX:,}", "`store_failed`"),
        ("characters of a regular expression", f"{compare.REGEX_CHARS_MAX:,}", "`filter_invalid`"),
        ("damaged places one reader remembers", f"{reader.CORRUPT_MAX:,}", "further ones are skipped unlisted"),
        ("keys that are let in", f"{keyfiles.ALLOW_KEYS_MAX:,}", "the list is refused: nobody is let in"),
        (
            "a key file; a list of keys in one file",
            f"{_bytes(keyfiles.KEY_FILE_BYTES_MAX)}; {_bytes(keyfiles.ALLOW_FILE_BYTES_MAX)}",
            "`key_invalid`",
        ),
        ("addresses remembered of one key", f"{admission.ADDRESSES_MAX:,}", "revoked: all connections are cut"),
        (
            "log lines about refused handshakes",
            f"one in {admission.LOG_EVERY_S:g} s",
            "counted, and in the next line",
        ),
        ("a settings file", _bytes(files.FILE_BYTES_MAX), "`config_invalid`"),
        ("a file that a `_FILE` variable names", _bytes(files.SECRET_BYTES_MAX), "`config_invalid`"),
        ("a line of `zsend.py`", _bytes(zsend.LINE_BYTES_MAX), "reported, not sent"),
        (
            "`zsend.py`: wait for a server; for events to leave",
            f"{zsend.CONNECT_S_MAX:g} s; {zsend.SEND_S_MAX:g} s",
            "exit code 1",
        ),
        (
            "a client's wait for an answer",
            f"{client.Limits().answer_s:g} s, doubled up to {client.Limits().answer_s_max:g} s",
            "the batch is sent again",
        ),
    ]
    return "\n".join(["| what | most | beyond it |", "|---|---|---|", *(f"| {' | '.join(row)} |" for row in rows)])


def updated(page: Path, generated: str) -> str:
    """The page with its generated part replaced."""
    before, _, rest = page.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n\n{generated}\n\n{END}{after}"


PAGES = {"configuration.md": settings, "commands.md": commands, "operations.md": limits}


def main() -> int:
    for name, make in PAGES.items():
        page = DOCS / name
        page.write_text(updated(page, make()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
