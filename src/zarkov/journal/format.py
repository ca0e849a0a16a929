"""The row of a chunk: how a run of events becomes bytes with checksums, and back. No files here.

A chunk covers `count` consecutive offsets from `first_offset`. Its data is the BSON of its events, concatenated,
under one of the codecs below. `gaps` are offsets inside the chunk that have no event any more: `data` simply does
not contain them. Two checksums (CRC-32C, Castagnoli) guard it: `crc32c` the stored data, `head_crc32c` every other
column, so that a scan may trust the bounds by which it skips a chunk without reading its data.
"""

from __future__ import annotations

import json
import struct
import threading
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import google_crc32c
import zstandard

from zarkov.batch import Summary
from zarkov.errors import JournalCorrupt
from zarkov.position import OffsetRange

#: Version of the format, in the file's `meta` and in its `user_version`.
FORMAT = 1
#: "ZKJ1", in the SQLite header: lets `file` and an operator tell what this is.
APPLICATION_ID = 0x5A4B4A31

#: Beyond every offset: the largest integer of SQLite.
OFFSET_MAX = 2**63 - 1

CODEC_RAW = 0  # the BSON itself
CODEC_ZSTD = 1  # one zstd frame
CODEC_GONE = 2  # no data: every offset is a gap (lost to damage, or erased)

HEADER_COLUMNS = (
    "first_offset, count, gaps, ts_min_ms, ts_max_ms, id_min, id_max, types, codec, level, raw_bytes, crc32c, "
    "head_crc32c"
)

_numbers = struct.Struct(">qqqqqqqq")
_gap = struct.Struct(">II")
_length = struct.Struct("<i")
_DOCUMENT_BYTES_MIN = 5
_threads = threading.local()


class ChunkHeader(NamedTuple):
    """Every column of a chunk but its data; `level` is the zstd level it was written with (0: none)."""

    first_offset: int
    count: int  # type: ignore[assignment]  # hides tuple.count, which nobody needs here
    gaps: bytes | None
    ts_min_ms: int
    ts_max_ms: int
    id_min: bytes
    id_max: bytes
    types: str | None
    codec: int
    level: int
    raw_bytes: int
    crc32c: int
    head_crc32c: int

    @property
    def stop(self) -> int:
        """The offset after the last one."""
        return self.first_offset + self.count

    @property
    def summary(self) -> Summary:
        """The bounds of the chunk's events."""
        types = None if self.types is None else frozenset(json.loads(self.types))
        return Summary(self.ts_min_ms, self.ts_max_ms, self.id_min, self.id_max, types)


class ChunkRow(NamedTuple):
    """A chunk as it is stored."""

    header: ChunkHeader
    data: bytes


class Packer:
    """Makes rows at one zstd level. Not thread-safe: the compressor is reused. The GIL is free while it works."""

    def __init__(self, level: int) -> None:
        self.level = level
        self._zstd = zstandard.ZstdCompressor(level=level) if level else None

    def pack(
        self, first_offset: int, count: int, data: bytes, summary: Summary, gaps: Sequence[OffsetRange] = ()
    ) -> ChunkRow:
        """The row of a run of events; data that does not shrink is stored as it is."""
        codec, stored = CODEC_RAW, data
        if self._zstd is not None:
            compressed = self._zstd.compress(data)
            if len(compressed) < len(data):
                codec, stored = CODEC_ZSTD, compressed
        return _row(
            first_offset, count, encode_gaps(first_offset, gaps), summary, codec, self.level, len(data), stored
        )


def pack_gone(first_offset: int, count: int, summary: Summary) -> ChunkRow:
    """The row that stands where `count` offsets have no events any more."""
    return _row(first_offset, count, None, summary, CODEC_GONE, 0, 0, b"")


def _row(
    first_offset: int, count: int, gaps: bytes | None, summary: Summary, codec: int, level: int, raw: int, data: bytes
) -> ChunkRow:
    types = None if summary.types is None else json.dumps(sorted(summary.types))
    header = ChunkHeader(
        first_offset,
        count,
        gaps,
        summary.ts_min_ms,
        summary.ts_max_ms,
        summary.id_min,
        summary.id_max,
        types,
        codec,
        level,
        raw,
        _crc32c(data),
        0,
    )
    return ChunkRow(header._replace(head_crc32c=_head_crc32c(header)), data)


def header_is_sound(header: ChunkHeader) -> bool:
    """Whether the header is what was written; a damaged one may hold values of any type."""
    try:
        return header.count > 0 and _head_crc32c(header) == header.head_crc32c
    except (TypeError, struct.error, AttributeError, UnicodeError, ValueError):
        return False


def unpack(header: ChunkHeader, data: bytes) -> bytes:
    """The BSON of the chunk's events. Raises: JournalCorrupt: the data is not what was written."""
    check(header, data)
    if header.codec == CODEC_RAW:
        return data
    if header.codec == CODEC_GONE:
        return b""
    zstd = getattr(_threads, "zstd", None)
    if zstd is None:
        zstd = _threads.zstd = zstandard.ZstdDecompressor()
    try:
        raw: bytes = zstd.decompress(data, max_output_size=header.raw_bytes)
    except zstandard.ZstdError as error:
        raise JournalCorrupt(f"the chunk at offset {header.first_offset:,} does not decompress: {error}") from error
    return raw


def check(header: ChunkHeader, data: bytes) -> None:
    """Raises: JournalCorrupt: the checksum of the data does not match, or the codec is not known."""
    if header.codec not in (CODEC_RAW, CODEC_ZSTD, CODEC_GONE):
        raise JournalCorrupt(f"the chunk at offset {header.first_offset:,} has the unknown codec {header.codec}")
    if not isinstance(data, bytes) or _crc32c(data) != header.crc32c:
        raise JournalCorrupt(f"the checksum of the chunk at offset {header.first_offset:,} does not match")


def encode_gaps(first_offset: int, gaps: Sequence[OffsetRange]) -> bytes | None:
    """Pairs of (offset from the chunk's first, count), each a big-endian uint32; None without any."""
    return b"".join(_gap.pack(gap.first - first_offset, gap.count) for gap in gaps) or None


def decode_gaps(header: ChunkHeader) -> tuple[OffsetRange, ...]:
    """The chunk's gaps in order; a chunk that is gone is one gap."""
    if header.codec == CODEC_GONE:
        return (OffsetRange(header.first_offset, header.count),)
    if header.gaps is None:
        return ()
    return tuple(OffsetRange(header.first_offset + at, count) for at, count in _gap.iter_unpack(header.gaps))


def present(start: int, stop: int, gaps: Sequence[OffsetRange]) -> Iterator[OffsetRange]:
    """The runs of offsets in [start, stop) that lie in no gap."""
    at = start
    for gap in gaps:
        if gap.first >= stop:
            break
        if gap.first > at:
            yield OffsetRange(at, gap.first - at)
        at = max(at, gap.stop)
    if at < stop:
        yield OffsetRange(at, stop - at)


def skip(data: bytes, documents: int, at: int = 0) -> int:
    """The byte after `documents` BSON documents from byte `at`. Raises: JournalCorrupt: there are fewer."""
    unpack_length, end = _length.unpack_from, len(data)
    try:
        for _ in range(documents):
            size = unpack_length(data, at)[0]
            if size < _DOCUMENT_BYTES_MIN:
                raise JournalCorrupt(f"a document in a chunk claims {size} bytes")
            at += size
    except struct.error as error:
        raise JournalCorrupt("a chunk holds fewer documents than its count") from error
    if at > end:
        raise JournalCorrupt("a chunk holds fewer documents than its count")
    return at


def _head_crc32c(header: ChunkHeader) -> int:
    numbers = _numbers.pack(
        header.first_offset,
        header.count,
        header.ts_min_ms,
        header.ts_max_ms,
        header.codec,
        header.level,
        header.raw_bytes,
        header.crc32c,
    )
    types = b"" if header.types is None else header.types.encode()
    parts = (numbers, header.id_min, header.id_max, header.gaps or b"", b"\x00", types)
    return _crc32c(b"".join(parts))


def _crc32c(data: bytes) -> int:
    return int(google_crc32c.value(data))
