"""Ending generations in several journals together, so that `event.0` means the same in each.

What holds them together is a generation's ordinal. A `rotate` that could not reach every journal leaves some at an
earlier ordinal than others; the next one takes those on first, and begins nothing new.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from zarkov.cli.operations import Held, perform
from zarkov.cli.servers import every_server
from zarkov.config import Settings
from zarkov.errors import ZarkovError

Answer = dict[str, Any]


def rotate_all(settings: Settings) -> list[tuple[Settings, Answer]]:
    """End the generation `event` in every journal, or finish what an earlier call had to leave.

    Returns: each server's settings and what `rotate` answered, in order; servers that were done already are left out.
    Raises: what `rotate` raises, saying which journals were done before.
    """
    servers = every_server(settings)
    if len(servers) == 1:
        return [(settings, perform(settings, "rotate"))]
    ordinals = [_ordinal(server) for server in servers]
    newest = max(ordinals)
    target = newest + 1 if min(ordinals) == newest else newest
    behind = [server for server, ordinal in zip(servers, ordinals, strict=True) if ordinal < target]
    return _on_each(behind, "rotate", ordinal=target)


def drop_all(settings: Settings) -> list[Answer]:
    """Drop every event and every rejected event of every event server; returns the answers, in order.

    Raises: what `init` raises, saying which journals were done before.
    """
    servers = every_server(settings)
    if len(servers) == 1:
        return [perform(settings, "init")]
    target = max(map(_ordinal, servers)) + 1
    return [answer for _, answer in _on_each(servers, "init", ordinal=target)]


def _on_each(servers: Sequence[Settings], name: str, **arguments: object) -> list[tuple[Settings, Answer]]:
    done: list[tuple[Settings, Answer]] = []
    for server in servers:
        try:
            done.append((server, perform(server, name, **arguments)))
        except ZarkovError as error:
            before = ", ".join(each.journal for each, _ in done) or "none"
            sentence = f"{server.journal}: {error} (done: {before}; the same command again does the rest)"
            error.args = (sentence,)
            raise
    return done


def catch_up(held: Held, servers: Settings) -> None:
    """Begin a journal that holds nothing yet at the generation the others are at.

    Args: servers: the settings of all of them.
    """
    if held.writer.next_offset:
        return
    others = [_ordinal(server) for server in every_server(servers) if server.journal != held.settings.journal]
    for _ in range(held.writer.generations()[0].ordinal, max(others, default=0)):
        held.writer.rotate()


def _ordinal(server: Settings) -> int:
    """The ordinal of a journal's current generation; 0 where there is none yet."""
    from zarkov.journal.catalog import Catalog

    catalog = Catalog.open(server.journal_dir)  # None also while the server is just making it
    if catalog is None:
        return 0
    try:
        return catalog.generations()[0].ordinal
    finally:
        catalog.close()
