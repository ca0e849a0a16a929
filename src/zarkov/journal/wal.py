"""Whether a WAL lost commits that were synced, which SQLite by itself would not say.

SQLite reads a WAL up to its first frame whose checksum is wrong and forgets the rest: right for a torn tail, but
a flipped bit in the middle would silently take every later commit with it. Commits are synced one by one, so a
torn tail holds at most one commit that was never acknowledged: two or more commit frames of the current WAL
beyond what SQLite recovered are damage.

The format: https://www.sqlite.org/fileformat2.html#walformat, a header of 32 bytes, then frames of a 24-byte
header and a page. Bytes 4..8 of a frame are not zero when it ends a commit; bytes 8..16 repeat the WAL's salts.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import BinaryIO

import apsw

_HEADER = struct.Struct(">8I")
_FRAME = struct.Struct(">6I")
_MAGICS = (0x377F0682, 0x377F0683)


def lost_commits(connection: apsw.Connection, path: Path) -> int:
    """Commits in the WAL beyond the recovered ones, not counting one that may be a torn tail.

    `connection` must not have written yet. A WAL whose header is damaged counts as one lost commit.
    """
    recovered, _ = connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_NOOP)
    try:
        with path.with_name(path.name + "-wal").open("rb") as wal:
            return _lost(wal.read(_HEADER.size), max(0, recovered), wal)
    except FileNotFoundError:
        return 0


def _lost(header: bytes, recovered: int, wal: BinaryIO) -> int:
    if len(header) < _HEADER.size:
        return 0
    magic, _, page_bytes, _, salt_1, salt_2, sum_1, sum_2 = _HEADER.unpack(header)
    if magic not in _MAGICS or _checksum(header[:24], magic) != (sum_1, sum_2):
        return 1
    frame_bytes = _FRAME.size + page_bytes
    wal.seek(_HEADER.size + recovered * frame_bytes)
    commits = 0
    while len(frame := wal.read(_FRAME.size)) == _FRAME.size:
        _, pages_after_commit, frame_salt_1, frame_salt_2, _, _ = _FRAME.unpack(frame)
        if (frame_salt_1, frame_salt_2) == (salt_1, salt_2) and pages_after_commit:
            commits += 1
        wal.seek(page_bytes, 1)
    return max(0, commits - 1)


def _checksum(data: bytes, magic: int) -> tuple[int, int]:
    words = struct.unpack(f"{'>' if magic & 1 else '<'}{len(data) // 4}I", data)
    first = second = 0
    for even, odd in zip(words[::2], words[1::2], strict=True):
        first = (first + even + second) & 0xFFFFFFFF
        second = (second + odd + first) & 0xFFFFFFFF
    return first, second
