"""A journal with given events, for tests of what reads it."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from bson import ObjectId

from zarkov import codec
from zarkov.batch import Entry, Summary
from zarkov.config import JournalSettings
from zarkov.journal import JournalWriter


def event_id(number: int) -> ObjectId:
    """An ObjectId that sorts as the number does."""
    return ObjectId(f"{number:024x}")


def entry(events: Sequence[Mapping[str, Any]]) -> Entry:
    """A commit request of complete events."""
    return Entry(b"".join(codec.encode(dict(event)) for event in events), len(events), Summary.of(events))


def write(
    directory: Path, chunks: Iterable[Sequence[Mapping[str, Any]]], *, rotate_after: Sequence[int] = ()
) -> None:
    """Append each run of events as a chunk of its own; after the chunks numbered in `rotate_after`, rotate."""
    with JournalWriter.open(directory, JournalSettings()) as writer:
        for number, events in enumerate(chunks):
            if events:
                writer.commit([entry(events)])
            if number in rotate_after:
                writer.rotate()
