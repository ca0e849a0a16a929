"""Damage files at byte level: what is sound stays readable, damage is never read as good, and after a repair the
journal verifies, takes events again at fresh offsets, and reads back."""

import random
import shutil
import time

import apsw
import pytest

from journaling import Clock, entry, event, fill, numbers_in, settle, small
from zarkov.batch import ProducerBatch
from zarkov.errors import JournalCorrupt, JournalLocked
from zarkov.journal import Journal, JournalWriter
from zarkov.journal.catalog import CATALOG_NAME
from zarkov.journal.directory import DAMAGED_DIRECTORY, list_segments
from zarkov.journal.repair import repair
from zarkov.journal.verify import verify

SETTINGS = small(segment_events_max=200)
PAGE = 4096


@pytest.fixture
def directory(tmp_path):
    """600 events in three closed segments of 20 chunks of 10 events each, level 0 so that every chunk is large."""
    path = tmp_path / "journal"
    settings = small(segment_events_max=200, compress_level=0, chunk_events_max=10)
    with JournalWriter.open(path, settings) as writer:
        for start in range(0, 600, 10):
            numbers = range(start, start + 10)
            made = entry(numbers, ProducerBatch(b"p", start // 10 + 1, b"note"))
            writer.commit([made])
    return path


def segment(directory, index=0):
    return list_segments(directory)[index].path


def damage(path, at, data):
    with path.open("r+b") as file:
        file.seek(at)
        file.write(data)


def find(path, wanted):
    """Where in the file these bytes lie."""
    at = path.read_bytes().find(wanted)
    assert at >= 0
    return at


def repaired(directory):
    report = repair(directory, clock=Clock())
    after = verify(directory)
    assert after.findings == []
    return report


def append_again(directory):
    """Append an event to a repaired journal; returns its offset."""
    with JournalWriter.open(directory, SETTINGS) as writer:
        (given,) = writer.commit([entry([5000])])
    with Journal.open(directory) as journal:
        assert [event for _, event in journal.read(given.first)] == [event(5000)]
    return given.first


def lost(directory):
    """The numbers below 600 that a reader does not find; every event found is as it was written."""
    with Journal.open(directory) as journal:
        found = dict(journal.read(journal.first_offset))
    assert all(document == event(document["context"]["number"]) for document in found.values())
    assert all(offset == document["context"]["number"] for offset, document in found.items() if offset < 600)
    return sorted(set(range(600)) - found.keys())


def test_a_sound_journal_has_no_findings_and_a_repair_changes_nothing(directory):
    report = verify(directory)
    assert report.is_sound
    assert (report.segments, report.chunks, report.events) == (3, 60, 600)
    assert not repaired(directory).changed
    assert append_again(directory) == 600


def test_a_flipped_bit_in_an_event_loses_that_chunk_and_nothing_else(directory):
    path = segment(directory, 1)
    damage(path, find(path, event(255)["_id"].binary), b"\xff")
    assert lost(directory) == list(range(250, 260))
    with Journal.open(directory) as journal:
        list(journal.read(0))
        (found,) = journal.corrupt
        assert (found.first_offset, found.stop, found.segment) == (250, 260, path.name)
        assert journal.count(0) == 600
    with Journal.open(directory, on_corrupt="raise") as journal, pytest.raises(JournalCorrupt, match="250"):
        list(journal.read(0))
    (finding,) = verify(directory).findings
    assert (finding.kind, finding.first_offset, finding.stop_offset) == ("chunk", 250, 260)

    report = repaired(directory)
    assert report.lost == [(250, 260)]
    assert lost(directory) == list(range(250, 260))
    with Journal.open(directory, on_corrupt="raise") as journal:
        assert journal.count(0) == 590
        (kept,) = journal.info().quarantined
        assert (kept.first_offset, kept.count) == (250, 10)
        assert event(254)["_id"].binary in kept.data
    assert (directory / DAMAGED_DIRECTORY / f"{path.name}.0").exists()
    assert append_again(directory) == 600
    assert not repaired(directory).changed


def test_damage_in_the_last_segment_keeps_the_offsets_that_are_known(directory):
    path = segment(directory, -1)
    damage(path, find(path, event(595)["_id"].binary), b"\xff")
    assert lost(directory) == list(range(590, 600))
    repaired(directory)
    assert append_again(directory) == 600
    with JournalWriter.open(directory, SETTINGS) as writer:
        assert [record.sequence for record in writer.producer_records()][-1] == 60


@pytest.mark.parametrize("index", [0, 1, 2])
def test_a_segment_that_is_no_database_any_more_loses_only_its_own_events(directory, index):
    damage(segment(directory, index), 0, b"\x00" * PAGE)
    expected = list(range(index * 200, index * 200 + 200))
    assert set(lost(directory)) == set(expected)
    assert not verify(directory).is_sound
    repaired(directory)
    assert lost(directory) == expected
    offset = append_again(directory)
    assert offset == 600 if index < 2 else offset >= 600


@pytest.mark.parametrize("kept_pages", [0, 1, 2, 5, 9])
@pytest.mark.parametrize("index", [0, 2])
def test_a_truncated_segment_never_reads_wrong_and_can_be_repaired(directory, index, kept_pages):
    path = segment(directory, index)
    with path.open("r+b") as file:
        file.truncate(kept_pages * PAGE)
    before = lost(directory)
    assert set(before) <= set(range(index * 200, index * 200 + 200))
    assert not verify(directory).is_sound
    repaired(directory)
    assert set(lost(directory)) <= set(before) | set(range(index * 200, index * 200 + 200))
    offset = append_again(directory)
    assert offset == 600 if index == 0 else offset >= 600


@pytest.mark.parametrize("seed", range(12))
def test_random_damage_anywhere_never_reads_wrong_and_can_be_repaired(directory, seed):
    chance = random.Random(seed)
    path = segment(directory, chance.randrange(3))
    size = path.stat().st_size
    for _ in range(chance.randint(1, 4)):
        at = chance.randrange(size)
        damage(path, at, chance.randbytes(min(chance.choice([1, 4, 100, PAGE]), size - at)))
    first = int(path.name[:20])
    missing = lost(directory)
    assert set(missing) <= set(range(first, first + 200))
    with Journal.open(directory) as journal:
        backwards = [offset for chunk in journal.chunks(0, newest_first=True) for offset in chunk.offsets()]
        assert sorted(backwards) == sorted(set(range(journal.next_offset)) - set(missing) & set(range(600)))
    repaired(directory)
    assert set(lost(directory)) <= set(missing) | set(range(first, first + 200))
    assert append_again(directory) >= 600
    assert verify(directory).is_sound


def test_a_writer_sets_a_damaged_last_segment_aside_and_goes_on(directory):
    damage(segment(directory, -1), 0, b"\x00" * PAGE)
    before = segment(directory, -1).read_bytes()
    with JournalWriter.open(directory, SETTINGS) as writer:
        first = writer.next_offset
        assert first >= 600
        writer.commit([entry([5000])])
        settle(writer)
    assert segment(directory, 2).read_bytes() == before
    assert numbers_in(directory) == [*range(400), 5000]
    with JournalWriter.open(directory, SETTINGS) as writer:
        assert writer.next_offset == first + 1
    repaired(directory)
    assert numbers_in(directory) == [*range(400), 5000]
    assert append_again(directory) == first + 1


def test_producers_are_recognised_after_a_damaged_last_segment(directory):
    path = segment(directory, -1)
    damage(path, find(path, event(595)["_id"].binary) - 200, b"\xff" * 150)
    with JournalWriter.open(directory, SETTINGS) as writer:
        assert max(record.sequence for record in writer.producer_records()) >= 40


@pytest.mark.parametrize("mend", [False, True])
def test_a_deleted_last_segment_is_noticed_and_its_offsets_are_not_given_again(directory, mend):
    segment(directory, -1).unlink()
    assert not verify(directory).is_sound
    if mend:
        repaired(directory)
    assert append_again(directory) >= 600
    repaired(directory)
    assert lost(directory) == list(range(400, 600))


def test_a_deleted_segment_in_the_middle_is_noticed_and_passed_over(directory):
    segment(directory, 1).unlink()
    assert [finding.kind for finding in verify(directory).findings] == ["hole"]
    assert lost(directory) == list(range(200, 400))
    assert repaired(directory).lost == [(200, 400)]
    assert append_again(directory) == 600


def test_a_follower_passes_over_what_was_set_aside(directory):
    damage(segment(directory, -1), 0, b"\x00" * PAGE)
    with JournalWriter.open(directory, SETTINGS) as writer:
        writer.commit([entry([5000])])
        with Journal.open(directory) as journal:
            found: list[int] = []
            follower = journal.follow(390, stop=lambda: False, poll_s=0.001)
            while 5000 not in found:
                found += [document["context"]["number"] for document in next(follower).documents()]
            follower.close()
    assert found == [*range(390, 400), 5000]


@pytest.mark.parametrize("harm", ["zero", "missing", "garbage"])
def test_a_lost_catalog_is_made_anew_and_the_journal_keeps_its_identity(directory, harm):
    with Journal.open(directory) as journal:
        identity = journal.journal_id
    path = directory / CATALOG_NAME
    if harm == "missing":
        path.unlink()
    else:
        path.write_bytes(b"" if harm == "zero" else b"garbage" * 5000)
    with pytest.raises(JournalCorrupt):
        JournalWriter.open(directory, SETTINGS)
    assert not verify(directory).is_sound
    repaired(directory)
    with Journal.open(directory) as journal:
        assert journal.journal_id == identity
        assert journal.generation_names() == ["event"]
    assert lost(directory) == []
    assert append_again(directory) == 600


def test_a_repair_is_refused_while_a_server_runs(directory):
    with JournalWriter.open(directory, SETTINGS), pytest.raises(JournalLocked):
        repair(directory, clock=time.time)


def test_a_repair_interrupted_before_the_copy_took_its_place_is_finished(directory):
    path = segment(directory, 1)
    copy = path.with_name(path.name + ".new")
    shutil.copy(path, copy)
    path.rename(path.with_suffix(".gone"))
    with JournalWriter.open(directory, SETTINGS):
        pass
    assert path.exists()
    assert not copy.exists()
    assert numbers_in(directory) == list(range(600))


def test_an_unfinished_copy_beside_its_original_is_removed(directory):
    path = segment(directory, 1)
    copy = path.with_name(path.name + ".new")
    copy.write_bytes(b"half")
    with JournalWriter.open(directory, SETTINGS):
        pass
    assert not copy.exists()
    assert numbers_in(directory) == list(range(600))


def test_a_segment_that_was_being_made_is_removed(directory):
    empty = directory / f"{600:020d}.segment"
    empty.write_bytes(b"")
    assert numbers_in(directory) == list(range(600))
    assert append_again(directory) == 600
    assert verify(directory).is_sound


def crashed(directory, tmp_path):
    """A copy of the journal as a kill would leave it: with its WAL."""
    with JournalWriter.open(directory, small()) as writer:
        for number in range(50):
            writer.commit([entry([number])])
        copy = tmp_path / "crashed"
        shutil.copytree(directory, copy)
    for shm in copy.glob("*-shm"):
        shm.unlink()
    path = segment(copy)
    return copy, path, path.with_name(path.name + "-wal")


def test_a_torn_tail_of_the_wal_is_cut_and_appending_goes_on(tmp_path):
    copy, path, wal = crashed(tmp_path / "journal", tmp_path)
    size = wal.stat().st_size
    with wal.open("r+b") as file:
        file.truncate(size - 100)
    with JournalWriter.open(copy, small()) as writer:
        assert writer.next_offset == 49
        writer.commit([entry([49])])
    assert segment(copy) == path
    assert numbers_in(copy) == list(range(50))
    assert verify(copy).is_sound


@pytest.mark.parametrize("where", ["header", "middle"])
def test_damage_in_the_middle_of_the_wal_is_noticed_and_no_offset_is_given_twice(tmp_path, where):
    copy, path, wal = crashed(tmp_path / "journal", tmp_path)
    damage(wal, 20 if where == "header" else wal.stat().st_size // 2, b"\xff\x00\xff")
    report = verify(copy)
    assert "wal" in {finding.kind for finding in report.findings}
    with JournalWriter.open(copy, small()) as writer:
        assert writer.next_offset >= 50
        writer.commit([entry([5000])])
    found = numbers_in(copy)
    assert found[-1] == 5000
    assert found[:-1] == list(range(len(found) - 1))
    repair(copy, clock=time.time)
    assert verify(copy).is_sound
    assert numbers_in(copy) == found
    assert path.exists()


def test_a_repair_alone_notices_a_damaged_wal(tmp_path):
    copy, _, wal = crashed(tmp_path / "journal", tmp_path)
    damage(wal, wal.stat().st_size // 2, b"\xff\x00\xff")
    report = repair(copy, clock=time.time)
    assert any("may be lost" in action for action in report.actions)
    assert verify(copy).is_sound
    with JournalWriter.open(copy, small()) as writer:
        assert writer.next_offset >= 50


def test_damage_that_keeps_the_checksums_right_is_found_by_verify(directory):
    """A chunk that was stored with wrong bounds: its data is right, a reader by bounds would miss it."""
    from zarkov.journal.format import HEADER_COLUMNS, ChunkHeader, Packer, unpack
    from zarkov.journal.segment import insert_row

    path = segment(directory, 0)
    connection = apsw.Connection(str(path))
    (*columns, data) = connection.execute(
        f"SELECT {HEADER_COLUMNS}, data FROM chunk WHERE first_offset = 50"
    ).fetchone()
    header = ChunkHeader(*columns)
    wrong = Packer(1).pack(50, 10, unpack(header, data), entry([7]).summary)
    connection.execute("DELETE FROM chunk WHERE first_offset = 50")
    insert_row(connection.execute, wrong)
    connection.close()
    (finding,) = verify(directory).findings
    assert "bounds" in finding.reason
    report = repaired(directory)
    assert report.lost == []
    assert lost(directory) == []


def test_upkeep_leaves_a_damaged_chunk_alone_and_merges_the_others(tmp_path):
    fill(tmp_path, 300, each=10, settings=small(compress_level=0))
    path = segment(tmp_path)
    damage(path, find(path, event(155)["_id"].binary), b"\xff")
    with JournalWriter.open(tmp_path, small()) as writer:
        settle(writer)
    with Journal.open(tmp_path) as journal:
        assert [offset for offset, _ in journal.read(0)] == [n for n in range(300) if not 150 <= n < 160]
        assert len(list(journal.chunks(0))) < 8
