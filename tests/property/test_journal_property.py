"""A journal against a plain list, in any order of appending, reopening, merging, rotating and dropping."""

import shutil
import tempfile
from pathlib import Path

import bson
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from journaling import START_MS, Clock, entry, small
from zarkov.batch import ProducerBatch
from zarkov.errors import PositionBeyondEnd, PositionExpired
from zarkov.journal import Catalog, Journal, JournalWriter
from zarkov.journal.verify import verify

SETTINGS = small(
    chunk_events_max=20, segment_events_max=60, window_max=3, producers_max=2, small_chunks_max=4, retention_bytes=0
)


class JournalMachine(RuleBasedStateMachine):
    """`events[i]` is the number of the event at offset `i`; `first` is the first offset that was not dropped."""

    @initialize()
    def open_first(self):
        self.directory = Path(tempfile.mkdtemp(prefix="journal-"))
        self.clock = Clock()
        self.events: list[int] = []
        self.first = 0
        self.starts = [0]  # of the generations, oldest first
        self.windows: dict[bytes, dict[int, tuple[int, int]]] = {}
        self.sequences = {b"a": 0, b"b": 0, b"c": 0}
        self.writer = JournalWriter.open(self.directory, SETTINGS, clock=self.clock)
        self.reader = Journal.open(self.directory)

    @rule(
        counts=st.lists(st.integers(0, 45), min_size=1, max_size=4),
        producer=st.sampled_from([None, b"a", b"b", b"c"]),
    )
    def append(self, counts, producer):
        entries, expected, at = [], [], len(self.events)
        for count in counts:
            batch = None
            if producer is not None:
                self.sequences[producer] += 1
                batch = ProducerBatch(producer, self.sequences[producer], b"note")
                window = self.windows.pop(producer, {})
                window[batch.sequence] = (at if count else -1, count)
                self.windows[producer] = {s: v for s, v in window.items() if s > batch.sequence - 3}
            entries.append(entry(range(at, at + count), batch))
            expected.append((at if count else -1, count))
            at += count
        while len(self.windows) > 2:
            del self.windows[next(iter(self.windows))]
        assert [(given.first, given.count) for given in self.writer.commit(entries)] == expected
        self.events += range(len(self.events), at)

    @rule()
    def reopen(self):
        self.writer.close()
        self.writer = JournalWriter.open(self.directory, SETTINGS, clock=self.clock)

    @rule()
    def reopen_reader(self):
        self.reader.close()
        self.reader = Journal.open(self.directory)

    @rule(steps=st.integers(1, 10), idle=st.booleans())
    def keep_up(self, steps, idle):
        for _ in range(steps):
            self.writer.upkeep(idle)

    @rule()
    def rotate(self):
        self.writer.rotate()
        self.starts.append(len(self.events))

    @precondition(lambda self: len(self.starts) > 1)
    @rule(back=st.integers(1, 3))
    def drop(self, back):
        generations = self.writer.generations()
        chosen = generations[min(back, len(generations) - 1)]
        assert self.writer.drop_generation(chosen.ordinal)
        self.first = max(self.first, self.starts[chosen.ordinal + 1])

    @rule(data=st.data())
    def read_a_range(self, data):
        start = data.draw(st.integers(self.first, len(self.events)))
        stop = data.draw(st.integers(start, len(self.events)))
        expected = [(n, n) for n in self.events[start:stop]]
        assert [(o, e["context"]["number"]) for o, e in self.reader.read(start, stop)] == expected
        assert [(o, bson.decode(b)["context"]["number"]) for o, b in self.reader.read_bytes(start, stop)] == expected
        backwards = list(self.reader.chunks(start, stop, newest_first=True))
        assert [offset for chunk in reversed(backwards) for offset in chunk.offsets()] == list(range(start, stop))
        assert self.reader.count(start, stop) == stop - start

    @rule(data=st.data())
    def scan_times(self, data):
        begin = data.draw(st.integers(0, len(self.events) + 2))
        end = data.draw(st.integers(begin, len(self.events) + 2))
        found = [offset for offset, _ in self.reader.scan(START_MS + begin * 1000, START_MS + end * 1000)]
        assert found == [n for n in self.events[self.first :] if begin <= n <= end]

    @rule(data=st.data())
    def find_by_id(self, data):
        number = data.draw(st.integers(0, len(self.events) + 2))
        found = self.reader.find_id(number.to_bytes(12, "big"))
        expected = number if self.first <= number < len(self.events) else None
        assert (found[0] if found else None) == expected

    @invariant()
    def ends_are_right(self):
        assert self.reader.first_offset == self.first
        assert self.reader.next_offset == self.writer.next_offset == len(self.events)
        with pytest.raises(PositionBeyondEnd):
            self.reader.chunks(len(self.events) + 1)
        if self.first:
            with pytest.raises(PositionExpired):
                self.reader.chunks(self.first - 1)

    @invariant()
    def generations_are_right(self):
        stops = [*self.starts[1:], len(self.events)]
        for back, (start, stop) in enumerate(reversed(list(zip(self.starts, stops, strict=True)))):
            found = self.reader.range_of("event" if back == 0 else f"event.{back - 1}")
            begin = max(start, self.first)
            assert (found.first, found.count) == (begin, max(0, stop - begin))

    @invariant()
    def producers_are_remembered(self):
        found: dict[bytes, dict[int, tuple[int, int]]] = {}
        for record in self.writer.producer_records():
            found.setdefault(record.producer, {})[record.sequence] = (record.first_offset, record.count)
        assert found == self.windows

    def teardown(self):
        if not hasattr(self, "writer"):
            return
        self.writer.close()
        report = verify(self.directory)
        assert report.findings == []
        assert report.events == len(self.events) - self.first
        assert self.reader.corrupt == []
        self.reader.close()
        shutil.rmtree(self.directory)


JournalMachine.TestCase.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)
TestJournal = JournalMachine.TestCase


def test_a_reader_position_never_moves_back_and_never_passes_the_end(tmp_path):
    with JournalWriter.open(tmp_path, SETTINGS) as writer:
        writer.commit([entry(range(10))])
    catalog = Catalog.open(tmp_path, "write")
    catalog.advance_reader("loader", 7, 1)
    catalog.advance_reader("loader", 3, 2)
    assert [(each.name, each.next_offset, each.updated_ms) for each in catalog.readers()] == [("loader", 7, 2)]
    with pytest.raises(PositionBeyondEnd):
        catalog.advance_reader("loader", 10**9, 3)
    catalog.forget_reader("loader")
    assert catalog.readers() == []
    catalog.close()
