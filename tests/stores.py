"""Stores over given events, for the contract suite: each backend made in its own way, then asked alike."""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from datetime import datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any

from mongod import MongoServer
from stored import event_id, write
from zarkov.journal.journals import Journals
from zarkov.store.contract import Store
from zarkov.store.mongo import MongoStore
from zarkov.store.sqlite import SqliteStore

#: Generations of events, oldest first, each a list of chunks.
Generations = Sequence[Sequence[Sequence[dict[str, Any]]]]
Open = Callable[..., Store]
#: Whether the store under test keeps a promise of promises.PROMISES.
Keeps = Callable[[str], bool]

BACKENDS = ("sqlite", "mongo")
DAY = datetime(2011, 7, 20)
#: The numbers of the thirty events of the fixture `events`, in the order of arrival: some older ones came late.
ARRIVED = [*range(11, 21), *range(1, 11), *range(21, 31)]


def open_sqlite(folder: Path, closing: ExitStack, generations: Generations) -> Store:
    """The embedded store over a journal of these events."""
    chunks = [chunk for generation in generations for chunk in generation]
    ends = [sum(map(len, generations[: at + 1])) - 1 for at in range(len(generations) - 1)]
    write(folder / "journal", chunks, rotate_after=ends)
    journals = closing.enter_context(Journals.open([folder / "journal"]))
    return closing.enter_context(SqliteStore(journals, folder / "documents.sqlite"))


def open_mongo(server: MongoServer, closing: ExitStack, generations: Generations) -> Store:
    """A database of its own with these events, as the loader leaves them."""
    store = closing.enter_context(MongoStore(server.uri, server.database()))
    closing.callback(store.client.drop_database, store.database.name)
    offsets = count()
    for at, chunks in enumerate(generations):
        older = len(generations) - 1 - at
        collection = store.database[f"event.{older - 1}" if older else "event"]
        for chunk in chunks:
            if chunk:
                collection.insert_many({**event, "o": ["journal", next(offsets)]} for event in chunk)
    return store


def event(number: int, **more: Any) -> dict[str, Any]:
    return {
        "_id": event_id(number),
        "timestamp": DAY + timedelta(minutes=number),
        "type": "odd" if number % 2 else "even",
        "context": {"project": f"p{number % 3}"},
        **more,
    }


def numbers(documents: Any) -> list[int]:
    return [int(str(document["_id"]), 16) for document in documents]
