"""`stats`: what a running server has done, or what the journal says when none runs; and how far MongoDB is behind."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any

import typer

from zarkov.cli.context import zcmd_of
from zarkov.cli.output import byte_size, print_facts, print_json
from zarkov.cli.selection import AsJson
from zarkov.config import Settings

PANEL = "Look after"


def register(app: typer.Typer) -> None:
    """Add the command to zcmd."""
    app.command(rich_help_panel=PANEL)(stats)


def stats(
    ctx: typer.Context,
    watch_s: Annotated[
        float | None, typer.Option("--watch", min=0.1, metavar="S", help="Again every S seconds.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show what the running server has done.

    Its counters and timers; without a server, what is in the journal. With MongoDB also how many events wait in the
    journal to be loaded. docs/operations.md says what each of them means.

    Example: [bold]zcmd stats --watch 1[/bold]
    """
    import time

    settings = zcmd_of(ctx).settings
    try:
        while True:
            _show(settings, as_json, clear=watch_s is not None)
            if watch_s is None:
                return
            time.sleep(watch_s)
    except KeyboardInterrupt:
        return


def _show(settings: Settings, as_json: bool, *, clear: bool) -> None:
    facts = read(settings)
    if as_json:
        print_json(facts)
        return
    if clear:
        print("\033[H\033[2J", end="")
    print_facts(_lines(facts))


def _lines(facts: Mapping[str, Any], inside: str = "") -> Iterator[tuple[str, object]]:
    """The facts as names and values; those of one of several event servers with its journal's name in front."""
    for name, value in facts.items():
        if isinstance(value, dict) and "p50_s" not in value:
            yield from _lines(value, f"{inside}{name}.")
        else:
            yield inside + name, shown(name, value)


def read(settings: Settings) -> dict[str, Any]:
    """What the event server says or its journal, of several each by its journal's name; then the loader's part."""
    from zarkov.cli.lag import loader_facts
    from zarkov.cli.servers import every_server
    from zarkov.cli.wiring import has_journal, require_journal

    servers = every_server(settings)
    here = any(has_journal(each) for each in servers)
    if not here and settings.mongo_uri is None:
        require_journal(settings)
    if not here:
        facts: dict[str, Any] = {"server": "elsewhere"}
    elif len(servers) == 1:
        facts = _of_one(settings)
    else:
        apart = {each.journal: _of_one(each) for each in servers if has_journal(each)}
        facts = _summed(list(apart.values())) | apart
    return facts | (loader_facts(settings) if settings.mongo_uri else {})


def _summed(several: list[dict[str, Any]]) -> dict[str, Any]:
    """The counts of several event servers added up, by the names of a single one; offsets and times are not."""
    states = {str(facts["server"]) for facts in several}
    found: dict[str, Any] = {"server": states.pop() if len(states) == 1 else "partly running"}
    for facts in several:
        for name, value in facts.items():
            if type(value) in (int, float) and not name.endswith("_offset"):
                found[name] = found.get(name, 0) + value
    return found


def _of_one(settings: Settings) -> dict[str, Any]:
    """One event server's snapshot, or its journal's facts; `server` says which."""
    from zarkov.cli.control import ask, is_running
    from zarkov.cli.output import plain
    from zarkov.cli.wiring import open_journal

    if is_running(settings.control_path):
        answer = ask(settings.control_path, "stats")
        return {"server": "running", **answer["endpoints"], **answer["metrics"]}
    with open_journal(settings) as journal:
        info = journal.info()
    facts = ("directory", "journal_id", "first_offset", "next_offset", "events", "chunks", "bytes")
    return {"server": "not running", **{name: plain(getattr(info, name)) for name in facts}}


def shown(name: str, value: object) -> object:
    """A metric as people read it: sizes and durations with their unit."""
    if isinstance(value, dict) and "p50_s" in value:
        parts = [f"{key.removesuffix('_s')} {_duration(value[key])}" for key in ("p50_s", "p90_s", "p99_s", "max_s")]
        return f"{value['count']:,} x  " + "  ".join(parts)
    if isinstance(value, float) and name.endswith("_s"):
        return _duration(value)
    if isinstance(value, int | float) and not isinstance(value, bool) and "bytes" in name:
        return byte_size(value)
    if isinstance(value, float):
        return int(value) if value == int(value) else round(value, 3)
    return value


def _duration(seconds: float) -> str:
    if seconds < 0.001:
        return f"{seconds * 1e6:.0f} us"
    return f"{seconds * 1000:.2f} ms" if seconds < 1 else f"{seconds:,.1f} s"
