"""Sorted runs: what the stages of a job hand to each other, as bytes. Pure.

    run     "ZR1" and a block's kind (1 byte), blocks, and the end (a head of nothing but zeros)
    block   head: stored bytes, BSON bytes, CRC-32 of the stored ones (4 bytes each, little endian); then the data,
            zstd where that is smaller and asked for
    data    one BSON document of columns: "o" the keys as bytes (`values.key_of`), ascending, each once in a run; and
            kind "p" (pairs: what maps give to reduces)  "k" the keys as shown, "v" the values
            kind "d" (documents: results)                "d" the BSON of `{_id, value}`

In a job that fills several collections (xmapreduce) the name of the collection and a zero byte stand before a key's
bytes. Runs may stand one after another; `runs_in` finds them without reading their data. A reader holds one block.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Protocol
from zlib import crc32

import zstandard

from zarkov.codec import decode, encode
from zarkov.errors import EventRefused, ShuffleCorrupt

Kind = Literal["p", "d"]

#: A block is closed at this many rows, and at about this many bytes of BSON; one row may be larger.
BLOCK_ROWS = 1_024
BLOCK_BYTES = 64 * 1024
#: Rows of the first block, from which those of the next are reckoned.
_ROWS_FIRST = 512

_MAGIC = b"ZR1"
_HEAD_BYTES = len(_MAGIC) + 1
_head = struct.Struct("<III")
_END = bytes(_head.size)


class Columns(NamedTuple):
    """Rows of a block: `keys` as bytes, ascending; `shown` is empty in a run of documents; `values` or documents."""

    keys: list[bytes]
    shown: list[Any]
    values: list[Any]


class RunSource(Protocol):
    """Bytes to read runs from: memory, or a file that somebody else opened."""

    @property
    def size(self) -> int: ...

    def read_at(self, start: int, size: int) -> bytes:
        """Exactly these bytes, or fewer at the end."""


@dataclass(frozen=True, slots=True)
class Held:
    """Runs held in memory."""

    data: bytes

    @property
    def size(self) -> int:
        return len(self.data)

    def read_at(self, start: int, size: int) -> bytes:
        return self.data[start : start + size]


@dataclass(frozen=True, slots=True)
class Run:
    """One run: its place in a source, without its beginning and its end; `largest` bytes of BSON in a block."""

    source: RunSource
    kind: Kind
    start: int
    stop: int
    largest: int

    def block(self, at: int) -> tuple[Columns, int]:
        """The block at this place, and the place after it: `stop` after the last. Raises: ShuffleCorrupt."""
        stored, plain, checksum = _head_at(self.source, at)
        data = self.source.read_at(at + _head.size, stored)
        if len(data) != stored or crc32(data) != checksum:
            raise ShuffleCorrupt("the checksum of a block of a run does not match")
        return _columns(self.kind, data, plain), at + _head.size + stored

    def blocks(self) -> Iterator[Columns]:
        """Block after block. Raises: ShuffleCorrupt."""
        at = self.start
        while at < self.stop:
            columns, at = self.block(at)
            yield columns


def runs_in(source: RunSource) -> list[Run]:
    """The runs that lie in a source one after another. Raises: ShuffleCorrupt: it holds anything else."""
    found: list[Run] = []
    at = 0
    while at < source.size:
        beginning = source.read_at(at, _HEAD_BYTES)
        kind = beginning[3:].decode("ascii", "replace")
        if beginning[:3] != _MAGIC or kind not in ("p", "d"):
            raise ShuffleCorrupt("intermediate data does not begin as a run does")
        at += _HEAD_BYTES
        start, largest = at, 0
        while (head := _head_at(source, at)) != (0, 0, 0):
            at += _head.size + head[0]
            largest = max(largest, head[1])
        found.append(Run(source, "p" if kind == "p" else "d", start, at, largest))
        at += _head.size
    return found


class RunWriter:
    """Makes the pieces of runs, one run after another; each is to be written as it comes.

    `zstd` is what compresses them, if anything does. What rows were like so far decides how many make a block.
    """

    def __init__(self, kind: Kind, zstd: zstandard.ZstdCompressor | None = None) -> None:
        self._kind: Kind = kind
        self._zstd = zstd
        self._rows_next = _ROWS_FIRST

    def begin(self) -> bytes:
        return _MAGIC + self._kind.encode()

    def blocks(self, columns: Columns) -> Iterator[bytes]:
        """Rows as blocks; their keys follow those written before.

        Raises: EventRefused: BSON has no type for a value; which one is not said.
        """
        at, count = 0, len(columns.keys)
        while at < count:
            stop = min(at + self._rows_next, count)
            data = self._data(columns, at, stop)
            rows = stop - at
            # At most twice as many: a few small rows say little of those behind them.
            self._rows_next = min(max(BLOCK_BYTES * rows // len(data), 1), 2 * self._rows_next, BLOCK_ROWS)
            if len(data) > 2 * BLOCK_BYTES and rows > 1:
                continue  # once more, with fewer rows
            yield self._block(data)
            at = stop

    def end(self) -> bytes:
        return _END

    def _data(self, columns: Columns, start: int, stop: int) -> bytes:
        keys, shown, values = (column[start:stop] for column in columns)
        return encode({"o": keys, "k": shown, "v": values} if self._kind == "p" else {"o": keys, "d": values})

    def _block(self, data: bytes) -> bytes:
        stored = data
        if self._zstd is not None:
            compressed = self._zstd.compress(data)
            stored = compressed if len(compressed) < len(data) else data
        return b"".join([_head.pack(len(stored), len(data), crc32(stored)), stored])


def compressor(level: int) -> zstandard.ZstdCompressor | None:
    """What compresses runs at a zstd level; nothing at level 0. It serves many writers, of one thread."""
    return zstandard.ZstdCompressor(level=level) if level else None


def _head_at(source: RunSource, at: int) -> tuple[int, int, int]:
    head = source.read_at(at, _head.size)
    if len(head) != _head.size:
        raise ShuffleCorrupt("a run ends before its end")
    stored, plain, checksum = _head.unpack(head)
    return stored, plain, checksum


def _columns(kind: Kind, data: bytes, plain: int) -> Columns:
    try:
        if len(data) != plain:
            data = zstandard.ZstdDecompressor().decompress(data, max_output_size=plain)
        found = decode(data)
        return Columns(found["o"], found["k"], found["v"]) if kind == "p" else Columns(found["o"], [], found["d"])
    except (zstandard.ZstdError, EventRefused, KeyError) as error:
        raise ShuffleCorrupt(f"a block of a run cannot be read: {error}") from error
