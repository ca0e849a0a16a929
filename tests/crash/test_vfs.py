"""Disks that lose writes, tear writes, fill up and fail to sync: no acknowledged event is lost or there twice."""

import random
import resource
import subprocess
import sys
import textwrap

import apsw
import pytest

from faulty_vfs import FaultyDisk, failed_sync, no_space
from journaling import entry, numbers_in, settle, small
from waiting import wait_until
from zarkov.batch import ProducerBatch
from zarkov.errors import JournalFailed, JournalFull
from zarkov.journal import JournalWriter
from zarkov.journal.directory import list_segments
from zarkov.journal.verify import verify

SETTINGS = small(chunk_events_max=20, segment_events_max=60, small_chunks_max=4)


@pytest.fixture
def disk():
    made = FaultyDisk()
    yield made
    made.fault = made.on_operation = None
    made.unregister()


def commit_next(writer, count, acknowledged):
    """Commit the next `count` events as one batch of a producer; acknowledge them."""
    first = writer.next_offset
    batch = ProducerBatch(b"p", len(acknowledged) + 1, b"")
    (given,) = writer.commit([entry(range(first, first + count), batch)])
    assert given.first == first
    acknowledged.append(given.stop)


def after_power_loss(path, acknowledged, attempted):
    """Open what the disk holds: all acknowledged is there, perhaps one commit more, and appending goes on."""
    with JournalWriter.open(path, SETTINGS) as writer:
        stop = writer.next_offset
        assert (acknowledged[-1] if acknowledged else 0) <= stop <= attempted
        sequences = [record.sequence for record in writer.producer_records()]
        assert max(sequences, default=0) >= len(acknowledged)
        writer.commit([entry(range(stop, stop + 5))])
        settle(writer)
    assert numbers_in(path) == list(range(stop + 5))
    assert verify(path).findings == []


@pytest.mark.parametrize("seed", range(8))
def test_no_acknowledged_event_is_lost_when_the_power_goes_at_any_write(tmp_path, disk, seed):
    chance = random.Random(seed)
    acknowledged, attempted, losses = [], [0], []

    def maybe_lose_power():
        if chance.random() < 0.03 and len(losses) < 25:
            path = tmp_path / f"after{len(losses)}"
            disk.power_loss(path, chance)
            losses.append((path, list(acknowledged), attempted[0]))

    disk.on_operation = maybe_lose_power
    directory = tmp_path / "journal"
    writer = JournalWriter.open(directory, SETTINGS, vfs=disk.name)
    for _ in range(60):
        count = chance.choice([1, 1, 3, 25])
        attempted[0] += count
        commit_next(writer, count, acknowledged)
        if chance.random() < 0.3:
            writer.upkeep(idle=chance.random() < 0.7)
        if chance.random() < 0.05:
            writer.rotate()
        if chance.random() < 0.05:
            writer.close()
            writer = JournalWriter.open(directory, SETTINGS, vfs=disk.name)
    writer.close()
    disk.on_operation = None
    assert len(losses) > 3
    for path, then_acknowledged, then_attempted in losses:
        after_power_loss(path, then_acknowledged, then_attempted)


def test_a_full_disk_refuses_and_takes_events_again_when_there_is_space(tmp_path, disk):
    acknowledged = []
    with JournalWriter.open(tmp_path, SETTINGS, vfs=disk.name) as writer:
        for _ in range(10):
            commit_next(writer, 5, acknowledged)
            disk.fault = no_space
            for _ in range(3):
                with pytest.raises(JournalFull):
                    commit_next(writer, 20, acknowledged)
            assert numbers_in(tmp_path) == list(range(writer.next_offset))
            disk.fault = None
        settle(writer)
        stop = writer.next_offset
    assert acknowledged[-1] == stop == 50
    assert numbers_in(tmp_path) == list(range(stop))
    assert verify(tmp_path).is_sound


def test_a_full_disk_while_a_segment_begins_leaves_no_half_segment(tmp_path, disk):
    with JournalWriter.open(tmp_path, SETTINGS, vfs=disk.name) as writer:
        acknowledged = []
        commit_next(writer, 60, acknowledged)
        for failing in ("catalog", "segment"):
            disk.fault = lambda operation, name, failing=failing: (
                no_space(operation, name) if failing in name else None
            )
            with pytest.raises(JournalFull):
                commit_next(writer, 1, acknowledged)
            assert len(list_segments(tmp_path)) == 1
        disk.fault = None
        commit_next(writer, 1, acknowledged)
        assert len(list_segments(tmp_path)) == 2
    assert numbers_in(tmp_path) == list(range(61))


def test_a_full_disk_postpones_upkeep(tmp_path, disk):
    with JournalWriter.open(tmp_path, SETTINGS, vfs=disk.name) as writer:
        for _ in range(10):
            commit_next(writer, 1, [])
        disk.fault = no_space
        assert not writer.upkeep(idle=True)
        disk.fault = None
        assert writer.upkeep(idle=True)
        settle(writer)
    assert numbers_in(tmp_path) == list(range(10))


def test_after_a_failed_sync_nothing_is_taken_until_a_restart_which_loses_nothing(tmp_path, disk):
    acknowledged = []
    with JournalWriter.open(tmp_path, SETTINGS, vfs=disk.name) as writer:
        for _ in range(5):
            commit_next(writer, 3, acknowledged)
        disk.fault = failed_sync
        with pytest.raises(JournalFailed):
            commit_next(writer, 3, acknowledged)
        disk.fault = None
        for _ in range(3):
            with pytest.raises(JournalFailed, match="does not sync"):
                commit_next(writer, 3, acknowledged)
        with pytest.raises(JournalFailed):
            writer.upkeep(idle=True)
    with JournalWriter.open(tmp_path, SETTINGS) as writer:
        assert acknowledged[-1] <= writer.next_offset <= acknowledged[-1] + 3
        commit_next(writer, 1, acknowledged)
        stop = writer.next_offset
    assert numbers_in(tmp_path) == list(range(stop))


def test_a_failed_sync_of_a_checkpoint_stops_the_writer_and_loses_nothing(tmp_path, disk, monkeypatch):
    from zarkov.journal import writer as module

    monkeypatch.setattr(module, "CHECKPOINT_PAGES", 1)
    acknowledged = []

    def fail(operation, name):
        if name.endswith(".segment"):
            failed_sync(operation, name)

    with JournalWriter.open(tmp_path, SETTINGS, vfs=disk.name) as writer:
        disk.fault = fail

        def refuses():
            try:
                commit_next(writer, 1, acknowledged)
            except JournalFailed:
                return True
            return False

        wait_until(refuses)
        disk.power_loss(tmp_path / "after", random.Random(1))
    disk.fault = None
    after_power_loss(tmp_path / "after", acknowledged, acknowledged[-1])


def test_a_read_error_is_reported_as_damage_and_the_rest_is_read(tmp_path):
    """A segment that the disk cannot read at all."""
    with JournalWriter.open(tmp_path, SETTINGS) as writer:
        for _ in range(10):
            commit_next(writer, 20, [])
    segments = list_segments(tmp_path)
    segments[1].path.unlink()
    segments[1].path.mkdir()
    expected = [n for n in range(200) if not segments[1].first_offset <= n < segments[2].first_offset]
    assert numbers_in(tmp_path) == expected


def test_a_limit_on_the_size_of_files_is_a_full_disk(tmp_path):
    script = """
        import resource, sys
        from pathlib import Path
        sys.path.insert(0, {tests!r})
        from journaling import entry, numbers_in, small
        from zarkov.errors import JournalFull
        from zarkov.journal import JournalWriter

        directory = Path({directory!r})
        with JournalWriter.open(directory, small(compress_level=0)) as writer:
            resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, resource.RLIM_INFINITY))
            taken = refused = 0
            while refused < 3:
                try:
                    writer.commit([entry(range(taken, taken + 50))])
                    taken += 50
                except JournalFull:
                    refused += 1
            assert taken > 100
            assert numbers_in(directory) == list(range(taken))
            resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
            writer.commit([entry(range(taken, taken + 50))])
        assert numbers_in(directory) == list(range(taken + 50))
    """
    text = textwrap.dedent(script).format(tests=str(__file__).rsplit("/", 2)[0], directory=str(tmp_path / "journal"))
    done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] == resource.RLIM_INFINITY


def test_the_faulty_disk_does_lose_what_was_not_synced(tmp_path, disk):
    """The tests above would pass on a disk that loses nothing: this one would not."""
    connection = apsw.Connection(str(tmp_path / "x"), vfs=disk.name)
    connection.pragma("journal_mode", "wal")
    connection.pragma("synchronous", "off")
    connection.execute("CREATE TABLE t (n)")
    for number in range(200):
        connection.execute("INSERT INTO t VALUES (?)", (number,))
    disk.power_loss(tmp_path / "after", random.Random(1))
    connection.close()
    lost = apsw.Connection(str(tmp_path / "after" / "x"))
    try:
        assert lost.execute("SELECT count(*) FROM t").get < 200
    except apsw.Error as error:
        assert isinstance(error, apsw.SQLError | apsw.CorruptError | apsw.NotADBError)
    finally:
        lost.close()
