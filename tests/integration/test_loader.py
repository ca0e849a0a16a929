"""The loader into a real server: what becomes of each event, rotation, and database and journal that do not fit."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import bson
import pytest
from bson import ObjectId

from journaling import SETTINGS, entry, event, fill, small
from loading import LoaderProcess, check_same, expected, in_mongo, load_all, loaded_to, settings_of
from mongod import MongoServer
from waiting import wait_until
from zarkov.batch import Entry, Summary
from zarkov.cli.load_source import HOLD, READER, open_sources
from zarkov.config import Settings
from zarkov.event import EVENT_BYTES_MAX
from zarkov.journal import Catalog, Journal, JournalWriter
from zarkov.journal.rejected import RejectedStore
from zarkov.store.load_check import ask_rewind, safe_start
from zarkov.store.load_indexes import NAMES
from zarkov.store.load_status import State


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    (tmp_path / "data").mkdir()
    return tmp_path / "data"


@pytest.fixture
def settings(mongo: MongoServer, data_dir: Path) -> Settings:
    return settings_of(data_dir, mongo, mongo.database())


def append(data_dir: Path, *events: dict[str, Any]) -> None:
    with JournalWriter.open(data_dir / "journal", SETTINGS) as writer:
        data = b"".join(bson.encode(each) for each in events)
        writer.commit([Entry(data, len(events), Summary.of(events))])


def rotate(data_dir: Path) -> None:
    with JournalWriter.open(data_dir / "journal", SETTINGS) as writer:
        writer.rotate()


def stored(mongo: MongoServer, settings: Settings, name: str = "event") -> list[dict[str, Any]]:
    with mongo.client() as client:
        return list(client[settings.mongo_database][name].find())


def rejections(settings: Settings) -> list[tuple[str, str, bytes]]:
    if not settings.rejected_path.exists():
        return []
    with RejectedStore.open_readonly(settings.rejected_path) as rejected:
        return [(each.rejection.code, each.rejection.source, each.rejection.data) for each in rejected.list(100)]


def journal_id(settings: Settings) -> str:
    with Journal.open(settings.journal_dir) as journal:
        return journal.journal_id


def readers(settings: Settings) -> dict[str, int]:
    with Journal.open(settings.journal_dir) as journal:
        return {each.name: each.next_offset for each in journal.info().readers}


def rewind(settings: Settings, mongo: MongoServer, offset: int) -> None:
    with mongo.client() as client:
        ask_rewind(client[settings.mongo_database], journal_id(settings), offset)


def test_every_event_is_loaded_with_its_place(mongo: MongoServer, settings: Settings, data_dir: Path) -> None:
    fill(data_dir / "journal", 1234, each=50)
    status = load_all(settings)
    check_same(data_dir, mongo, settings.mongo_database)
    assert status.loaded == 1234
    name = journal_id(settings)
    assert sorted(each["o"] for each in stored(mongo, settings)) == [[name, offset] for offset in range(1234)]
    with mongo.client() as client:
        found = client[settings.mongo_database].event
        assert set(NAMES) <= set(found.index_information())
        span = {"o.0": name, "o.1": {"$gte": 10, "$lt": 13}}
        assert sorted(each["context"]["number"] for each in found.find(span)) == [10, 11, 12]


def test_the_journals_reader_is_held_before_the_first_load_and_moved_behind_it(
    mongo: MongoServer, settings: Settings, data_dir: Path
) -> None:
    fill(data_dir / "journal", 30)
    with open_sources(settings) as (source,):
        source.hold()
        assert (readers(settings), source.loaded_to()) == ({HOLD: 0}, None)
    load_all(settings)
    assert readers(settings) == {READER: 30}


def test_loading_goes_on_where_it_was(mongo: MongoServer, settings: Settings, data_dir: Path) -> None:
    fill(data_dir / "journal", 100)
    load_all(settings)
    fill(data_dir / "journal", 100)
    assert load_all(settings).loaded == 100
    check_same(data_dir, mongo, settings.mongo_database)


@pytest.mark.parametrize("count", [90, 900])
def test_a_batch_that_is_loaded_again_is_recognised(
    mongo: MongoServer, settings: Settings, data_dir: Path, count: int
) -> None:
    fill(data_dir / "journal", count)
    load_all(settings)
    rewind(settings, mongo, 0)
    status = load_all(settings)
    assert (status.loaded, status.retried, status.repeated, status.rejected) == (0, count, 0, 0)
    check_same(data_dir, mongo, settings.mongo_database)


def test_an_event_that_was_sent_twice_is_stored_once_and_counted(
    mongo: MongoServer, settings: Settings, data_dir: Path
) -> None:
    append(data_dir, event(1), event(2), event(1))
    append(data_dir, event(2))
    status = load_all(settings)
    assert (status.loaded, status.repeated, status.rejected) == (2, 2, 0)
    assert sorted(each["context"]["number"] for each in stored(mongo, settings)) == [1, 2]


def test_another_event_with_the_same_id_is_rejected_and_never_kept_twice(
    mongo: MongoServer, settings: Settings, data_dir: Path
) -> None:
    append(data_dir, event(1), event(1, "other"), event(2))
    status = load_all(settings)
    kept = [("duplicate_id", f"loader {journal_id(settings)}:1", bson.encode(event(1, "other")))]
    assert (status.loaded, status.rejected, rejections(settings)) == (2, 1, kept)
    rewind(settings, mongo, 0)
    load_all(settings)
    assert rejections(settings) == kept


def test_an_event_that_another_program_stored_with_the_same_content_is_a_repetition(
    mongo: MongoServer, settings: Settings, data_dir: Path
) -> None:
    with mongo.client() as client:
        client[settings.mongo_database].event.insert_one(event(1))
    append(data_dir, event(1), event(2))
    assert load_all(settings).repeated == 1


@pytest.mark.parametrize("batch_events_max", [1, 10])
def test_an_event_that_the_server_has_no_room_for_is_rejected_and_the_others_are_stored(
    mongo: MongoServer, data_dir: Path, batch_events_max: int
) -> None:
    """FerretDB does not take arrays in arrays; MongoDB does, and stores them all."""
    settings = settings_of(data_dir, mongo, mongo.database(), loader_batch_events_max=batch_events_max)
    append(data_dir, event(1), event(2, extra=[[1], [2]]), event(3))
    status = load_all(settings)
    assert (status.state, loaded_to(data_dir)) == (State.LOADING, 3)
    numbers = {each["context"]["number"] for each in stored(mongo, settings)}
    assert numbers in ({1, 3}, {1, 2, 3})
    kept = [("store_refused", f"loader {journal_id(settings)}:1", bson.encode(event(2, extra=[[1], [2]])))]
    assert rejections(settings) == ([] if 2 in numbers else kept)


def test_an_event_on_which_the_server_closes_the_connection_does_not_stop_the_others(
    mongo: MongoServer, settings: Settings, data_dir: Path
) -> None:
    """FerretDB does so on values it does not know; MongoDB stores this one."""
    append(data_dir, *(event(number) for number in range(20)), event(20, extra=float("nan")), event(21))
    with LoaderProcess(data_dir, mongo, settings.mongo_database) as loader:
        loader.wait_loaded()
    numbers = {each["context"]["number"] for each in stored(mongo, settings)}
    refused = [code for code, _, _ in rejections(settings)]
    assert (numbers | {20}, refused) in ((set(range(22)), ["store_refused"]), (set(range(22)), []))
    assert (20 in numbers) is (refused == [])


def test_the_largest_event_is_stored_without_its_place(mongo: MongoServer, data_dir: Path) -> None:
    settings = settings_of(data_dir, mongo, mongo.database(), mongo_timeout_s=60)
    room = EVENT_BYTES_MAX - len(bson.encode(event(1, padding=b"")))
    append(data_dir, event(1, padding=b"x" * room), event(2))
    load_all(settings)
    assert ["o" in each for each in stored(mongo, settings)] == [False, True]
    check_same(data_dir, mongo, settings.mongo_database)


def test_generations_are_loaded_into_collections_of_their_own(
    mongo: MongoServer, settings: Settings, data_dir: Path
) -> None:
    for _ in range(3):
        fill(data_dir / "journal", 40)
        rotate(data_dir)
    fill(data_dir / "journal", 40)
    load_all(settings)
    assert set(in_mongo(mongo, settings.mongo_database)) == {"event", "event.0", "event.1", "event.2"}
    check_same(data_dir, mongo, settings.mongo_database)


def test_a_rotation_moves_what_is_loaded_and_the_rest_follows_to_where_it_belongs(
    mongo: MongoServer, settings: Settings, data_dir: Path
) -> None:
    fill(data_dir / "journal", 40)
    load_all(settings)
    fill(data_dir / "journal", 40)
    rotate(data_dir)
    rotate(data_dir)
    fill(data_dir / "journal", 40)
    load_all(settings)
    assert {name: len(events) for name, events in in_mongo(mongo, settings.mongo_database).items()} == {
        "event": 40,
        "event.1": 80,
    }
    check_same(data_dir, mongo, settings.mongo_database)
    with mongo.client() as client:
        for name in ("event", "event.1"):
            assert set(NAMES) <= set(client[settings.mongo_database][name].index_information())


def test_a_generation_that_was_dropped_is_not_loaded(mongo: MongoServer, settings: Settings, data_dir: Path) -> None:
    fill(data_dir / "journal", 40)
    with JournalWriter.open(data_dir / "journal", SETTINGS) as writer:
        writer.drop_generation(writer.rotate().ordinal)
    fill(data_dir / "journal", 10)
    load_all(settings)
    assert sorted(each["context"]["number"] for each in stored(mongo, settings)) == list(range(40, 50))


def test_several_journals_are_loaded_each_with_its_checkpoint(mongo: MongoServer, data_dir: Path) -> None:
    from dataclasses import replace

    settings = replace(settings_of(data_dir, mongo, mongo.database()), num_event_servers=2)
    fill(data_dir / "journal", 55)
    with JournalWriter.open(data_dir / "journal.1", SETTINGS) as writer:
        writer.commit([entry(range(1000, 1100))])
    status = load_all(settings)
    assert sorted(status.next_offsets.values()) == [55, 100]
    assert sorted(each["context"]["number"] for each in stored(mongo, settings)) == [*range(55), *range(1000, 1100)]
    with JournalWriter.open(data_dir / "journal", SETTINGS) as writer:
        writer.rotate()
    with JournalWriter.open(data_dir / "journal.1", SETTINGS) as writer:
        writer.commit([entry(range(1100, 1110))])
        writer.rotate()
        writer.commit([entry(range(1110, 1120))])
    load_all(settings)
    assert sorted(each["context"]["number"] for each in stored(mongo, settings)) == list(range(1110, 1120))
    assert len(stored(mongo, settings, "event.0")) == 55 + 110


def test_an_emptied_database_is_noticed_and_filled_again_on_request(
    mongo: MongoServer, settings: Settings, data_dir: Path
) -> None:
    fill(data_dir / "journal", 100)
    rotate(data_dir)
    fill(data_dir / "journal", 30)
    load_all(settings)
    with mongo.client() as client:
        client.drop_database(settings.mongo_database)
    status = load_all(settings)
    assert (status.state, status.code) == (State.BEHIND, "store_behind")
    assert "zcmd loader rewind" in status.hint
    assert in_mongo(mongo, settings.mongo_database) == {}
    rewind(settings, mongo, 0)
    load_all(settings)
    check_same(data_dir, mongo, settings.mongo_database)


def test_events_that_are_gone_although_the_checkpoint_is_there_are_noticed(
    mongo: MongoServer, settings: Settings, data_dir: Path
) -> None:
    fill(data_dir / "journal", 100)
    load_all(settings)
    with mongo.client() as client:
        client[settings.mongo_database].drop_collection("event")
        with open_sources(settings) as (source,):
            assert safe_start(source, client[settings.mongo_database]) == 0
    assert load_all(settings).code == "store_behind"


def test_a_checkpoint_from_an_older_backup_is_noticed_and_loaded_from(
    mongo: MongoServer, settings: Settings, data_dir: Path
) -> None:
    fill(data_dir / "journal", 100)
    load_all(settings)
    with mongo.client() as client:
        before = list(client[settings.mongo_database]["zarkov.loader"].find())
        fill(data_dir / "journal", 50)
        load_all(settings)
        database = client[settings.mongo_database]
        database.event.delete_many({"o.1": {"$gte": 100}})
        database.drop_collection("zarkov.loader")
        database["zarkov.loader"].insert_many(before)
        assert load_all(settings).code == "store_behind"
        with open_sources(settings) as (source,):
            assert safe_start(source, database) == 100
        rewind(settings, mongo, 100)
    assert load_all(settings).loaded == 50
    check_same(data_dir, mongo, settings.mongo_database)


def test_a_journal_that_ends_before_the_checkpoint_is_noticed(
    mongo: MongoServer, settings: Settings, data_dir: Path
) -> None:
    fill(data_dir / "journal", 50)
    shutil.copytree(data_dir / "journal", data_dir / "backup")
    fill(data_dir / "journal", 50)
    load_all(settings)
    shutil.rmtree(data_dir / "journal")
    (data_dir / "backup").rename(data_dir / "journal")
    assert load_all(settings).code == "position_beyond_end"


def test_a_journal_that_grew_again_after_an_older_backup_is_noticed(
    mongo: MongoServer, settings: Settings, data_dir: Path
) -> None:
    fill(data_dir / "journal", 50)
    shutil.copytree(data_dir / "journal", data_dir / "backup")
    fill(data_dir / "journal", 50)
    load_all(settings)
    shutil.rmtree(data_dir / "journal")
    (data_dir / "backup").rename(data_dir / "journal")
    append(data_dir, *(event(number) for number in range(5000, 5100)))
    status = load_all(settings)
    assert status.code == "position_beyond_end"
    assert "another event" in status.reason


def test_events_that_retention_removed_before_they_were_loaded_are_named(
    mongo: MongoServer, settings: Settings, data_dir: Path
) -> None:
    append(data_dir, event(0))
    load_all(settings)
    catalog = Catalog.open(data_dir / "journal", "write")
    assert catalog is not None
    catalog.forget_reader(READER)
    catalog.close()
    limits = small(segment_bytes_max=1 << 20, retention_bytes=1 << 20, compress_level=0, compact_level=0)
    with JournalWriter.open(data_dir / "journal", limits) as writer:
        for number in range(1, 40):
            document = event(number, padding=b"x" * 200_000)
            writer.commit([Entry(bson.encode(document), 1, Summary.of([document]))])
        wait_until(lambda: not writer.upkeep(idle=True))
    with Journal.open(data_dir / "journal") as journal:
        first = journal.first_offset
    assert first > 1
    status = load_all(settings)
    assert (status.code, f"{first:,}" in status.reason) == ("store_behind", True)


def test_init_in_the_journal_is_enough_for_a_database_that_was_emptied_too(
    mongo: MongoServer, settings: Settings, data_dir: Path
) -> None:
    fill(data_dir / "journal", 100)
    load_all(settings)
    with mongo.client() as client:
        client.drop_database(settings.mongo_database)
    with JournalWriter.open(data_dir / "journal", SETTINGS) as writer:
        writer.drop_generation(writer.rotate().ordinal)
    fill(data_dir / "journal", 5)
    assert load_all(settings).loaded == 5
    assert expected(data_dir).keys() == in_mongo(mongo, settings.mongo_database).keys()


def test_a_unique_index_of_somebody_else_rejects_and_does_not_block(
    mongo: MongoServer, settings: Settings, data_dir: Path
) -> None:
    with mongo.client() as client:
        client[settings.mongo_database].event.create_index("type", unique=True)
    append(data_dir, event(1), event(2), event(3, "other"))
    status = load_all(settings)
    assert (status.loaded, status.rejected) == (2, 1)
    assert [code for code, _, _ in rejections(settings)] == ["store_refused"]


def test_a_second_loader_waits_for_the_first(mongo: MongoServer, settings: Settings, data_dir: Path) -> None:
    fill(data_dir / "journal", 100)
    with LoaderProcess(data_dir, mongo, settings.mongo_database) as first:
        first.wait_loaded()
        second = LoaderProcess(data_dir, mongo, settings.mongo_database)
        second.log = data_dir.with_suffix(".second.log")
        with second:
            wait_until(lambda: second.said("loader waits its turn"))
            fill(data_dir / "journal", 100)
            first.wait_loaded()
            assert not second.said("loader loads")
            assert first.stop() == 0
            fill(data_dir / "journal", 100)
            second.wait_loaded()
            assert second.log.read_text().count("waits its turn") == 1
            assert second.stop() == 0
    check_same(data_dir, mongo, settings.mongo_database)


def test_a_loader_that_is_there_before_the_journal_waits_for_it(
    mongo: MongoServer, settings: Settings, data_dir: Path
) -> None:
    with LoaderProcess(data_dir, mongo, settings.mongo_database) as loader:
        wait_until(lambda: loader.said("waits for the journal"))
        fill(data_dir / "journal", 10)
        loader.wait_loaded()
        assert loader.stop() == 0


def test_ids_of_events_are_kept_as_they_are(mongo: MongoServer, settings: Settings, data_dir: Path) -> None:
    """Also where `_id` is not the first field, which MongoDB moves there."""
    oid = ObjectId()
    document = {"type": "a", "_id": oid, "timestamp": event(1)["timestamp"], "context": {}}
    append(data_dir, document)
    load_all(settings)
    rewind(settings, mongo, 0)
    assert load_all(settings).retried == 1
    assert [each["_id"] for each in stored(mongo, settings)] == [oid]
