"""`migrate to-embedded`: a database into the files of a data directory.

The events go into a fresh journal, generation by generation, each in order. What is always true while it runs:

- A batch of events and the place after it are one commit: the batch is the migration's as a producer, and the place
  is the note of that batch. So whatever a kill leaves behind, the next attempt goes on behind the last event stored.
- The generation being written is the one of which the journal has begun as many as MongoDB had before it: `rotate` is
  the step from one to the next, and needs no note.
- The first batch is empty. A journal without it that holds anything is somebody else's and is left alone; so is one
  that other events came into meanwhile.

The documents lie in a file of their own. They are put there before the events, in place of what an earlier attempt
put.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from zarkov import codec
from zarkov.batch import Entry, ProducerBatch, Summary
from zarkov.cli.migration import Move, Progress, compare, no_loader, stored_events
from zarkov.cli.operations import hold
from zarkov.cli.servers import every_server
from zarkov.cli.wiring import has_journal, open_journals, open_mongo
from zarkov.config import Settings
from zarkov.errors import JournalError
from zarkov.event import Document
from zarkov.journal.writer import JournalWriter
from zarkov.store.document_transfer import EmbeddedDocuments
from zarkov.store.mongo_transfer import MongoTransfer, Place

#: The migration's name among the producers of the journal.
PRODUCER = b"zarkov migrate to-embedded"


@dataclass(slots=True)
class _Batch:
    """Events to be committed together, decoded and as BSON, and the place of the last of them."""

    events: list[Document]
    data: list[bytes]
    after: Place | None = None


@dataclass(slots=True)
class _Target:
    """The journal being written, and what the last commit said.

    note: `database`; the `generation` that was written to, by its number from the oldest; the `journal` and the place
    `after` which to go on there; `stop`, the offset after the last event; `done`, whether nothing is left.
    """

    writer: JournalWriter
    sequence: int
    note: Document

    def commit(self, change: Document, batch: _Batch | None = None) -> None:
        """Append events, and the note with a change, in one synced transaction."""
        count = len(batch.data) if batch else 0
        note = {**self.note, **change, "stop": self.writer.next_offset + count}
        summary = Summary.of(batch.events) if batch else None
        numbered = ProducerBatch(PRODUCER, self.sequence + 1, codec.encode(note))
        self.writer.commit([Entry(b"".join(batch.data) if batch else b"", count, summary, numbered)])
        self.sequence, self.note = numbered.sequence, note


def migrate(settings: Settings, progress: Progress) -> list[Move]:
    """Move the database into the data directory, or go on with it; then compare both.

    Raises: JournalLocked: a server or loader runs here. JournalError: the journal here is not an empty one.
        StoreUnreachable, StoreFailed, JournalFull: what was moved stays; the next attempt goes on from there.
    """
    # Old events must not be too old for the journal that they come into, and nothing waits for a loader there.
    kept = replace(settings, mongo_uri=None, log=replace(settings.log, retention_bytes=0, retention_age_s=0))
    with no_loader(settings), open_mongo(settings) as store, hold(kept) as held:
        source = MongoTransfer(store.database)
        target = _begin(held.writer, settings)
        if not target.note["done"]:
            _move_documents(source, settings, progress)
            _move_events(source, target, settings, progress)
            target.commit({"done": True})
    return verify(settings, progress)


def verify(settings: Settings, progress: Progress) -> list[Move]:
    """Compare what is in MongoDB with what is in the data directory, collection by collection."""
    with (
        open_mongo(settings) as store,
        open_journals(settings) as journals,
        EmbeddedDocuments(settings.documents_path) as documents,
    ):
        source = MongoTransfer(store.database)
        moves = []
        for name in sorted({*source.names(), *documents.names()}):
            moves.append(compare(name, source.pages(name), documents.pages(name), progress))
        for name in _both(source.generations(), journals.generation_names()):
            moves.append(compare(name, source.event_pages(name), stored_events(journals, name), progress))
    return moves


def _begin(writer: JournalWriter, settings: Settings) -> _Target:
    """The journal as an earlier attempt left it, or a fresh one with the first note.

    Raises: JournalError: there is something else in it.
    """
    mine = [record for record in writer.producer_records() if record.producer == PRODUCER]
    if not mine:
        others = [
            each.journal for each in every_server(settings) if each.journal != settings.journal and has_journal(each)
        ]
        if others or writer.next_offset or len(writer.generations()) > 1:
            raise JournalError(
                f"there are events in {settings.data_dir} already",
                hint="Name a new directory with --data-dir. If the journal there still has every event, it needs no "
                "migration: leave mongo_uri out of the settings.",
            )
        target = _Target(writer, 0, {"database": settings.mongo_database, "done": False})
        target.commit({"generation": 0, "journal": None, "after": None})
        return target
    record = max(mine, key=lambda each: each.sequence)
    note = codec.decode(record.note)
    if not note["done"]:
        if note["stop"] != writer.next_offset:
            raise JournalError(
                f"other events came into {settings.data_dir} while it was being migrated",
                hint="Begin again in a new directory, with --data-dir, and start no server there before it is done.",
            )
        if note["database"] != settings.mongo_database:
            raise JournalError(
                f"{settings.data_dir} holds a part of database {note['database']}, not of {settings.mongo_database}",
                hint="Name that database, or a new directory with --data-dir.",
            )
    return _Target(writer, record.sequence, note)


def _move_documents(source: MongoTransfer, settings: Settings, progress: Progress) -> None:
    with EmbeddedDocuments(settings.documents_path) as documents:
        for name in source.names():
            with progress(name, source.count(name)) as done:
                for page in source.pages(name):
                    documents.put(name, page)
                    done(len(page))


def _move_events(source: MongoTransfer, target: _Target, settings: Settings, progress: Progress) -> None:
    generations = source.generations()
    for number in range(len(target.writer.generations()) - 1, len(generations)):
        name = generations[number]
        with progress(name, source.count(name)) as done:
            for journal, after in _left(source, name, target.note, number):
                events = source.events(name, journal, after)
                for batch in _batches(events, settings):
                    target.commit({"generation": number, "journal": journal, "after": batch.after}, batch)
                    done(len(batch.data))
        if number + 1 < len(generations):
            target.writer.rotate()


def _left(source: MongoTransfer, name: str, note: Document, number: int) -> Iterator[tuple[str | None, Place | None]]:
    """The journals of which a generation still has events to move, in order, each with the place reached."""
    journals: list[str | None] = [None, *source.journals(name)]
    if note["generation"] == number and note["after"] is not None:
        reached = note["journal"]
        yield reached, note["after"]
        journals = [each for each in journals if each is not None and (reached is None or each > reached)]
    for journal in journals:
        yield journal, None


def _batches(events: Iterator[tuple[Place, Document]], settings: Settings) -> Iterator[_Batch]:
    """Events in batches as large as the loader's."""
    limits = settings.loader
    batch, size = _Batch([], []), 0
    for place, event in events:
        data = codec.encode(event)
        if batch.data and (
            len(batch.data) == limits.loader_batch_events_max or size + len(data) > limits.loader_batch_bytes_max
        ):
            yield batch
            batch, size = _Batch([], []), 0
        batch.events.append(event)
        batch.data.append(data)
        batch.after = place
        size += len(data)
    if batch.data:
        yield batch


def _both(names: list[str], others: list[str]) -> list[str]:
    """The generations of either, oldest first."""
    return max(names, others[::-1], key=len)
