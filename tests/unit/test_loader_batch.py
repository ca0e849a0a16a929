"""From the journal's bytes to the documents of an insert, without a server."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

import bson
import pytest
from bson import Int64, ObjectId
from bson.raw_bson import RawBSONDocument

from journaling import event, fill, small
from zarkov.event import EVENT_BYTES_MAX
from zarkov.journal import Journal
from zarkov.position import OffsetRange
from zarkov.store.load_batch import (
    RAW_OPTIONS,
    SPAN_MAX,
    Batch,
    Span,
    Splicer,
    batches,
    is_same,
    is_same_content,
    next_span,
    without_o,
)

JOURNAL = "0123456789abcdef"
SPLICER = Splicer(JOURNAL)


@dataclass
class Chunk:
    """A run of events, with a gap where there is None."""

    first: int
    events: list[dict[str, object] | None]

    @property
    def stop(self) -> int:
        return self.first + len(self.events)

    def runs(self) -> Iterator[OffsetRange]:
        for index, each in enumerate(self.events):
            if each is not None:
                yield OffsetRange(self.first + index, 1)

    def documents_bytes(self) -> bytes:
        return b"".join(bson.encode(each) for each in self.events if each is not None)


@dataclass
class Generation:
    ordinal: int
    first_offset: int
    stop_offset: int | None
    dropped: bool = False


def raw(document: dict[str, object]) -> RawBSONDocument:
    return RawBSONDocument(bson.encode(document), RAW_OPTIONS)


def batched(
    chunks: list[Chunk], stop: int, *, start: int = 0, events_max: int = 1000, bytes_max: int = 10**6
) -> list[Batch]:
    span = Span(start, stop, 7, dropped=False)
    return list(batches(span, chunks, SPLICER, events_max=events_max, bytes_max=bytes_max))


@pytest.mark.parametrize("offset", [0, 1, 2**40, 2**63 - 1])
def test_the_spliced_event_is_what_encoding_it_with_o_gives(offset: int) -> None:
    document = event(1, extra={"a": [1, {"b": datetime(2020, 1, 1)}]})
    data = bson.encode(document)
    spliced = SPLICER.splice(b"xx" + data + b"yy", 2, 2 + len(data), offset)
    assert spliced == bson.encode({**document, "o": [JOURNAL, Int64(offset)]})
    assert len(spliced) == len(data) + SPLICER.bytes


def test_o_is_taken_off_again_byte_by_byte() -> None:
    events = [bson.encode(event(number, more={"o": number})) for number in range(5)]
    page = b"".join(SPLICER.splice(each, 0, len(each), number) for number, each in enumerate(events))
    assert without_o(page) == b"".join(events)
    assert without_o(b"".join(events)) == b"".join(events), "what has none stays as it is"


def test_an_o_that_is_not_the_loaders_stays() -> None:
    own = bson.encode({"_id": ObjectId(), "o": ["a", "b"]}) + bson.encode({"_id": ObjectId(), "o": 1, "x": 2})
    assert without_o(own) == own


def test_a_batch_has_every_event_with_its_offset() -> None:
    (batch,) = batched([Chunk(0, [event(0), event(1)]), Chunk(2, [event(2)])], 3)
    assert (batch.start, batch.stop, batch.ordinal, batch.offsets) == (0, 3, 7, [0, 1, 2])
    assert [document["o"] for document in batch.documents] == [[JOURNAL, 0], [JOURNAL, 1], [JOURNAL, 2]]


def test_batches_follow_each_other_without_a_hole_and_end_with_the_span() -> None:
    chunks = [Chunk(10, [event(n) for n in range(10, 17)]), Chunk(17, [None, event(18), None])]
    found = batched(chunks, 30, start=10, events_max=3)
    assert [(batch.start, batch.stop) for batch in found] == [(10, 13), (13, 16), (16, 30)]
    assert [batch.offsets for batch in found] == [[10, 11, 12], [13, 14, 15], [16, 18]]


def test_a_span_without_events_is_one_empty_batch() -> None:
    (batch,) = batched([], 40, start=5)
    assert (batch.start, batch.stop, batch.documents) == (5, 40, [])


def test_a_batch_is_bounded_in_bytes_but_takes_one_event_of_any_size() -> None:
    events = [event(0), event(1, padding=b"x" * 5000), event(2), event(3)]
    found = batched([Chunk(0, list(events))], 4, bytes_max=1000)
    assert [batch.offsets for batch in found] == [[0], [1], [2, 3]]
    assert all(batch.bytes <= 1000 or len(batch.documents) == 1 for batch in found)
    assert sum(batch.bytes for batch in found) == sum(len(bson.encode(each)) + SPLICER.bytes for each in events)


def test_an_event_with_a_field_o_of_its_own_is_stored_as_it_is() -> None:
    own = event(0, o="mine")
    inner = event(1, more={"o": 1}, foo="to", no="o")
    (batch,) = batched([Chunk(0, [own, inner])], 2)
    assert batch.documents[0].raw == bson.encode(own)
    assert batch.documents[1]["o"] == [JOURNAL, 1]


def test_an_event_without_room_for_o_is_stored_as_it_is() -> None:
    bare = len(bson.encode(event(0, padding=b"")))
    largest = event(0, padding=b"x" * (EVENT_BYTES_MAX - bare))
    fits = event(1, padding=b"x" * (EVENT_BYTES_MAX - bare - SPLICER.bytes))
    found = batched([Chunk(0, [largest, fits])], 2)
    sizes = [len(document.raw) for batch in found for document in batch.documents]
    assert sizes == [EVENT_BYTES_MAX, EVENT_BYTES_MAX]
    assert "o" not in found[0].documents[0]
    assert found[1].documents[0]["o"] == [JOURNAL, 1]


def test_what_comes_from_a_real_journal_is_every_event_in_order(tmp_path) -> None:
    fill(tmp_path, 250, each=30, settings=small(segment_bytes_max=1 << 20))
    with Journal.open(tmp_path) as journal:
        splicer = Splicer(journal.journal_id)
        span = Span(7, 250, 0, dropped=False)
        found = list(batches(span, journal.chunks(7, 250), splicer, events_max=40, bytes_max=10**6))
        assert [offset for batch in found for offset in batch.offsets] == list(range(7, 250))
        loaded = [bytes(document.raw) for batch in found for document in batch.documents]
        assert without_o(b"".join(loaded)) == b"".join(data for _, data in journal.read_bytes(7))


def test_a_span_ends_where_its_generation_does() -> None:
    generations = [Generation(2, 20, None), Generation(1, 10, 20), Generation(0, 0, 10)]
    assert next_span(0, 25, generations) == Span(0, 10, 0, dropped=False)
    assert next_span(10, 25, generations) == Span(10, 20, 1, dropped=False)
    assert next_span(20, 25, generations) == Span(20, 25, 2, dropped=False)
    assert next_span(25, 25, generations) is None


def test_a_span_never_goes_beyond_the_end_that_was_read_before_the_generations() -> None:
    assert next_span(0, 5, [Generation(1, 10, None), Generation(0, 0, 10)]) == Span(0, 5, 0, dropped=False)
    assert next_span(5, 5, [Generation(1, 10, None), Generation(0, 0, 10)]) is None


def test_a_dropped_generation_is_passed_by_and_an_empty_one_too() -> None:
    generations = [Generation(2, 10, None), Generation(1, 10, 10), Generation(0, 0, 10, dropped=True)]
    assert next_span(4, 15, generations) == Span(4, 10, 0, dropped=True)
    assert next_span(10, 15, generations) == Span(10, 15, 2, dropped=False)


def test_a_long_backlog_is_taken_in_parts_so_that_new_generations_are_seen() -> None:
    assert next_span(0, 10**9, [Generation(0, 0, None)]) == Span(0, SPAN_MAX, 0, dropped=False)


def test_a_stored_event_with_the_same_o_is_the_same_and_one_with_another_o_may_have_its_content() -> None:
    sent = raw({**event(1), "o": [JOURNAL, 5]})
    elsewhere = raw({**event(1), "o": [JOURNAL, 9]})
    bare = raw(event(1))
    assert is_same(sent, sent, JOURNAL, 5)
    assert not is_same(sent, elsewhere, JOURNAL, 5)
    assert not is_same(sent, bare, JOURNAL, 5)
    assert is_same_content(sent, elsewhere)
    assert is_same_content(sent, bare)
    assert not is_same_content(sent, raw({**event(1, "other"), "o": [JOURNAL, 9]}))


def test_content_does_not_depend_on_where_the_id_stands_but_on_the_order_of_the_rest() -> None:
    oid = ObjectId()
    assert is_same_content(raw({"type": "a", "_id": oid}), raw({"_id": oid, "type": "a"}))
    assert not is_same_content(raw({"_id": oid, "a": 1, "b": 2}), raw({"_id": oid, "b": 2, "a": 1}))
    assert not is_same_content(raw({"_id": oid, "a": 1}), raw({"_id": oid, "a": 1.0}))


def test_a_clients_own_o_is_part_of_the_content() -> None:
    oid = ObjectId()
    assert not is_same_content(raw({"_id": oid, "o": "mine"}), raw({"_id": oid, "o": "other"}))
