"""ZM: Ming's mappings on the embedded store, as a person uses them in the shell."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from bson import ObjectId
from IPython.lib.pretty import pretty

from stored import event_id, write
from zarkov.errors import AppendOnly
from zarkov.journal import Journal
from zarkov.model import ZM, open_model
from zarkov.store.sqlite import SqliteStore
from zarkov.zmr.job import Job, JobState, Timings

WHEN = datetime(2011, 7, 20, 18, 52, 30, 272000)


def event(number: int, **more: Any) -> dict[str, Any]:
    when = WHEN + timedelta(seconds=number)
    return {"_id": event_id(number), "timestamp": when, "type": "nop", "context": {}, **more}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write(
        tmp_path / "journal",
        [
            [event(1)],
            [event(2), event(3, context={"sample_context_key": "sample_context_val"}, extra=None)],
            [event(4, type="other", extra={"n": [1]}, hidden=True)],
        ],
        rotate_after=[0],
    )
    return tmp_path


@pytest.fixture
def model(folder: Path) -> Iterator[ZM]:
    with Journal.open(folder / "journal") as journal, SqliteStore(journal, folder / "documents.sqlite") as store:
        yield open_model(store)


def numbers(documents: Any) -> list[int]:
    return [int(str(document["_id"]), 16) for document in documents]


def test_an_event_prints_as_in_the_original(model: ZM) -> None:
    assert pretty(model.event.m.find().all()[:1]) == (
        "[{'_id': ObjectId('000000000000000000000002'),\n  'aggregates': [],\n  'context': {},\n  'jobs': [],\n"
        "  'timestamp': datetime.datetime(2011, 7, 20, 18, 52, 32, 272000),\n  'type': 'nop'}]"
    )


def test_extra_is_there_only_if_it_was_sent_and_fields_that_are_not_mapped_are_left_out(model: ZM) -> None:
    plain, none, other = model.event.m.find().all()
    assert "extra" not in plain
    assert list(none) == ["_id", "aggregates", "context", "extra", "jobs", "timestamp", "type"]
    assert none.extra is None
    assert none.context == {"sample_context_key": "sample_context_val"}
    assert (other.extra, "hidden" in other) == ({"n": [1]}, False)


def test_events_are_found_sorted_skipped_limited_and_counted(model: ZM) -> None:
    find = model.event.m.find
    assert numbers(find({"type": "nop"}).sort("timestamp", -1).skip(1).limit(1).all()) == [2]
    assert numbers(find().sort([("_id", -1)])) == [4, 3, 2]
    assert find({"type": "nop"}).count() == 2
    assert find().count() == model.event.m.count() == 3
    assert find({"extra.n": 1}).one().type == "other"
    assert find({"type": "none"}).first() is None
    assert find().first()["_id"] == event_id(2)
    assert model.event.m.get(_id=event_id(3))["_id"] == event_id(3)
    assert model.event.m.get(_id=event_id(1)) is None
    assert model.event.m.find_by(type="other").all() == find({"type": "other"}).all()
    assert model.event.m.distinct("type") == ["nop", "other"]


def test_older_generations_are_found_through_the_database(model: ZM) -> None:
    assert numbers(model.db["event.0"].find({})) == [1]
    assert numbers(model.doc_session.db.event.find({"type": "nop"})) == [2, 3]
    assert model.db.list_collection_names() == ["event", "event.0"]


def test_an_event_cannot_be_saved_or_deleted(model: ZM) -> None:
    stored = model.event.m.find().first()
    for attempt in (
        stored.m.save,
        stored.m.insert,
        stored.m.delete,
        lambda: stored.m.set({"type": "x"}),
        lambda: model.event.m.remove({}),
        lambda: model.event.m.update_partial({}, {"$set": {"type": "x"}}),
        lambda: model.event.make({"type": "nop"}).m.save(),
    ):
        with pytest.raises(AppendOnly, match="append-only"):
            attempt()
    assert model.event.m.find().count() == 3


def test_a_definition_is_saved_changed_and_deleted(model: ZM, folder: Path) -> None:
    definition = model.AggDef.make({"name": "perftest", "task_name": "tasks.Perftest"})
    definition.m.save()
    assert isinstance(definition._id, ObjectId)
    assert definition.inputs == ["event", "event.0"]
    definition.position = {"journal": 5}
    definition.m.save()
    found = model.AggDef.m.find({"name": "perftest"}).one()
    assert (found._id, found.position, found.realtime) == (definition._id, {"journal": 5}, False)
    found.m.set({"realtime": True})
    assert model.AggDef.m.get(_id=found._id).realtime is True
    model.AggDef.make({"name": "other"}).m.save()
    found.m.delete()
    assert [each.name for each in model.AggDef.m.find()] == ["other"]
    assert model.AggDef.m.remove({}).deleted_count == 1


def test_a_job_is_found_as_it_was_kept(model: ZM) -> None:
    job = Job(
        "j1", JobState.ERROR, {"map_name": "m"}, error="it failed", traceback="...", timings=Timings(WHEN), parts=[]
    )
    model.db.job.insert_one(job.to_document())
    found = model.job.m.get(_id="j1")
    assert (found.state, found.traceback, found.request) == ("error", "...", {"map_name": "m"})
    assert found.timings["submitted_at"] == WHEN
    assert Job.from_document(dict(found)) == job
    model.job.m.update_partial({"_id": "j1"}, {"$set": {"state": "cancelled"}})
    assert model.job.m.get(_id="j1").state == "cancelled"


def test_collections_below_a_name_are_its_attributes(model: ZM) -> None:
    model.db.perftest.sum_by_second.insert_one({"_id": "00", "value": {"v": 1}})
    assert list(model.db["perftest.sum_by_second"].find()) == [{"_id": "00", "value": {"v": 1}}]
    assert model.db.perftest.sum_by_second.count_documents({}) == 1
    with pytest.raises(TypeError, match="'mapReduce'"):
        model.db.perftest.mapReduce("x")


def test_reading_events_makes_no_document_file_and_two_models_share_nothing_but_the_store(
    model: ZM, folder: Path
) -> None:
    assert model.event.m.find().count() == 3
    assert model.db.list_collection_names() == ["event", "event.0"]
    assert not (folder / "documents.sqlite").exists()
    with Journal.open(folder / "journal") as journal, SqliteStore(journal, folder / "other.sqlite") as store:
        other = open_model(store)
        other.AggDef.make({"name": "there"}).m.save()
        assert model.AggDef.m.find().count() == 0
        assert other.AggDef.m.find().count() == 1
