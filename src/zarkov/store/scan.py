"""From a chunk's bytes to the documents in it that match.

The collector is paused while a run of documents is decoded: it would walk the fresh dicts again and again and find
nothing (decoding is then several times slower). It is never paused across a `yield`.
"""

from __future__ import annotations

import gc
import struct
from collections.abc import Iterator
from contextlib import contextmanager

from zarkov import codec
from zarkov.event import Document
from zarkov.store.filter import Predicate

#: Needles are used to decode single events when fewer than one event in so many can match.
SPARSE = 4

#: Documents decoded at a time: their dicts stay in the processor's cache, which nearly doubles the speed.
RUN_COUNT = 512

_length = struct.Struct("<i")


@contextmanager
def collector_paused() -> Iterator[None]:
    """No garbage collection inside; on again afterwards if it was on."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def matching(
    data: bytes, count: int, match: Predicate | None, needles: tuple[bytes, ...] = ()
) -> Iterator[list[Document]]:
    """The documents of concatenated BSON that match, in order, a run at a time; all of them when `match` is None.

    Args:   count: how many documents `data` holds; needles: byte strings that each match holds (see bounds).
    """
    if match is not None:
        rarest, hits = _rarest(data, needles, count)
        if hits * SPARSE < count:
            data = _holding(data, rarest)
    start, end = 0, len(data)
    while start < end:
        stop = _run_end(data, start, end)
        with collector_paused():
            documents = codec.decode_all(data[start:stop])
            found = documents if match is None else [document for document in documents if match(document)]
        start = stop
        yield found


def _rarest(data: bytes, needles: tuple[bytes, ...], count: int) -> tuple[bytes, int]:
    """The needle that is found least often, and how often; `count` stands for not looking."""
    rarest, hits = b"", count
    for needle in needles:
        found = data.count(needle)
        if found < hits:
            rarest, hits = needle, found
    return rarest, hits


def _run_end(data: bytes, start: int, end: int) -> int:
    """The byte after the next RUN_COUNT documents."""
    length_at = _length.unpack_from
    for _ in range(RUN_COUNT):
        start += length_at(data, start)[0]
        if start >= end:
            return end
    return start


def _holding(data: bytes, needle: bytes) -> bytes:
    """Those of the concatenated documents that hold the needle, concatenated."""
    kept: list[bytes] = []
    length_at = _length.unpack_from
    start, hit = 0, data.find(needle)
    while hit >= 0:
        end: int = start + length_at(data, start)[0]
        while end <= hit:
            start = end
            end += length_at(data, start)[0]
        kept.append(data[start:end])
        hit, start = data.find(needle, end), end
    return b"".join(kept)
