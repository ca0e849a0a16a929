"""Reading one segment while it may be written, merged or damaged.

Each batch of headers and each data is read in a short transaction of its own, so a reader never holds the WAL for
long. In between chunks may be merged: the reader goes on at an offset, not at a row.

Every header and every data is checked against its checksum. Where a row is not what was written, or SQLite cannot
read its page, the reader goes on with the next chunk that is sound and reports the offsets in between.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import apsw

from zarkov.errors import JournalCorrupt, JournalVersion
from zarkov.journal.chunk import Chunk
from zarkov.journal.database import connect
from zarkov.journal.directory import SegmentFile
from zarkov.journal.format import FORMAT, HEADER_COLUMNS, OFFSET_MAX, ChunkHeader, check, header_is_sound
from zarkov.journal.selection import Selection

#: Headers read in one transaction; data is read a chunk at a time.
BATCH_HEADERS = 128

_DAMAGE = (apsw.CorruptError, apsw.NotADBError, apsw.IOError, apsw.CantOpenError, apsw.MismatchError, apsw.SQLError)


@dataclass(frozen=True, slots=True)
class CorruptChunk:
    """Offsets of a segment that cannot be read as they were written; `stop` is None when its end is unknown."""

    segment: str
    first_offset: int
    stop: int | None
    reason: str


class SegmentReader:
    """A segment, open for reading. Not thread-safe.

    Raises: JournalCorrupt: it is no segment that can be read. JournalVersion: a newer Zarkov wrote it.
    """

    def __init__(self, file: SegmentFile) -> None:
        self.file = file
        try:
            self._connection = connect(file.path, "read")
            found = self._connection.pragma("user_version")
        except apsw.Error as error:
            raise JournalCorrupt(f"{file.path.name} cannot be opened: {error}") from error
        if found > FORMAT:
            raise JournalVersion(f"{file.path.name} has format {found}; this version reads up to {FORMAT}")

    @property
    def connection(self) -> apsw.Connection:
        """For what is not a chunk."""
        return self._connection

    @property
    def is_ready(self) -> bool:
        """False while the writer is making the segment: it then holds nothing. Raises: JournalCorrupt."""
        try:
            # Asked of the file: SQLite's own notion of the schema is as old as this connection's last statement.
            sql = "SELECT count(*) FROM sqlite_master WHERE name = 'chunk'"
            return bool(self._connection.execute(sql).get)
        except apsw.Error as error:
            raise JournalCorrupt(f"{self.file.path.name} cannot be read: {error}") from error

    @property
    def next_offset(self) -> int:
        """The offset after the segment's last sound chunk."""
        try:
            for header in self._query("SELECT {} FROM chunk ORDER BY first_offset DESC"):
                if header_is_sound(header):
                    return header.stop
        except _DAMAGE:
            sound = [part.stop for part in self.headers(0, OFFSET_MAX) if isinstance(part, ChunkHeader)]
            return sound[-1] if sound else self.file.first_offset
        return self.file.first_offset

    def meta(self, key: str) -> Any:
        """A value of the segment's `meta`; None when it is absent or cannot be read."""
        try:
            return self._connection.execute("SELECT value FROM meta WHERE key = ?", (key,)).get
        except apsw.Error:
            return None

    def headers(self, start: int, stop: int) -> Iterator[ChunkHeader | CorruptChunk]:
        """The chunks with offsets in [start, stop), in order, and what lies between them that cannot be read.

        The end of what cannot be read is None where no sound chunk follows in the segment.
        """
        at, damage = start, ""
        while at < stop:
            count = 0
            try:
                for header in self._from(at, stop):
                    count += 1
                    if not header_is_sound(header):
                        damage = damage or "a chunk's header is not what was written"
                        continue
                    if header.stop <= at:
                        continue
                    if header.first_offset > at and (damage or at > start):
                        yield self._corrupt(at, header.first_offset, damage or "chunks are missing")
                    damage, at = "", header.stop
                    yield header
            except _DAMAGE as error:
                damage, count = f"SQLite cannot read it: {error}", BATCH_HEADERS
            if count < BATCH_HEADERS:
                break
            if damage:
                sound = self._next_sound(at)
                if sound is None:
                    break
                yield self._corrupt(at, min(sound, stop), damage)
                damage, at = "", sound
        if damage and at < stop:
            yield self._corrupt(at, None, damage)

    def chunks(self, start: int, stop: int, selection: Selection) -> Iterator[Chunk | CorruptChunk]:
        """The chunks within [start, stop) that may hold wanted events, clipped, in order, their checksums right."""
        at = start
        while True:
            for part in self.headers(at, stop):
                if isinstance(part, CorruptChunk):
                    yield part
                    at = stop if part.stop is None else part.stop
                    continue
                if selection.may_match(part):
                    found = self._chunk(part, at, stop)
                    if found is None:
                        break  # Merged meanwhile: go on from where we are.
                    yield found
                at = part.stop
            else:
                return

    def chunks_newest_first(self, start: int, stop: int, selection: Selection) -> Iterator[Chunk | CorruptChunk]:
        """As `chunks`, from the end."""
        for part in reversed(list(self.headers(start, stop))):
            if isinstance(part, CorruptChunk):
                yield part
            elif selection.may_match(part):
                found = self._chunk(part, start, stop)
                if found is not None:
                    yield found
                else:
                    again = self.chunks(max(start, part.first_offset), min(stop, part.stop), selection)
                    yield from reversed(list(again))

    def close(self) -> None:
        """Close the file; a second call does nothing."""
        self._connection.close()

    def _chunk(self, header: ChunkHeader, start: int, stop: int) -> Chunk | CorruptChunk | None:
        """The chunk with its data; None when another one stands in its place."""
        sql = "SELECT head_crc32c, data FROM chunk WHERE first_offset = ?"
        try:
            found = self._connection.execute(sql, (header.first_offset,)).fetchone()
            if found is None or found[0] != header.head_crc32c:
                return None
            check(header, found[1])
        except JournalCorrupt as damage:
            return self._corrupt(header.first_offset, header.stop, str(damage))
        except _DAMAGE as error:
            return self._corrupt(header.first_offset, header.stop, f"SQLite cannot read its data: {error}")
        return Chunk(header, found[1], max(start, header.first_offset), min(stop, header.stop))

    def _from(self, at: int, stop: int) -> Iterator[ChunkHeader]:
        where = "first_offset >= coalesce((SELECT max(first_offset) FROM chunk WHERE first_offset <= ?1), ?1)"
        sql = (
            f"SELECT {{}} FROM chunk WHERE {where} AND first_offset < ?2 ORDER BY first_offset LIMIT {BATCH_HEADERS}"
        )
        return self._query(sql, (at, stop))

    def _next_sound(self, at: int) -> int | None:
        """The first offset of the first sound chunk after `at`, found from the segment's end backwards."""
        found: int | None = None
        try:
            for header in self._query(
                "SELECT {} FROM chunk WHERE first_offset > ? ORDER BY first_offset DESC", (at,)
            ):
                if header_is_sound(header):
                    found = header.first_offset
        except _DAMAGE:
            return found
        return found

    def _query(self, sql: str, bindings: tuple[int, ...] = ()) -> Iterator[ChunkHeader]:
        for row in self._connection.execute(sql.format(HEADER_COLUMNS), bindings):
            yield ChunkHeader(*row)

    def _corrupt(self, first: int, stop: int | None, reason: str) -> CorruptChunk:
        return CorruptChunk(self.file.path.name, first, stop, reason)
