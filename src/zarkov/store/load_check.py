"""Whether a journal and a database belong together, before anything is loaded; and where to begin.

    MongoDB                                     the journal
    ───────                                     ───────────
    checkpoint: next_offset, last     ◄──►      reader `loader`: moved after MongoDB's checkpoint, so never beyond it
                                                the event at last.offset, the first offset, the end

Whatever does not fit is an error with a way out, never a silent new beginning. Generations that were dropped (by
`rotate` or `init`) are missed by nobody.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import bson

from zarkov.codec import CODEC_OPTIONS
from zarkov.errors import PositionBeyondEnd, StoreBehind
from zarkov.store.load_checkpoint import Checkpoint, Checkpoints, Last, utc_now
from zarkov.store.load_ports import LoadGeneration, LoadSource, MongoDatabase
from zarkov.store.load_rotation import collections_of_events
from zarkov.store.mongo_errors import translated


def begin(source: LoadSource, checkpoints: Checkpoints, database: MongoDatabase) -> int:
    """Where to load a journal from; a rewind that was asked for is done first.

    Raises: PositionBeyondEnd: the journal is not the one that was loaded. StoreBehind: the database is not, or
        lacks events that the journal no longer has. PyMongoError.
    """
    found = checkpoints.read(source.journal_id)
    if found is not None and (found.rewind_to is not None or found.next_offset is None):
        return _rewind(source, checkpoints, found.rewind_to or 0)
    dropped_to = dropped_before(source.generations())
    reader = source.loaded_to() or 0
    if found is None or found.next_offset is None:
        if reader > dropped_to:
            raise StoreBehind(
                f"MongoDB knows nothing of journal {source.journal_id}, of which it had the events before "
                f"offset {reader:,}: it was emptied or exchanged"
            )
        start = max(source.first_offset, dropped_to, reader)
        checkpoints.create(source.journal_id, start)
        return start
    _fits(source, found, found.next_offset, max(reader, dropped_to), dropped_to)
    if found.last is not None and found.last.offset >= dropped_to and not _is_stored(database, found.last):
        raise StoreBehind(
            f"MongoDB has lost events of journal {source.journal_id}: the last one it had, "
            f"at offset {found.last.offset:,}, is in none of its collections"
        )
    return found.next_offset


def safe_start(source: LoadSource, database: MongoDatabase) -> int:
    """From where on a journal has to be loaded again so that `begin` finds no fault; it may be dropped there.

    That is where the checkpoint is, if it fits the journal and the last event before it is stored.
    Raises: StoreError.
    """
    with translated():
        found = Checkpoints(database, utc_now).read(source.journal_id)
        dropped_to = dropped_before(source.generations())
        if found is None or found.next_offset is None or found.next_offset > source.next_offset:
            return dropped_to
        if found.last is not None and not (_is_the_same(source, found.last) and _is_stored(database, found.last)):
            return dropped_to
        return max(found.next_offset, dropped_to)


def ask_rewind(database: MongoDatabase, journal_id: str, offset: int) -> None:
    """Have the loader begin at `offset` again, now or when it runs next. Raises: StoreError."""
    with translated():
        Checkpoints(database, utc_now).ask_rewind(journal_id, offset)


def dropped_before(generations: Sequence[LoadGeneration]) -> int:
    """The offset up to which the generations were dropped."""
    return max((each.stop_offset or 0 for each in generations if each.dropped), default=0)


def _fits(source: LoadSource, found: Checkpoint, next_offset: int, reader: int, dropped_to: int) -> None:
    name, end = source.journal_id, source.next_offset
    if next_offset > end:
        raise PositionBeyondEnd(
            f"MongoDB has the events of journal {name} up to offset {next_offset:,}, and the journal ends at {end:,}"
        )
    if found.last is not None and not _is_the_same(source, found.last):
        raise PositionBeyondEnd(
            f"journal {name} has another event at offset {found.last.offset:,} than the one that was loaded"
        )
    if max(next_offset, dropped_to) < reader:
        raise StoreBehind(
            f"MongoDB has the events of journal {name} before offset {next_offset:,} only, and had them before "
            f"{reader:,}: it was restored from a backup"
        )
    if max(next_offset, dropped_to) < source.first_offset:
        raise StoreBehind(
            f"MongoDB has the events of journal {name} before offset {next_offset:,}, and the journal begins at "
            f"{source.first_offset:,}: those between are in neither"
        )


def _rewind(source: LoadSource, checkpoints: Checkpoints, asked: int) -> int:
    start = min(max(asked, source.first_offset), source.next_offset)
    # The journal's reader first: a crash before the second step leaves the rewind asked for.
    source.reset(start)
    checkpoints.rewound(source.journal_id, start)
    return start


def _is_the_same(source: LoadSource, last: Last) -> bool:
    """False only when the journal has another event at that offset."""
    if not source.first_offset <= last.offset < source.next_offset:
        return True
    for chunk in source.chunks(last.offset, last.offset + 1):
        if any(last.offset in run for run in chunk.runs()):
            return bson.decode(chunk.documents_bytes(), CODEC_OPTIONS).get("_id") == last.id
    return True


def _is_stored(database: MongoDatabase, last: Last) -> bool:
    names: Iterable[str] = collections_of_events(database)
    return any(database[name].find_one({"_id": last.id}, {"_id": 1}) is not None for name in names)
