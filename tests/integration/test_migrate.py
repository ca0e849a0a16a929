"""`zcmd migrate`: a data directory into MongoDB and back, verified, without touching the source."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from bson import Timestamp

from commands import ok, run
from migrating import DOCUMENTS, Migrating, content, event, fill
from mongod import MongoServer
from running import RunningServer
from stored import event_id, write
from waiting import wait_until
from zarkov.client import ZarkovClient

COUNTS = {
    "agg_def": 1,
    "notes": len(DOCUMENTS["notes"]),
    "event.3": 60,
    "event.2": 1,
    "event.1": 0,
    "event.0": 69,
    "event": 70,
}


@pytest.fixture
def migrating(mongo: MongoServer) -> Migrating:
    return Migrating(mongo)


def files(folder: Path) -> dict[str, str]:
    """Every file's content, but for what SQLite keeps beside its databases."""
    found = {path: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.rglob("*") if path.is_file()}
    return {str(path.relative_to(folder)): digest for path, digest in found.items() if path.suffix == ".segment"}


def test_there_and_back_again_nothing_is_lost_changed_or_out_of_order(tmp_path: Path, migrating: Migrating) -> None:
    before = fill(tmp_path / "a")
    assert migrating.moved(tmp_path / "a", "to-mongo") == COUNTS
    assert content(tmp_path / "a") == before, "the source is as it was"
    assert migrating.moved(tmp_path / "b", "to-embedded") == COUNTS
    assert content(tmp_path / "b") == before
    for direction, folder in (("to-mongo", "a"), ("to-embedded", "b")):
        assert migrating.moved(tmp_path / folder, direction) == COUNTS, "a second time there is nothing to do"
        assert migrating.moved(tmp_path / folder, direction, "--verify-only") == COUNTS
    assert content(tmp_path / "b") == before


def test_a_migration_ends_with_a_table_and_what_to_do_next(tmp_path: Path, migrating: Migrating) -> None:
    fill(tmp_path / "a")
    ran = ok(*migrating.options(tmp_path / "a"), "migrate", "to-mongo")
    assert [line.split()[:3] for line in ran.lines if line.startswith("event.0")] == [["event.0", "69", "69"]]
    assert "Keep mongo_uri in the settings" in ran.out
    ran = ok(*migrating.options(tmp_path / "b"), "migrate", "to-embedded")
    assert f"data_dir: {tmp_path / 'b'}" in ran.out
    assert "leave out mongo_uri" in ran.out


def test_after_to_mongo_the_loader_goes_on_and_loads_nothing_twice(tmp_path: Path, migrating: Migrating) -> None:
    server = RunningServer(tmp_path, "serve", mongo_uri=migrating.mongo.uri, mongo_database=migrating.name)
    fill(server.data_dir)
    migrating.moved(server.data_dir, "to-mongo")
    with migrating.mongo.client() as client:
        database = client[migrating.name]
        places = {each["_id"]: each["o"] for each in database["event"].find()}
        with server:
            with ZarkovClient(server.ack, ack=True) as sender:
                sender.event("after", {"n": 1})
            wait_until(lambda: database["event"].count_documents({"type": "after"}) == 1, 60)
            assert ok("-y", server.settings, "find", "--in", "all", "--count").out == "201\n"
            assert json.loads(ok("-y", server.settings, "stats", "--json").out)["mongo"] == "reachable"
        after = {each["_id"]: each["o"] for each in database["event"].find()}
        assert len(after) == 71
        assert after | places == after, "what was there stays as it was loaded"


def test_to_embedded_orders_by_place_and_what_has_none_by_id(tmp_path: Path, migrating: Migrating) -> None:
    """As a database of 2011 has them, and one that two event servers load into."""
    with migrating.mongo.client() as client:
        database = client[migrating.name]
        placed = [
            {**event(number), "o": ["b" * 16 if number < 30 else "a" * 16, 1000 - number]} for number in range(20, 40)
        ]
        plain = [{**event(number), "aggregates": [], "jobs": []} for number in (5, 3, 4)]
        database["event.1"].insert_many([*placed, *plain])
        database["event"].insert_one({**event(50), "o": [1, "no place"]})
    assert migrating.moved(tmp_path / "a", "to-embedded") == {"event.1": 23, "event.0": 0, "event": 1}
    found = content(tmp_path / "a").events
    numbers = [each["context"]["number"] for each in found["event.1"]]
    assert numbers == [3, 4, 5, *range(39, 29, -1), *range(29, 19, -1)]
    assert found["event.1"][0] == {**event(3), "aggregates": [], "jobs": []}
    assert found["event.1"][3] == event(39), "the place is not part of the event"


def test_the_journals_of_several_event_servers_are_moved_together(tmp_path: Path, migrating: Migrating) -> None:
    """The second has begun a generation fewer: what it has is of the same generations by their ordinal."""
    write(tmp_path / "a" / "journal", [[event(1)], [event(2), event(3)]], rotate_after=[0])
    write(tmp_path / "a" / "journal.1", [[event(11), event(10)]])
    counts = {"event.0": 3, "event": 2}
    assert migrating.moved(tmp_path / "a", "to-mongo") == counts
    assert migrating.moved(tmp_path / "b", "to-embedded") == counts
    found = content(tmp_path / "b").events
    numbers = {name: [each["context"]["number"] for each in events] for name, events in found.items()}
    assert numbers["event"] == [2, 3]
    assert numbers["event.0"] in ([1, 11, 10], [11, 10, 1])


@pytest.mark.parametrize("change", ["changed", "missing", "doubled", "type"])
def test_a_difference_of_one_document_is_found_and_named(tmp_path: Path, migrating: Migrating, change: str) -> None:
    fill(tmp_path / "a")
    migrating.moved(tmp_path / "a", "to-mongo")
    with migrating.mongo.client() as client:
        database = client[migrating.name]
        where = {"_id": event_id(100)}
        if change == "missing":
            database["event.0"].delete_one(where)
        elif change == "doubled":
            database["event.0"].insert_one(
                {**event(100), "_id": event_id(999), "o": database["event.0"].find_one()["o"]}
            )
        else:
            value: Any = {"changed": 101, "type": 100.0}[change]
            database["event.0"].update_one(where, {"$set": {"context.number": value}})
    ran = migrating.run(tmp_path / "a", "to-mongo", "--verify-only")
    assert ran.code == 1
    assert "There are differences in event.0:" in ran.out
    facts = json.loads(migrating.run(tmp_path / "a", "to-mongo", "--verify-only", "--json").out)
    assert [each["name"] for each in facts["collections"] if not each["equal"]] == ["event.0"]


def test_a_server_or_a_loader_on_the_data_directory_is_not_disturbed(tmp_path: Path, migrating: Migrating) -> None:
    with RunningServer(tmp_path) as server:
        for direction in ("to-mongo", "to-embedded"):
            ran = migrating.run(server.data_dir, direction)
            assert ran.code == 1
            assert "[journal_locked]" in ran.err


def test_to_embedded_leaves_a_journal_with_events_alone(tmp_path: Path, migrating: Migrating) -> None:
    write(tmp_path / "journal", [[event(1)]])
    before = files(tmp_path)
    ran = migrating.run(tmp_path, "to-embedded")
    assert ran.code == 1
    assert "there are events in" in ran.err
    assert "--data-dir" in ran.err
    assert files(tmp_path) == before


def test_to_mongo_leaves_a_database_with_the_events_of_another_alone(tmp_path: Path, migrating: Migrating) -> None:
    fill(tmp_path / "a")
    with migrating.mongo.client() as client:
        client[migrating.name]["event"].insert_one(event(999))
        ran = migrating.run(tmp_path / "a", "to-mongo")
        assert ran.code == 1
        assert "--set mongo_database=" in ran.err
        assert client[migrating.name]["event"].count_documents({}) == 1


def test_an_event_without_an_object_id_is_named_and_nothing_is_skipped(tmp_path: Path, migrating: Migrating) -> None:
    with migrating.mongo.client() as client:
        client[migrating.name]["event"].insert_one({"_id": "odd", "type": "nop"})
        ran = migrating.run(tmp_path / "a", "to-embedded")
        assert ran.code == 1
        assert "'odd'" in ran.err
        client[migrating.name]["event"].delete_one({"_id": "odd"})
    assert migrating.moved(tmp_path / "a", "to-embedded") == {"event": 0}


def test_a_document_whose_id_the_embedded_store_has_no_order_for_is_named(
    tmp_path: Path, migrating: Migrating
) -> None:
    with migrating.mongo.client() as client:
        client[migrating.name]["notes"].insert_one({"_id": {"at": Timestamp(1, 2)}})
    ran = migrating.run(tmp_path / "a", "to-embedded")
    assert ran.code == 1
    assert "Timestamp(1, 2)" in ran.err
    assert "'notes'" in ran.err


def test_without_mongo_uri_the_way_out_is_named(tmp_path: Path) -> None:
    for direction in ("to-mongo", "to-embedded"):
        done = run("--data-dir", tmp_path, "migrate", direction)
        assert done.code == 2
        assert "--set mongo_uri=" in done.err


def test_an_unfinished_migration_that_other_events_came_into_is_not_continued(
    tmp_path: Path, migrating: Migrating
) -> None:
    fill(tmp_path / "a")
    migrating.moved(tmp_path / "a", "to-mongo")
    ran = migrating.run(
        tmp_path / "b", "to-embedded", settings=("loader_batch_events_max=10",), ZARKOV_CRASH_AT="after_commit:9"
    )
    assert ran.code == -9
    write(tmp_path / "b" / "journal", [[event(999)]])
    ran = migrating.run(tmp_path / "b", "to-embedded")
    assert ran.code == 1
    assert "other events came into" in ran.err
