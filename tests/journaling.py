"""Journals for tests: numbered events, entries of them, and settings under which segments and chunks are small."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import bson
from bson import ObjectId

from zarkov.batch import Entry, ProducerBatch, Summary
from zarkov.config.journal import JournalSettings
from zarkov.journal import Journal, JournalWriter

START = datetime(2024, 5, 1)
START_MS = 1714521600000

#: Nothing rolls by itself; chunks of up to 100 events.
SETTINGS = JournalSettings(chunk_events_max=100, free_bytes_min=0)


def event(number: int, kind: str = "tick", **more: Any) -> dict[str, Any]:
    """The event of this number: its `_id` and its time (a second apart) grow with it."""
    return {
        "_id": ObjectId(number.to_bytes(12, "big")),
        "timestamp": START + timedelta(seconds=number),
        "type": kind,
        "context": {"number": number},
        **more,
    }


def entry(numbers: Iterable[int], producer: ProducerBatch | None = None, kind: str = "tick") -> Entry:
    """One request to append the events of these numbers."""
    documents = [event(number, kind) for number in numbers]
    data = b"".join(map(bson.encode, documents))
    return Entry(data, len(documents), Summary.of(documents) if documents else None, producer)


def numbers_in(directory: Path, start: int = 0, stop: int | None = None) -> list[int]:
    """The numbers of the events that a fresh reader finds, in order."""
    with Journal.open(directory) as journal:
        return [found["context"]["number"] for _, found in journal.read(max(start, journal.first_offset), stop)]


def fill(directory: Path, count: int, *, each: int = 10, settings: JournalSettings = SETTINGS) -> None:
    """Append events 0 to `count - 1` (by number, continuing), `each` a commit."""
    with JournalWriter.open(directory, settings) as writer:
        first = writer.next_offset
        for start in range(first, first + count, each):
            writer.commit([entry(range(start, min(start + each, first + count)))])


def settle(writer: JournalWriter) -> None:
    """Do all the upkeep there is."""
    while writer.upkeep(idle=True):
        pass


class Clock:
    """A clock that tests set; seconds since 1970."""

    def __init__(self, at_s: float = START_MS / 1000) -> None:
        self.at_s = at_s

    def __call__(self) -> float:
        return self.at_s


def small(**changes: Any) -> JournalSettings:
    """SETTINGS with changes."""
    return replace(SETTINGS, **changes)
