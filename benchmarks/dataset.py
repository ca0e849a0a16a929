"""The events that are measured with: the peers' own, every one of them distinct.

The peers repeat 200,000 events; Zarkov would take a repeated `_id` for a retry and not store it
again, so here the fixed seed yields as many different events as are needed.  They are encoded
once and kept in PEERS_DIR, because encoding takes longer than most measurements.
"""

import gzip
import struct
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks.peerage import peer_module

# A BSON event of the peers opens with its length (4 bytes), then 0x07 "_id\0" and the ObjectId.
ID_START, ID_STOP = 9, 21
BASE_COUNT = 200_000
REAL_SAMPLE = Path(__file__).resolve().parent.parent / "examples" / "events.ndjson.gz"


def encoded(count: int) -> list[bytes]:
    """`count` distinct BSON events of about 217 bytes, in time order over one day."""
    common = peer_module("common")
    cache = common.PEERS_DIR / "events" / f"{count}.bson"
    if not cache.exists():
        cache.parent.mkdir(parents=True, exist_ok=True)
        partial = cache.with_suffix(".partial")
        partial.write_bytes(b"".join(common.encoded(count, distinct=count)))
        partial.replace(cache)
    data = cache.read_bytes()
    return [bytes(piece) for piece in split(data)]


def split(data: bytes) -> Iterator[memoryview]:
    """The documents of concatenated BSON, without decoding: each begins with its length."""
    view, at = memoryview(data), 0
    while at < len(data):
        (length,) = struct.unpack_from("<i", data, at)
        yield view[at : at + length]
        at += length


def renumbered(base: Sequence[bytes], count: int) -> Iterator[list[bytes]]:
    """`count` events in lists of at most len(base): the base again and again, with new `_id`s.

    For runs too long to hold in memory. Each round's ids differ from all others' in their first 4 bytes.
    """
    done, lap = 0, 0
    while done < count:
        part = base[: count - done]
        prefix = struct.pack(">I", lap)
        yield [e[:ID_START] + prefix + e[ID_START + 4 :] for e in part]
        done, lap = done + len(part), lap + 1


def real_lines(path: Path | None) -> list[bytes]:
    """The lines of NDJSON in `path` (gzip or plain), or of the sample that the repository ships."""
    chosen = path or REAL_SAMPLE
    raw = chosen.read_bytes()
    return (gzip.decompress(raw) if chosen.suffix == ".gz" else raw).splitlines()
