"""`rotate` and `init` on MongoDB: which collections of events go, and dumping them first.

What is dumped is what MongoDB has: its collections may hold more than the journal, where retention is at work, or
where events were there before. First the journal's generations are dropped, then the collections: a crash in between
leaves collections that the next `rotate` dumps again and drops.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from zarkov.cli.dump import Dump, write
from zarkov.cli.load_source import JournalSource, Target, open_sources
from zarkov.cli.operations import perform
from zarkov.config import Settings
from zarkov.store.load_batch import without_o
from zarkov.store.load_ports import MongoDatabase
from zarkov.store.load_rotation import back_of, collections_of_events
from zarkov.store.mongo_errors import translated


def dump_and_drop(settings: Settings, directory: Path, newest: int, stamp: str) -> list[dict[str, Any]]:
    """Dump the collections beyond `num_event_logs` to files, synced, then drop them here and in the journals.

    Args: newest: the ordinal of the generation `event`; stamp: part of the name of a file whose events came from no
        journal of ours.
    """
    kept = 1 + settings.log.num_event_logs
    with Target(settings) as target, open_sources(settings) as sources:
        with translated():
            names = [each for each in collections_of_events(target.database()) if (back_of(each) or 0) >= kept]
        dumps: list[dict[str, Any]] = []
        for name in reversed(names):
            path = directory / _file_name(sources, name, newest - (back_of(name) or 0), stamp)
            written: Dump = write(path, "bson", _pages(target.database(), name))
            dumps.append({"generation": name, "events": written.events, "bytes": written.bytes, "file": str(path)})
        for source in sources:
            if any(each.ordinal <= newest - kept and not each.dropped for each in source.generations()):
                perform(source.server, "drop_generation", ordinal=newest - kept)
        _drop(target.database(), names)
    return dumps


def drop_old(settings: Settings) -> None:
    """Drop every collection of events but `event`, which has only what came in since. Raises: StoreError."""
    with Target(settings) as target:
        with translated():
            names = [each for each in collections_of_events(target.database()) if back_of(each)]
        _drop(target.database(), names)


def _drop(database: MongoDatabase, names: list[str]) -> None:
    with translated():
        for name in reversed(names):
            database.drop_collection(name)


def _pages(database: MongoDatabase, name: str) -> Iterator[bytes]:
    """The events of a collection as they are in the journal, concatenated, a page at a time."""
    with translated():
        pages: Iterator[Any] = database[name].find_raw_batches()
        for page in pages:
            yield without_o(page)


def _file_name(sources: list[JournalSource], name: str, ordinal: int, stamp: str) -> str:
    """By the offsets of its generation; the sums of those, where there are several journals."""
    spans = [
        (each.first_offset, each.stop_offset or each.first_offset)
        for source in sources
        for each in source.generations()
        if each.ordinal == ordinal
    ]
    if not spans:
        return f"{name}.{stamp}.bson.gz"
    return f"event.{sum(first for first, _ in spans):020d}-{sum(stop for _, stop in spans):020d}.bson.gz"
