"""Zarkov's rows about what is kept: reading it back, and the bytes that it takes."""

import gc
import time
from pathlib import Path

from benchmarks import dataset
from benchmarks.eventserver import EventServer
from benchmarks.floors import plain_decode
from benchmarks.peerage import peer_module
from benchmarks.sizes import Sizes
from benchmarks.timing import Sample
from zarkov import codec
from zarkov.client import ZarkovClient
from zarkov.journal import Journal

FLUSH_S_MAX = 600.0
SETTLED_S = 6.0  # the files have not changed for so long: the background's merging is done
SETTLE_S_MAX = 180.0


def fill(server: EventServer, events: list[bytes]) -> None:
    with ZarkovClient(server.address["ack_bind_address"], ack=True) as client:
        client.send_encoded(events)
        client.flush(FLUSH_S_MAX)


def settle(server: EventServer) -> float:
    """Wait until an idle server has stopped merging and compressing; the seconds that it took."""
    began = changed = time.monotonic()
    before = server.disk_bytes()
    while time.monotonic() - changed < SETTLED_S and time.monotonic() - began < SETTLE_S_MAX:
        time.sleep(0.5)
        if (now := server.disk_bytes()) != before:
            before, changed = now, time.monotonic()
    return changed - began


def read(sizes: Sizes) -> Sample:
    """Every event of the journal as a document, and `bson.decode` of each in a loop, in one process.

    Both drop each document at once; the loop has the events as bytes in memory before it starts.
    """
    events = dataset.encoded(sizes.events)
    with EventServer() as server:
        fill(server, events)
        settle(server)
    common = peer_module("common")
    gc.collect()
    gc.freeze()
    with common.lock(), Journal.open(server.journal_dir) as journal:
        pace, busy, own = common.calibrate(), common.busy(), common.own_cpu()
        began = time.perf_counter()
        # Floor, Zarkov, floor: the pace of the machine drifts even within seconds.
        floor_s = plain_decode(events)
        at = time.perf_counter()
        count = sum(1 for _offset, _document in journal.read(0))
        read_s = time.perf_counter() - at
        floor_s = (floor_s + plain_decode(events)) / 2
        span = time.perf_counter() - began
        other = max(0.0, common.busy() - busy - (common.own_cpu() - own)) / span
    if count != len(events):
        raise AssertionError(f"{count} events were read, and not {len(events)}")
    return Sample({"rate": count / read_s, "floor_rate": count / floor_s}, pace, other)


def disk_shape(sizes: Sizes) -> Sample:
    """Bytes on the disk per event of the benchmark's shape, after the server was idle and stopped."""
    return _disk(dataset.encoded(sizes.disk), "the benchmark's")


def disk_real(sizes: Sizes, real: Path | None) -> Sample:
    """The same for real events: those of --real, or the sample that the repository ships."""
    events = [codec.encode(codec.from_json(line)) for line in dataset.real_lines(real)]
    return _disk(events, "real")


def _disk(events: list[bytes], what: str) -> Sample:
    common = peer_module("common")
    pace = common.calibrate()
    with EventServer() as server:
        fill(server, events)
        at_once = server.disk_bytes()
        seconds = settle(server)
        if (stored := server.next_offset()) != len(events):
            raise AssertionError(f"{stored} events are in the journal, and not {len(events)}")
    count = len(events)
    values = {"bytes_per_event": server.disk_bytes() / count, "raw_bytes_per_event": sum(map(len, events)) / count}
    notes = (
        f"{count:,} {what} events; {at_once / count:.1f} bytes each when the last was acknowledged, "
        f"settled {seconds:.0f} s later; allocated blocks of all files of the journal",
    )
    return Sample(values, pace, 0.0, notes=notes)
