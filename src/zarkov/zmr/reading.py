"""What a job reads, page by page: the log as of its submission, and collections of the store.

Theory of operation. The parts of the input (a journal's offsets of a generation, or a collection) are read in the
order in which the request names them, and of each only what comes next is known: no file stays open between two
pages, so that any thread may read the next one. A page has about `map_page_size` bytes as they are stored, in tasks
of at most `map_job_size` events and about `map_page_size / outstanding_maps` bytes; one chunk may be larger. Chunks
without a wanted event, by time, type and `_id`, are passed over unread.

The log cannot change behind a job. A collection can: it is read as it is when its turn comes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from zarkov.codec import encode
from zarkov.config import ZmrSettings
from zarkov.errors import JournalError
from zarkov.event import Document
from zarkov.journal.chunk import Chunk
from zarkov.journal.format import decode_gaps, present
from zarkov.journal.journals import Journals, Part
from zarkov.journal.reader import Journal
from zarkov.journal.selection import Selection
from zarkov.position import OffsetRange, Position
from zarkov.store.bounds import bounds_of
from zarkov.store.contract import Store
from zarkov.store.generations import is_generation
from zarkov.store.parse import parse
from zarkov.zmr.inputs import ChunkInput, DocumentsInput, Input
from zarkov.zmr.request import JobRequest
from zarkov.zmr.split import pages, plan_splits

Inputs = tuple[Input, ...]


@dataclass(frozen=True, slots=True)
class PageLimits:
    """`page_bytes` of stored events in a page; `task_events` and `task_bytes` in one task; `events` in all."""

    page_bytes: int
    task_bytes: int
    task_events: int
    events: int | None = None

    @classmethod
    def of(cls, settings: ZmrSettings, request: JobRequest) -> PageLimits:
        """What the settings say, and the request in their place."""
        return cls(
            page_bytes=settings.map_page_size,
            task_bytes=max(1, settings.map_page_size // settings.outstanding_maps),
            task_events=request.map_job_size or settings.map_job_size,
            events=request.event_limit or settings.event_limit,
        )


class JobInput:
    """The input of one job. For one thread at a time.

    Args:   journals: None where there is no log; generations are then read from the store. parts: those of an
            earlier run of the job, which are read again; without them what the request names is looked up now.
    Raises: JournalCorrupt, JournalError, StoreError: from every method; what cannot be read is never passed over.
    """

    def __init__(
        self,
        request: JobRequest,
        journals: Journals | None,
        store: Store,
        limits: PageLimits,
        parts: Sequence[Mapping[str, Any]] = (),
    ) -> None:
        self._filter = request.filter
        self._store = store
        self._limits = limits
        bounds = bounds_of(parse(self._filter))
        self._selection = Selection(bounds.ts_from_ms, bounds.ts_to_ms, bounds.types, bounds.id_from, bounds.id_to)
        self._parts = _parts_again(parts, journals) if parts else _parts_of(request, journals)
        self._at = 0
        self._next: int | Iterator[DocumentsInput] | None = None
        self._left = limits.events
        self.position: Position = {} if journals is None else _ends(self._parts)

    def parts(self) -> list[Document]:
        """What is read, in order, as a job's document keeps it."""
        return [
            {"collection": part}
            if isinstance(part, str)
            else {"journal": part[0].journal_id, "start": part[1].first, "stop": part[1].stop}
            for part in self._parts
        ]

    def count(self) -> int:
        """How many events and documents there are to be read, at most."""
        total = sum(self._count_of(part) for part in self._parts)
        return total if self._limits.events is None else min(total, self._limits.events)

    def read(self, tasks_max: int) -> tuple[list[Inputs], bool]:
        """The inputs of the next tasks, at least one unless there are no more, and whether these were the last."""
        taken: list[Inputs] = []
        size = 0
        while self._at < len(self._parts) and self._left != 0:
            part = self._parts[self._at]
            found = self._pages_of(part) if isinstance(part, str) else self._chunks_of(*part)
            for inputs, bytes_of_them in found:
                taken.append(inputs)
                size += bytes_of_them
                if self._left is not None:
                    self._left -= sum(each.count for each in inputs)
                if len(taken) == tasks_max or size >= self._limits.page_bytes:
                    return taken, False
            self._at, self._next = self._at + 1, None
        return taken, True

    def _count_of(self, part: Part | str) -> int:
        if isinstance(part, str):
            return self._store.collection(part).estimated_document_count()
        journal, span = part
        total = 0
        for header in journal.headers(span.first, span.stop):
            if self._selection.may_match(header):
                start, stop = max(span.first, header.first_offset), min(span.stop, header.stop)
                total += sum(run.count for run in present(start, stop, decode_gaps(header)))
        return total

    def _chunks_of(self, journal: Journal, span: OffsetRange) -> Iterator[tuple[Inputs, int]]:
        """What comes next of a journal, for one task after another; `_next` is the offset after it."""
        start = self._next if isinstance(self._next, int) else span.first
        left = OffsetRange(start, span.stop - start)
        if not left.count:
            return
        splits = plan_splits(
            journal.headers(start, span.stop),
            left,
            self._limits.task_events,
            journal=journal.journal_id,
            selection=self._selection,
            event_limit=self._left,
        )
        for split in splits:
            for chunks in self._bounded(self._wanted(journal, split.start, split.stop)):
                self._next = chunks[-1].stop
                yield (
                    tuple(ChunkInput(journal.journal_id, chunk) for chunk in chunks),
                    sum(len(chunk.stored) for chunk in chunks),
                )

    def _wanted(self, journal: Journal, start: int, stop: int) -> Iterator[Chunk]:
        wanted = self._selection
        return journal.chunks(
            start,
            stop,
            ts_from_ms=wanted.ts_from_ms,
            ts_to_ms=wanted.ts_to_ms,
            types=wanted.types,
            id_from=wanted.id_from,
            id_to=wanted.id_to,
        )

    def _bounded(self, chunks: Iterator[Chunk]) -> Iterator[Sequence[Chunk]]:
        """The chunks of a split, in parts of about `task_bytes`."""
        held: list[Chunk] = []
        size = 0
        for chunk in chunks:
            if held and size + len(chunk.stored) > self._limits.task_bytes:
                yield held
                held, size = [], 0
            held.append(chunk)
            size += len(chunk.stored)
        if held:
            yield held

    def _pages_of(self, name: str) -> Iterator[tuple[Inputs, int]]:
        if not isinstance(self._next, Iterator):
            documents = map(encode, self._store.collection(name).find(self._filter))
            self._next = pages(islice(documents, self._left), self._limits.task_events)
        for page in self._next:
            yield (page,), len(page.data)


def _parts_of(request: JobRequest, journals: Journals | None) -> list[Part | str]:
    found: list[Part | str] = []
    for name in request.inputs:
        if journals is None or not is_generation(name):
            found.append(name)
        else:
            found += journals.ranges(name)
    return found


def _parts_again(parts: Sequence[Mapping[str, Any]], journals: Journals | None) -> list[Part | str]:
    """Raises: JournalError: a journal is not there any more."""
    known = {} if journals is None else {journal.journal_id: journal for journal in journals.journals}
    found: list[Part | str] = []
    for part in parts:
        if "collection" in part:
            found.append(part["collection"])
        elif part["journal"] in known:
            found.append((known[part["journal"]], OffsetRange(part["start"], part["stop"] - part["start"])))
        else:
            raise JournalError(f"the journal {part['journal']} is not there any more", hint="Submit the job again.")
    return found


def _ends(parts: Sequence[Part | str]) -> Position:
    """The offset after the last one to be read of each journal."""
    found: Position = {}
    for part in parts:
        if not isinstance(part, str):
            journal, span = part
            found[journal.journal_id] = max(found.get(journal.journal_id, 0), span.stop)
    return found
