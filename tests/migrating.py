"""Data directories to be migrated, and what is in one, for tests of `zcmd migrate`."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from bson import Int64, Regex

from commands import Ran, ok, run
from mongod import MongoServer
from stored import event_id, write
from zarkov.journal import Journal
from zarkov.store.sqlite import SqliteStore

START = datetime(2011, 7, 20, 18, 52, 30, 272000)

DOCUMENTS: dict[str, list[dict[str, Any]]] = {
    "agg_def": [{"_id": event_id(1), "name": "perftest", "position": {"journal": Int64(5)}}],
    "notes": [
        {"_id": 1, "x": [1, 2.0, Int64(3), None, True]},
        {"_id": "1", "x": {"y": {"z": START}}},
        {"_id": {"a": 1}, "x": Regex("^a", "i")},
        *({"_id": number, "x": "y" * (number % 7)} for number in range(100, 2_600)),
    ],
}


def event(number: int) -> dict[str, Any]:
    """The event of this number, of different shapes."""
    return {
        "_id": event_id(number),
        "timestamp": START + timedelta(seconds=number * 7 % 1000),
        "type": ("nop", "commit")[number % 2],
        "context": {"number": number, "deep": {"list": [number, Int64(number), float(number)]}},
        **({"extra": None} if number % 3 else {}),
    }


#: The numbers of the events of each generation, oldest first; one is empty.
GENERATIONS = [range(60), range(60, 61), range(0), range(61, 130), range(130, 200)]


@dataclass(frozen=True)
class Content:
    """What a data directory holds: the events of each generation in order, and the documents by collection."""

    events: dict[str, list[dict[str, Any]]]
    documents: dict[str, list[dict[str, Any]]]


def fill(data_dir: Path) -> Content:
    """A data directory with five generations, in chunks of up to 25 events, and documents; returns what is in it."""
    chunks: list[list[dict[str, Any]]] = []
    ends: list[int] = []
    for numbers in GENERATIONS:
        chunks += [[event(number) for number in numbers[at : at + 25]] for at in range(0, len(numbers), 25)] or [[]]
        ends.append(len(chunks) - 1)
    write(data_dir / "journal", chunks, rotate_after=ends[:-1])
    with Journal.open(data_dir / "journal") as journal, SqliteStore(journal, data_dir / "documents.sqlite") as store:
        for name, documents in DOCUMENTS.items():
            store.collection(name).insert_many([dict(each) for each in documents])
    return content(data_dir)


def content(data_dir: Path) -> Content:
    """What is in a data directory now."""
    with Journal.open(data_dir / "journal", on_corrupt="raise") as journal:
        events = {
            name: [found for _, found in journal.read(span.first, span.stop)]
            for name in journal.generation_names()
            for span in [journal.range_of(name)]
        }
        with SqliteStore(journal, data_dir / "documents.sqlite") as store:
            names = [name for name in store.collection_names() if name not in events]
            documents = {name: list(store.collection(name).find()) for name in names}
    return Content(events, documents)


class Migrating:
    """`zcmd migrate` on a database of its own."""

    def __init__(self, mongo: MongoServer) -> None:
        self.mongo = mongo
        self.name = mongo.database()

    def options(self, data_dir: Path, *more: str) -> list[object]:
        settings = [f"mongo_uri={self.mongo.uri}", f"mongo_database={self.name}", *more]
        return ["--data-dir", data_dir, *(f"--set={each}" for each in settings)]

    def run(self, data_dir: Path, *arguments: str, settings: tuple[str, ...] = (), **environment: str) -> Ran:
        return run(*self.options(data_dir, *settings), "migrate", *arguments, **environment)

    def moved(self, data_dir: Path, *arguments: str, **more: Any) -> dict[str, int]:
        """Migrate, and return how many documents of each collection are in the target now; both sides are equal."""
        found = ok(*self.options(data_dir), "migrate", *arguments, "--json", **more).out
        facts = json.loads(found)
        assert facts["equal"], facts
        return {each["name"]: each["target"]["count"] for each in facts["collections"]}
