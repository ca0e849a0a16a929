"""A chunk's row: round trips, checksums, gaps."""

from dataclasses import replace

import bson
import pytest

from journaling import entry, event
from zarkov.batch import Summary
from zarkov.errors import JournalCorrupt
from zarkov.journal.chunk import Chunk
from zarkov.journal.format import (
    CODEC_GONE,
    CODEC_RAW,
    CODEC_ZSTD,
    ChunkHeader,
    Packer,
    check,
    decode_gaps,
    encode_gaps,
    header_is_sound,
    pack_gone,
    present,
    skip,
    unpack,
)
from zarkov.position import OffsetRange


def packed(count=50, first=1000, level=1, gaps=()):
    made = entry(range(first, first + count))
    absent = sum(gap.count for gap in gaps)
    assert made.summary is not None
    return Packer(level).pack(first, count + absent, made.data, made.summary, gaps), made


@pytest.mark.parametrize(("level", "codec"), [(0, CODEC_RAW), (1, CODEC_ZSTD), (6, CODEC_ZSTD)])
def test_a_packed_run_unpacks_to_the_same_bytes(level, codec):
    row, made = packed(level=level)
    assert row.header.codec == codec
    assert row.header.level == level
    assert unpack(row.header, row.data) == made.data
    assert header_is_sound(row.header)
    assert row.header.summary == made.summary


def test_data_that_does_not_shrink_is_stored_as_it_is():
    made = entry([1])
    row = Packer(19).pack(0, 1, made.data[:5], made.summary)
    assert row.header.codec == CODEC_RAW
    assert row.data == made.data[:5]


def test_every_flipped_bit_of_the_data_is_noticed():
    row, _ = packed(count=3)
    for index in range(len(row.data)):
        damaged = bytearray(row.data)
        damaged[index] ^= 1 << (index % 8)
        with pytest.raises(JournalCorrupt):
            check(row.header, bytes(damaged))


@pytest.mark.parametrize("field", [name for name in ChunkHeader._fields if name != "gaps"])
@pytest.mark.parametrize("wrong", [7, b"seven", "seven", None, -1, 2**62])
def test_a_header_with_any_other_value_is_not_sound(field, wrong):
    row, _ = packed()
    if getattr(row.header, field) != wrong:
        assert not header_is_sound(row.header._replace(**{field: wrong}))


def test_a_header_with_other_gaps_is_not_sound():
    row, _ = packed()
    assert not header_is_sound(row.header._replace(gaps=b"\x00" * 8))


def test_an_unknown_codec_is_refused():
    row, _ = packed()
    with pytest.raises(JournalCorrupt, match="codec"):
        check(row.header._replace(codec=9), row.data)


def test_gaps_round_trip():
    gaps = (OffsetRange(1005, 2), OffsetRange(1040, 10))
    row, _ = packed(gaps=gaps)
    assert decode_gaps(row.header) == gaps
    assert encode_gaps(1000, ()) is None


def test_a_gone_chunk_is_one_gap_without_events():
    summary = Summary(0, 0, b"", b"", frozenset())
    row = pack_gone(70, 30, summary)
    assert row.header.codec == CODEC_GONE
    assert decode_gaps(row.header) == (OffsetRange(70, 30),)
    assert unpack(row.header, row.data) == b""


@pytest.mark.parametrize(
    ("start", "stop", "gaps", "expected"),
    [
        (0, 10, [], [(0, 10)]),
        (0, 10, [(3, 2)], [(0, 3), (5, 5)]),
        (0, 10, [(0, 10)], []),
        (4, 8, [(0, 5), (7, 9)], [(5, 2)]),
        (4, 8, [(20, 5)], [(4, 4)]),
    ],
)
def test_present_runs_are_what_the_gaps_leave(start, stop, gaps, expected):
    runs = present(start, stop, [OffsetRange(*gap) for gap in gaps])
    assert [(run.first, run.count) for run in runs] == expected


def test_skip_finds_the_end_of_documents_and_refuses_fewer():
    data = bson.encode({"a": 1}) + bson.encode({"b": "x" * 100})
    assert skip(data, 1) == len(bson.encode({"a": 1}))
    assert skip(data, 2) == len(data)
    with pytest.raises(JournalCorrupt):
        skip(data, 3)
    with pytest.raises(JournalCorrupt):
        skip(b"\x00" * 20, 1)


def chunk_with_gaps():
    # Offsets 1000..1009; 1002, 1003 and 1007 have no event.
    present_numbers = [1000, 1001, 1004, 1005, 1006, 1008, 1009]
    made = entry(present_numbers)
    row = Packer(1).pack(1000, 10, made.data, made.summary, (OffsetRange(1002, 2), OffsetRange(1007, 1)))
    return Chunk(row.header, row.data, 1000, 1010)


@pytest.mark.parametrize("start", range(1000, 1011))
@pytest.mark.parametrize("stop", range(1000, 1011))
def test_a_clipped_chunk_with_gaps_has_the_events_of_its_offsets(start, stop):
    if start > stop:
        return
    chunk = replace(chunk_with_gaps(), start=start, stop=stop)
    expected = [n for n in (1000, 1001, 1004, 1005, 1006, 1008, 1009) if start <= n < stop]
    assert list(chunk.offsets()) == expected
    assert chunk.count == len(expected)
    assert [e["context"]["number"] for e in chunk.documents()] == expected
    assert [(o, e["context"]["number"]) for o, e in chunk.events()] == [(n, n) for n in expected]
    assert [(o, bson.decode(data)) for o, data in chunk.events_bytes()] == [(n, event(n)) for n in expected]
