"""From a chunk's bytes to the documents in it that match.

The collector is paused while a chunk is decoded: it would walk thousands of fresh dicts again and again and find
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


def matching(data: bytes, count: int, match: Predicate | None, needles: tuple[bytes, ...]) -> list[Document]:
    """The documents of concatenated BSON that match, in order; all of them when `match` is None.

    Args:   count: how many documents `data` holds; needles: byte strings that each match holds (see bounds).
    """
    if match is None:
        with collector_paused():
            return codec.decode_all(data)
    rarest, hits = b"", count
    for needle in needles:
        found = data.count(needle)
        if found < hits:
            rarest, hits = needle, found
    if hits == 0:
        return []
    with collector_paused():
        documents = codec.decode_all(_holding(data, rarest) if hits * SPARSE < count else data)
        return [document for document in documents if match(document)]


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
