"""The input of a job in pieces, of which each is the input of one map task. Pure: headers in, ranges out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from zarkov.journal.format import ChunkHeader, decode_gaps, present
from zarkov.journal.selection import EVERYTHING, Selection
from zarkov.position import OffsetRange
from zarkov.zmr.inputs import DocumentsInput

#: Bytes of a page of documents, at most; one document may be larger.
PAGE_BYTES_MAX = 16 * 1024 * 1024

#: Events for which one more partition is worth its cost.
EVENTS_PER_PARTITION = 500_000
#: A job of no more events has one partition: a second task would cost more than it saves.
EVENTS_OF_ONE_PARTITION = 20_000


@dataclass(frozen=True, slots=True)
class Split:
    """Offsets `start` to `stop` (excluded) of a journal, which hold `count` events that may be wanted.

    Chunks in between that hold nothing wanted are not counted; who reads the range passes over them by the same
    selection.
    """

    journal: str
    start: int
    stop: int
    count: int

    def to_document(self) -> dict[str, str | int]:
        return {"journal": self.journal, "start": self.start, "stop": self.stop, "count": self.count}


def plan_splits(
    headers: Iterable[ChunkHeader],
    span: OffsetRange,
    map_job_size: int,
    *,
    journal: str,
    selection: Selection = EVERYTHING,
    event_limit: int | None = None,
) -> Iterator[Split]:
    """Splits of at most `map_job_size` events that cover the span, in order.

    Neighbouring small chunks share a split; a chunk that is larger is cut into equal ones, and is then read by each
    of its tasks. Args: headers: of the chunks that the span touches, by offset; they are read as splits are taken;
    event_limit: events in all splits together, at most.
    """
    pending: Split | None = None
    for piece in _pieces(headers, span, map_job_size, journal, selection, event_limit):
        if pending is None:
            pending = piece
        elif pending.count + piece.count <= map_job_size:
            pending = Split(journal, pending.start, piece.stop, pending.count + piece.count)
        else:
            yield pending
            pending = piece
    if pending is not None:
        yield pending


def pages(documents: Iterable[bytes], map_job_size: int) -> Iterator[DocumentsInput]:
    """Documents of a collection as inputs of at most `map_job_size` documents and about PAGE_BYTES_MAX."""
    held: list[bytes] = []
    size = 0
    for document in documents:
        if held and (len(held) >= map_job_size or size + len(document) > PAGE_BYTES_MAX):
            yield DocumentsInput(b"".join(held), len(held))
            held, size = [], 0
        held.append(document)
        size += len(document)
    if held:
        yield DocumentsInput(b"".join(held), len(held))


def partition_count_for(events: int, workers: int, most: int) -> int:
    """Into how many partitions the output of maps over so many events goes, where the job does not say.

    One for a small job; otherwise enough for every worker, and one more for each EVENTS_PER_PARTITION, so that a
    reduce's part of the work stays of one size; at most `most`.
    """
    if events <= EVENTS_OF_ONE_PARTITION:
        return 1
    return max(1, min(max(workers, -(-events // EVENTS_PER_PARTITION)), most))


def _pieces(
    headers: Iterable[ChunkHeader],
    span: OffsetRange,
    size: int,
    journal: str,
    selection: Selection,
    event_limit: int | None,
) -> Iterator[Split]:
    """The wanted chunks, clipped to the span and cut to `size`, until there are `event_limit` events."""
    left = event_limit
    for header in headers:
        start, stop = max(span.first, header.first_offset), min(span.stop, header.stop)
        if start >= stop or not selection.may_match(header):
            continue
        runs = [*present(start, stop, decode_gaps(header))]
        held = sum(run.count for run in runs)
        count = held if left is None else min(held, left)
        parts = -(-count // size)
        for part in range(parts):
            taken, end = count * part // parts, count * (part + 1) // parts
            after = stop if end == held else _offset_of(runs, end)
            yield Split(journal, start, after, end - taken)
            start = after
        if left is not None:
            left -= count
            if left <= 0:
                return


def _offset_of(runs: Iterable[OffsetRange], number: int) -> int:
    """The offset of an event by its number from 0."""
    for run in runs:
        if number < run.count:
            return run.first + number
        number -= run.count
    raise IndexError(number)
