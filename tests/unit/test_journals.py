"""Several journals read as one: order, generations, positions, the store over them."""

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import pytest

from journaling import SETTINGS, entry, event
from stored import event_id
from stored import write as write_events
from zarkov.errors import JournalError
from zarkov.journal import Journal, Journals, JournalWriter
from zarkov.store.sqlite import SqliteStore


@pytest.fixture
def journals(tmp_path: Path) -> Iterator[Journals]:
    """Even numbers from 0 to 98 in the first journal, odd ones in the second, ten a chunk."""
    for which in range(2):
        numbers = range(which, 100, 2)
        with JournalWriter.open(tmp_path / f"journal.{which}", SETTINGS) as writer:
            for start in range(0, 50, 10):
                writer.commit([entry(numbers[start : start + 10])])
    with Journals.open([tmp_path / "journal.0", tmp_path / "journal.1"]) as opened:
        yield opened


@pytest.fixture
def store(journals: Journals, tmp_path: Path) -> Iterator[SqliteStore]:
    with SqliteStore(journals, tmp_path / "documents.sqlite") as opened:
        yield opened


def numbers(found: Iterator[dict] | list[dict]) -> list[int]:
    return [each["context"]["number"] for each in found]


def test_a_position_names_every_journal(journals: Journals) -> None:
    assert journals.position == {journal.journal_id: 50 for journal in journals.journals}
    assert len(journals.position) == 2


def test_natural_order_is_journal_by_journal_and_its_reverse_is_exactly_that(store: SqliteStore) -> None:
    events = store.collection("event")
    order = [*range(0, 100, 2), *range(1, 100, 2)]
    assert numbers(events.find()) == order
    assert numbers(events.find(sort=[("$natural", -1)])) == order[::-1]
    assert numbers(events.find(skip=45, limit=10)) == order[45:55]


@pytest.mark.parametrize("direction", [1, -1])
@pytest.mark.parametrize("field", ["timestamp", "_id", "context.number"])
@pytest.mark.parametrize("limit", [0, 1, 7, 60])
def test_a_sort_mixes_the_journals_whatever_it_passes_over(
    store: SqliteStore, field: str, direction: int, limit: int
) -> None:
    wanted = sorted(range(100), reverse=direction < 0)
    found = numbers(store.collection("event").find(sort=[(field, direction)], limit=limit))
    assert found == wanted[: limit or 100]


def test_ties_of_a_sort_keep_the_natural_order(store: SqliteStore) -> None:
    assert numbers(store.collection("event").find(sort=[("type", -1)], limit=60)) == [
        *range(0, 100, 2),
        *range(1, 20, 2),
    ]


def test_counts_and_finds_by_id_reach_every_journal(store: SqliteStore) -> None:
    events = store.collection("event")
    assert events.count_documents({}) == 100
    assert events.count_documents({"context.number": {"$lt": 30}}) == 30
    for number in (0, 1, 98, 99):
        assert events.find_one(event(number)["_id"])["context"]["number"] == number
    assert events.find_one(event(100)["_id"]) is None
    assert sorted(events.distinct("context.number")) == list(range(100))


def test_the_bytes_of_an_event_are_found_by_its_id(journals: Journals) -> None:
    assert journals.find_id(event(7)["_id"].binary) is not None
    assert journals.find_id(event(777)["_id"].binary) is None


def test_following_takes_turns_and_goes_on_from_a_position(journals: Journals, tmp_path: Path) -> None:
    start = journals.position
    with JournalWriter.open(tmp_path / "journal.1", SETTINGS) as writer:
        writer.commit([entry([200])])
    with JournalWriter.open(tmp_path / "journal.0", SETTINGS) as writer:
        writer.commit([entry([201])])
    met: list[int] = []
    chunks = journals.follow(start, stop=lambda: len(met) >= 2, poll_s=0)
    for chunk in chunks:
        met += numbers(list(chunk.documents()))
    assert sorted(met) == [200, 201]


def test_a_journal_that_a_position_does_not_name_is_followed_from_its_beginning(journals: Journals) -> None:
    first, second = journals.journals
    seen: list[int] = []
    start = {first.journal_id: 50}
    for chunk in journals.follow(start, stop=lambda: False, poll_s=0):
        seen += numbers(list(chunk.documents()))
        if len(seen) >= 50:
            break
    assert seen == list(range(1, 100, 2))
    assert second.journal_id not in start


def test_generations_are_found_by_their_ordinal_while_a_rotate_is_not_through(tmp_path: Path) -> None:
    """The second journal has not been rotated yet: what it holds belongs to the generation that ended."""
    stamp = datetime(2026, 11, 24)
    one, two = tmp_path / "journal.0", tmp_path / "journal.1"
    write_events(one, [[{"_id": event_id(1), "timestamp": stamp, "type": "a", "context": {}}]], rotate_after=[0])
    write_events(two, [[{"_id": event_id(2), "timestamp": stamp, "type": "b", "context": {}}]])
    with Journals.open([one, two]) as journals, SqliteStore(journals, tmp_path / "documents.sqlite") as store:
        assert journals.ordinals == [1, 0]
        assert journals.generation_names() == ["event", "event.0"]
        assert store.collection("event").count_documents({}) == 0
        assert store.collection("event.0").distinct("type") == ["a", "b"]
        assert store.collection("event.1").count_documents({}) == 0
        with pytest.raises(JournalError):
            journals.parts("event.7")


def test_one_journal_is_read_as_it_is_alone(journals: Journals, tmp_path: Path) -> None:
    with Journal.open(tmp_path / "journal.0") as alone, Journals([alone]) as one:
        for name in ("event", "event.0"):
            assert one.ranges(name) == alone.ranges(name)
        assert one.generation_names() == alone.generation_names()


def test_a_journal_that_is_not_there_leaves_none_open(tmp_path: Path) -> None:
    write_events(tmp_path / "journal", [])
    (tmp_path / "empty").mkdir()
    with pytest.raises(JournalError):
        Journals.open([tmp_path / "journal", tmp_path / "empty"])
