"""Kill -9 at every named point of the journal: what was acknowledged is there once, and the journal goes on."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from journaling import entry, numbers_in, settle, small
from zarkov.batch import ProducerBatch
from zarkov.journal import JournalWriter
from zarkov.journal.verify import verify

SETTINGS = small(chunk_events_max=20, segment_events_max=60, small_chunks_max=4)

WORK = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from journaling import entry, settle
from test_journal_kill import SETTINGS, batch
from zarkov.journal import JournalWriter

with JournalWriter.open(Path(sys.argv[1]), SETTINGS) as writer:
    for round in range(1, 400):
        first = writer.next_offset
        count = 1 + round % 7
        sequence = 1 + max((record.sequence for record in writer.producer_records()), default=0)
        writer.commit([entry(range(first, first + count), batch(sequence))])
        print(writer.next_offset, sequence, flush=True)
        writer.upkeep(idle=False)
        if round % 5 == 0:
            settle(writer)
        if round % 11 == 0:
            writer.rotate()
        if round % 23 == 0:
            writer.drop_generation([each for each in writer.generations() if not each.dropped][-1].ordinal)
"""


def batch(sequence):
    return ProducerBatch(b"p", sequence, b"")


def killed(directory, point):
    """Work until the kill; returns what was acknowledged last: (next offset, sequence)."""
    here = Path(__file__)
    paths = os.pathsep.join([str(here.parent), str(here.parent.parent)])
    done = subprocess.run(
        [sys.executable, "-c", WORK, str(directory), str(here.parent.parent)],
        env={**os.environ, "ZARKOV_CRASH_AT": point, "PYTHONPATH": paths},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == -9, done.stderr
    lines = done.stdout.split("\n")[:-1]
    return tuple(map(int, lines[-1].split())) if lines else (0, 0)


@pytest.mark.parametrize("nth", [1, 2, 7])
@pytest.mark.parametrize(
    "point", ["before_write", "before_commit", "after_commit", "in_merge", "in_roll", "in_rotate", "in_retention"]
)
def test_acknowledged_events_survive_a_kill_and_the_journal_goes_on(tmp_path, point, nth):
    stop, sequence = killed(tmp_path, f"{point}:{nth}")
    with JournalWriter.open(tmp_path, SETTINGS) as writer:
        assert stop <= writer.next_offset <= stop + 7
        sequences = [record.sequence for record in writer.producer_records()]
        assert max(sequences, default=0) in (sequence, sequence + 1)
        first = writer.next_offset
        writer.commit([entry(range(first, first + 30), batch(sequence + 2))])
        settle(writer)
        writer.rotate()
    assert verify(tmp_path).findings == []
    found = numbers_in(tmp_path)
    assert found == list(range(found[0], first + 30))


def test_a_kill_in_every_round_of_a_long_life_loses_nothing(tmp_path):
    reached = 0
    for point in ("in_merge:3", "before_commit:9", "in_roll:2", "after_commit:5", "in_rotate:1", "in_retention:1"):
        stop, _ = killed(tmp_path, point)
        assert stop >= reached
        reached = stop
    with JournalWriter.open(tmp_path, SETTINGS) as writer:
        assert writer.next_offset >= reached
    assert verify(tmp_path).findings == []
