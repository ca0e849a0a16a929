"""Lost writes, torn writes, a full disk and a failed sync: nothing that was acknowledged is lost."""

import random
from itertools import count
from pathlib import Path

import apsw
import pytest
from faulty_disk import FaultyDisk

from wire import event
from zarkov.batch import Entry, ProducerBatch, Summary
from zarkov.codec import decode_all
from zarkov.config import JournalSettings
from zarkov.errors import JournalFailed, JournalFull
from zarkov.journal import Journal, JournalWriter

SETTINGS = JournalSettings(segment_bytes_max=1 << 20, small_chunks_max=8, free_bytes_min=0)
_names = count()


@pytest.fixture
def disk() -> FaultyDisk:
    return FaultyDisk(f"faulty{next(_names)}")


def entry(numbers: range, sequence: int) -> Entry:
    data = b"".join(map(event, numbers))
    return Entry(data, len(numbers), Summary.of(decode_all(data)), ProducerBatch(b"p", sequence, b"note"))


def numbers_in(directory: Path) -> dict[int, int]:
    """{offset: event number} of everything readable."""
    with Journal.open(directory, on_corrupt="raise") as journal:
        return {offset: document["extra"] for offset, document in journal.read(journal.first_offset)}


def test_every_acknowledged_event_survives_power_loss_at_any_write_or_sync(tmp_path: Path, disk: FaultyDisk) -> None:
    rng = random.Random(11)
    source, acknowledged, snapshots = tmp_path / "journal", {}, []

    def photograph(path: Path) -> None:
        if path.is_relative_to(source) and rng.random() < 0.04:
            target = tmp_path / f"disk{len(snapshots)}"
            disk.snapshot(source, target, rng)
            snapshots.append((target, dict(acknowledged)))

    with JournalWriter.open(source, SETTINGS, vfs=disk.name) as writer:
        disk.before_write = disk.before_sync = photograph
        for sequence in range(1, 120):
            numbers = range(len(acknowledged), len(acknowledged) + rng.choice((1, 3, 200, 900)))
            (offsets,) = writer.commit([entry(numbers, sequence)])
            acknowledged |= dict(zip(range(offsets.first, offsets.stop), numbers, strict=True))
            while rng.random() < 0.3 and writer.upkeep(idle=True):
                pass
        disk.before_write = disk.before_sync = lambda path: None
    assert len(snapshots) > 30
    for directory, promised in snapshots:
        with JournalWriter.open(directory, SETTINGS) as again:
            found = numbers_in(directory)
            assert {offset: found.get(offset) for offset in promised} == promised
            assert len(found) == again.next_offset, "offsets are consecutive"
            known = {record.sequence: record for record in again.producer_records()}
            (more,) = again.commit([entry(range(10**6, 10**6 + 2), max(known, default=0) + 1)])
        assert numbers_in(directory) == found | {more.first: 10**6, more.last: 10**6 + 1}


def test_a_full_disk_stores_nothing_of_the_commit_and_the_next_one_works(tmp_path: Path, disk: FaultyDisk) -> None:
    def full(path: Path) -> None:
        raise apsw.FullError("no space left")

    with JournalWriter.open(tmp_path, SETTINGS, vfs=disk.name) as writer:
        writer.commit([entry(range(5), 1)])
        disk.before_write = full
        with pytest.raises(JournalFull):
            writer.commit([entry(range(5, 9), 2)])
        assert numbers_in(tmp_path) == dict(enumerate(range(5)))
        disk.before_write = lambda path: None
        assert writer.commit([entry(range(5, 9), 2)])[0].first == 5
        assert [record.sequence for record in writer.producer_records()] == [1, 2]
    assert numbers_in(tmp_path) == dict(enumerate(range(9)))


def test_a_failed_sync_stops_the_writer_and_loses_nothing_acknowledged(tmp_path: Path, disk: FaultyDisk) -> None:
    syncs = []

    def broken(path: Path) -> None:
        syncs.append(path)
        raise apsw.IOError("the disk does not answer")

    with JournalWriter.open(tmp_path, SETTINGS, vfs=disk.name) as writer:
        writer.commit([entry(range(5), 1)])
        disk.before_sync = broken
        with pytest.raises(JournalFailed):
            writer.commit([entry(range(5, 9), 2)])
        assert syncs
        disk.before_sync = lambda path: syncs.append(path)
        tried = len(syncs)
        with pytest.raises(JournalFailed):
            writer.commit([entry(range(5, 9), 2)])
        assert len(syncs) == tried, "a failed sync is never tried again"
    found = numbers_in(tmp_path)
    assert {offset: found[offset] for offset in range(5)} == dict(enumerate(range(5)))
    with JournalWriter.open(tmp_path, SETTINGS) as again:
        known = {record.sequence for record in again.producer_records()}
        if 2 not in known:  # The disk may or may not have kept the commit that was never acknowledged.
            again.commit([entry(range(5, 9), 2)])
    assert numbers_in(tmp_path) == dict(enumerate(range(9)))
