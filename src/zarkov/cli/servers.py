"""Which event servers a data directory has: those of the settings, and those that left a journal."""

from __future__ import annotations

from zarkov.cli.wiring import has_journal
from zarkov.config import Settings
from zarkov.config.settings import EVENT_SERVERS_MAX


def every_server(settings: Settings) -> list[Settings]:
    """The settings of each event server whose events are read, and that a `rotate` must reach, in order."""
    return [*settings.event_servers(), *left_over(settings)]


def left_over(settings: Settings) -> list[Settings]:
    """Those of servers beyond `num_event_servers` that have a journal: nothing comes in there any more."""
    beyond = range(max(1, settings.num_event_servers), EVENT_SERVERS_MAX)
    there = [number for number in beyond if (settings.data_dir / settings.journal_of(number)).exists()]
    return [server for number in there if has_journal(server := settings.event_server(number))]


def warnings(settings: Settings) -> list[str]:
    """Sentences for the log about servers that are no more."""
    gone = [server.journal for server in left_over(settings)]
    if not gone:
        return []
    number = settings.num_event_servers
    return [
        f"num_event_servers is {number}, and {settings.data_dir} has also {', '.join(gone)}: "
        "what is in there is read, and nothing more comes in"
    ]
