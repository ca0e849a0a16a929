"""A spool's file that is a dict: it outlives its client as a disk does, and is full when a test wants it."""

from __future__ import annotations

from collections.abc import Sequence

from zarkov.client.spool import Row
from zarkov.errors import SpoolFailed


def disk_full() -> SpoolFailed:
    failure = SpoolFailed("the spool cannot be written: the disk is full")
    failure.retryable = True
    return failure


class DictFile:
    """See `zarkov.client.spooled.SpoolFile`; `reopened` is what the next process finds."""

    def __init__(self, producer: bytes = b"p") -> None:
        self.producer, self.next_sequence = producer, 1
        self.rows: dict[int, Row] = {}
        self.failure: SpoolFailed | None = None
        self.writes = 0
        self.count()

    def count(self) -> None:
        self.batch_count = len(self.rows)
        self.event_count = sum(row.count for row in self.rows.values())
        self.byte_count = sum(len(row.events) for row in self.rows.values())
        self.oldest = min(self.rows, default=self.next_sequence)

    def reopened(self) -> DictFile:
        copy = DictFile(self.producer)
        copy.rows, copy.next_sequence = dict(self.rows), self.next_sequence
        copy.count()
        return copy

    def write(self, added: Sequence[Row], removed: Sequence[int]) -> None:
        self.writes += 1
        if self.failure is not None:
            raise self.failure
        for sequence in removed:
            self.rows.pop(sequence, None)
        for row in added:
            assert row.sequence >= self.next_sequence, "a sequence is given twice"
            self.rows[row.sequence] = row
            self.next_sequence = row.sequence + 1

    def read(self, sequence: int, bytes_max: int) -> tuple[list[Row], int | None]:
        if self.failure is not None and not self.failure.retryable:
            raise self.failure
        rows = [self.rows[at] for at in sorted(self.rows) if at >= sequence]
        found: list[Row] = []
        while rows and (not found or sum(len(row.events) for row in found) + len(rows[0].events) <= bytes_max):
            found.append(rows.pop(0))
        return found, rows[0].sequence if rows else None

    def rename(self) -> bytes:
        if self.failure is not None:
            raise self.failure
        self.producer += b"'"
        return self.producer
