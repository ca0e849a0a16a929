"""Group the events of a commit into chunks: pure arithmetic over lengths, nothing is decoded."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from zarkov.batch import Entry, Summary
from zarkov.journal.format import skip


@dataclass(frozen=True, slots=True)
class Run:
    """The events of one chunk to be: `count` BSON documents, concatenated."""

    data: bytes
    count: int
    summary: Summary


def plan_runs(entries: Sequence[Entry], events_max: int, bytes_max: int) -> list[Run]:
    """The entries' events in order, in as few chunks as the limits allow.

    Neighbouring entries share a chunk; an entry beyond a limit is cut, each part under the bounds of the whole
    (bounds may be wide, never narrow). A single event beyond `bytes_max` has a chunk of its own.
    """
    runs: list[Run] = []
    parts: list[Run] = []
    count = size = 0
    for entry in entries:
        for piece in _pieces(entry, events_max, bytes_max):
            if parts and (count + piece.count > events_max or size + len(piece.data) > bytes_max):
                runs.append(_joined(parts, count))
                parts, count, size = [], 0, 0
            parts.append(piece)
            count += piece.count
            size += len(piece.data)
    if parts:
        runs.append(_joined(parts, count))
    return runs


def _pieces(entry: Entry, events_max: int, bytes_max: int) -> Iterator[Run]:
    data, left = entry.data, entry.count
    if entry.summary is None:
        return
    if left <= events_max and len(data) <= bytes_max:
        yield Run(data, left, entry.summary)
        return
    start = at = count = 0
    while left:
        end = skip(data, 1, at)
        if count and (count == events_max or end - start > bytes_max):
            yield Run(data[start:at], count, entry.summary)
            start, count = at, 0
        at, count, left = end, count + 1, left - 1
    yield Run(data[start:at], count, entry.summary)


def _joined(parts: Sequence[Run], count: int) -> Run:
    if len(parts) == 1:
        return parts[0]
    summary = parts[0].summary
    for part in parts[1:]:
        summary = summary.merge(part.summary)
    return Run(b"".join([part.data for part in parts]), count, summary)
