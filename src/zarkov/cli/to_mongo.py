"""`migrate to-mongo`: the files of a data directory into a database.

The events are the loader's work, done here to the journals' ends: it inserts by `_id`, notes its checkpoint in
MongoDB, makes the generations there, and goes on where it was after a kill. A server with these settings later starts
a loader that goes on from the same checkpoint. The documents go before the events; each collection, once it is in
MongoDB, is noted with its checksum in `zarkov.migrate`, and left out by the next attempt if it still is the same.

The locks of the journals and of the loader are held all the time, so nothing comes in, and nothing else loads. What
somebody else put into the database is never overwritten, nor is anything after a migration was finished.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from datetime import UTC, datetime
from typing import Any

from zarkov.cli.load_source import JournalSource, Target, open_sources
from zarkov.cli.migration import Move, Progress, checksum_of_pages, compare, no_loader, stored_events
from zarkov.cli.operations import hold
from zarkov.cli.output import warn
from zarkov.cli.servers import every_server
from zarkov.cli.wiring import has_journal, open_journals, open_mongo, require_journal
from zarkov.config import Settings
from zarkov.errors import StoreFailed, StoreUnreachable, ZarkovError, error_codes
from zarkov.store.document_transfer import EmbeddedDocuments
from zarkov.store.load_status import LoadStatus, State
from zarkov.store.loader import Loader
from zarkov.store.mongo_transfer import MongoTransfer

DIRECTION = "to-mongo"

#: What `zarkov.migrate` says: `journals`, the ids of those that are moved; `documents`, what is known of each
#: collection that was moved; `finished`, when all was.
Note = dict[str, Any]


def migrate(settings: Settings, progress: Progress) -> list[Move]:
    """Move the data directory into the database, or go on with it; then compare both.

    Raises: JournalLocked: a server or loader runs here. ServerUnreachable: there is no journal. StoreFailed: the
        database holds something else. StoreBehind, PositionBeyondEnd: it is not the one this journal was loaded into.
        StoreUnreachable: what was moved stays; the next attempt goes on from there.
    """
    with open_mongo(settings) as store, no_loader(settings), ExitStack() as held:
        require_journal(settings)
        for server in every_server(settings):
            if has_journal(server):
                held.enter_context(hold(server))
        with open_sources(settings) as sources, EmbeddedDocuments(settings.documents_path) as documents:
            target = MongoTransfer(store.database)
            note = _begin(target, [each.journal_id for each in sources], documents.names())
            if "finished" not in note:
                _move_documents(documents, target, note, progress)
                _move_events(settings, sources, progress)
                target.note(DIRECTION, {**note, "finished": datetime.now(UTC)})
        return verify(settings, progress)


def verify(settings: Settings, progress: Progress) -> list[Move]:
    """Compare what is in the data directory with what is in MongoDB, collection by collection.

    Of the events in MongoDB those count that have their place in what the journals here still hold, or none.
    """
    with (
        open_mongo(settings) as store,
        open_journals(settings) as journals,
        EmbeddedDocuments(settings.documents_path) as documents,
    ):
        target = MongoTransfer(store.database)
        moves = [compare(name, documents.pages(name), target.pages(name), progress) for name in documents.names()]
        for name in reversed(journals.generation_names()):
            places = {journal.journal_id: span for journal, span in journals.ranges(name)}
            there = target.event_pages(name, places)
            moves.append(compare(name, stored_events(journals, name), there, progress))
    return moves


def _begin(target: MongoTransfer, journals: list[str], names: list[str]) -> Note:
    """What an earlier attempt noted, or the first note.

    Raises: StoreFailed: there is something else in the database.
    """
    found = target.progress(DIRECTION)
    if found is not None:
        if set(found["journals"]) <= set(journals):
            return found
        raise _taken(f"the events of another data directory were moved into the database {target.name}")
    if not target.is_loaded(journals) and target.has_events():
        raise _taken(f"the database {target.name} has events of something else")
    if both := sorted(set(names) & set(target.names())):
        raise _taken(f"the database {target.name} has documents in {', '.join(both)} already")
    note: Note = {"journals": journals, "documents": [], "started": datetime.now(UTC)}
    target.note(DIRECTION, note)
    return note


def _taken(sentence: str) -> StoreFailed:
    return StoreFailed(sentence, hint="Name a new database, as with --set mongo_database=zarkov2.")


def _move_documents(documents: EmbeddedDocuments, target: MongoTransfer, note: Note, progress: Progress) -> None:
    for name in documents.names():
        checksum = checksum_of_pages(documents.pages(name))
        known = {"name": name, "count": checksum.count, "checksum": str(checksum)}
        if known in note["documents"]:
            continue
        with progress(name, checksum.count) as done:
            for page in documents.pages(name):
                target.put(name, page)
                done(len(page))
        note["documents"].append(known)
        target.note(DIRECTION, note)


def _move_events(settings: Settings, sources: list[JournalSource], progress: Progress) -> None:
    """Load to the ends of the journals, which stay where they are meanwhile.

    Raises: what the loader would wait for a person to settle, at once; StoreUnreachable: MongoDB stayed away for
        longer than `mongo_timeout_s`.
    """
    ends = {each.journal_id: each.next_offset for each in sources}
    starts = {each.journal_id: each.first_offset for each in sources}
    with progress("events", sum(ends.values()) - sum(starts.values())) as done, Target(settings) as database:
        watch = _Watch(starts, done, settings.loader.mongo_timeout_s)
        loader = Loader(
            database, sources, settings.loader, jitter=random.random, clock=time.monotonic, report=watch.report
        )
        loader.run(
            watch.stop, lambda loader: all(loader.status.next_offsets.get(name) == ends[name] for name in ends)
        )
    if watch.failure is not None:
        raise watch.failure
    if loader.status.repeated:
        warn(f"{loader.status.repeated:,} events stand twice in the journal and are in MongoDB once")
    if loader.status.rejected:
        warn(f"{loader.status.rejected:,} events were refused by MongoDB: see `zcmd rejected list`")


class _Watch:
    """Follows a loader: tells how far it is, and stops it when somebody has to do something."""

    def __init__(self, starts: dict[str, int], done: Callable[[int], None], patience_s: float) -> None:
        self.stop = threading.Event()
        self.failure: ZarkovError | None = None
        self._at = starts
        self._done = done
        self._patience_s = patience_s
        self._waits_since_s: float | None = None

    def report(self, status: LoadStatus) -> None:
        """Hear a status of the loader, in its thread."""
        moved = {name: at for name, at in status.next_offsets.items() if at > self._at.get(name, at)}
        if moved:
            self._done(sum(at - self._at[name] for name, at in moved.items()))
            self._at = {**self._at, **moved}
            self._waits_since_s = None
        if status.state is State.BEHIND:
            self._give_up(status)
        elif status.state is State.WAITING:
            now_s = time.monotonic()
            if self._waits_since_s is None:
                self._waits_since_s = now_s
            if now_s - self._waits_since_s >= self._patience_s:
                self._give_up(status)

    def _give_up(self, status: LoadStatus) -> None:
        kind = error_codes().get(status.code, StoreUnreachable)
        self.failure = kind(status.reason, hint=status.hint)
        self.stop.set()
