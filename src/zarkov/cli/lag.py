"""How far MongoDB is behind the journals: the loader's checkpoints against the journals' ends."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace
from typing import Any

from zarkov.config import Settings
from zarkov.position import Position

#: A command that shows facts does not wait longer for MongoDB.
PATIENCE_S = 5.0


def loader_facts(settings: Settings) -> dict[str, Any]:
    """What `stats` shows of MongoDB, by name.

    mongo: `reachable`, or why not. mongo_events: in all generations, by MongoDB's own estimate. loader_behind_events:
    offsets of the journals here that are not loaded yet, by MongoDB's checkpoints; while it is away by what the
    journals know of them. loader_at: the newest checkpoint's time; absent before the first.
    """
    found, reached = _in_mongo(settings)
    ends, known = _in_journals(settings)
    if ends:
        done = reached or {} if found["mongo"] == "reachable" else known
        found["loader_behind_events"] = sum(
            max(0, end - done.get(journal, first)) for journal, (first, end) in ends.items()
        )
    return found


def _in_mongo(settings: Settings) -> tuple[dict[str, Any], Position]:
    """The facts that MongoDB itself has, and its checkpoints."""
    from pymongo.errors import PyMongoError

    from zarkov.cli.wiring import open_mongo
    from zarkov.errors import StoreError
    from zarkov.store.generations import generation_names
    from zarkov.store.load_ports import CHECKPOINTS

    patience_s = min(PATIENCE_S, settings.loader.mongo_timeout_s)
    patient = replace(settings, loader=replace(settings.loader, mongo_timeout_s=patience_s))
    try:
        with open_mongo(patient) as store:
            names = generation_names(store.collection_names())
            events = sum(store.collection(name).estimated_document_count() for name in names)
            checkpoints = list(store.database[CHECKPOINTS].find({"next_offset": {"$exists": True}}))
    except (StoreError, PyMongoError) as error:
        return {"mongo": str(error)}, {}
    facts: dict[str, Any] = {"mongo": "reachable", "mongo_events": events}
    if checkpoints:
        facts["loader_at"] = max(each["updated"] for each in checkpoints).isoformat(" ", "seconds")
    return facts, {str(each["_id"]): int(each["next_offset"]) for each in checkpoints}


def _in_journals(settings: Settings) -> tuple[dict[str, tuple[int, int]], Position]:
    """Of each journal here its first offset and its end, and how far the loader is by its catalog."""
    from zarkov.cli.servers import every_server
    from zarkov.cli.wiring import has_journal
    from zarkov.journal.reader import Journal

    ends: dict[str, tuple[int, int]] = {}
    known: Position = {}
    with ExitStack() as stack:
        for server in every_server(settings):
            if has_journal(server):
                journal = stack.enter_context(Journal.open(server.journal_dir))
                ends[journal.journal_id] = journal.first_offset, journal.next_offset
                readers = {each.name: each.next_offset for each in journal.info().readers}
                if "loader" in readers:
                    known[journal.journal_id] = readers["loader"]
    return ends, known
