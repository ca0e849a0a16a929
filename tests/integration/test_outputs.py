"""Outputs beyond the contract: files of their own in the embedded store, attempts that meet in MongoDB."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import apsw
import mongomock
import pytest

from mongod import MongoServer
from outputs import NoEvents
from zarkov.errors import DocumentExists, StoreFailed, StoreUnreachable
from zarkov.store.contract import UNSETTLED_S
from zarkov.store.document_file import DocumentFile, Home
from zarkov.store.document_table import PAGE_COUNT, DocumentTable
from zarkov.store.encoded import BATCH_COUNT
from zarkov.store.mongo import MongoStore
from zarkov.store.mongo_commits import STAGES, utc_now
from zarkov.store.mongo_output import MongoOutput
from zarkov.store.mongo_stage import copy_indexes, raw, take_place
from zarkov.store.sqlite import SqliteStore
from zarkov.store.sqlite_output import SHARED_MAX

MANY = 20_000


def numbered(count: int, value: Any = "new", first: int = 0) -> Iterator[dict[str, Any]]:
    return ({"_id": number, "value": value} for number in range(first, first + count))


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqliteStore]:
    with SqliteStore(NoEvents(), tmp_path / "documents.sqlite") as store:
        yield store


def files(folder: Path) -> set[str]:
    return {path.name for path in (folder / "outputs").glob("*.sqlite")}


# --- embedded


def test_a_small_output_is_one_page_of_a_reader() -> None:
    assert BATCH_COUNT < PAGE_COUNT


def test_a_large_output_lies_in_a_file_of_its_own_and_the_old_one_goes(store: SqliteStore, tmp_path: Path) -> None:
    store.replace("out", numbered(5), commit="small")
    assert files(tmp_path) == set()
    store.replace("out", numbered(MANY, 1), commit="large")
    (first,) = files(tmp_path)
    assert (tmp_path / "documents.sqlite").stat().st_size < (tmp_path / "outputs" / first).stat().st_size
    store.replace("out", numbered(5, 2), commit="small again")
    (second,) = files(tmp_path)
    assert second != first
    store.collection("out").drop()
    assert files(tmp_path) == set()


def test_who_began_to_read_reads_the_old_content_to_its_end_and_others_the_new(store: SqliteStore) -> None:
    store.replace("out", numbered(MANY, "old"), commit="before")
    cursor = store.collection("out").find()
    assert next(cursor) == {"_id": 0, "value": "old"}
    store.replace("out", numbered(3), commit="job")
    store.merge("out", numbered(MANY, "newer"), commit="job 2")
    assert {each["value"] for each in cursor} == {"old"}
    assert store.collection("out").distinct("value") == ["newer"]


def test_a_collection_that_grew_moves_when_it_is_merged_into(store: SqliteStore, tmp_path: Path) -> None:
    store.collection("out").insert_many(numbered(SHARED_MAX - 1, "by hand"))
    store.merge("out", numbered(1), commit="job 1")
    store.merge("out", numbered(1, "newer", SHARED_MAX), commit="job 2")
    assert files(tmp_path) == set()
    store.merge("out", numbered(2), commit="job 3")
    assert len(files(tmp_path)) == 1
    assert store.collection("out").count_documents({"value": "by hand"}) == SHARED_MAX - 3
    assert store.collection("out").count_documents({}) == SHARED_MAX
    assert store._documents.main.count("out") == 0


def test_a_store_of_the_format_before_is_taken_on(store: SqliteStore, tmp_path: Path) -> None:
    connection = apsw.Connection(str(tmp_path / "documents.sqlite"))
    connection.execute(
        "CREATE TABLE document (collection TEXT NOT NULL, key BLOB NOT NULL, data BLOB NOT NULL, "
        "PRIMARY KEY (collection, key)) WITHOUT ROWID; PRAGMA user_version=1"
    )
    connection.close()
    store.collection("things").insert_one({"_id": 1})
    store.replace("out", numbered(MANY), commit="job")
    assert store.collection_names() == ["event", "out", "things"]


def test_a_file_that_is_being_made_is_not_swept_away(store: SqliteStore, tmp_path: Path) -> None:
    def documents() -> Iterator[dict[str, Any]]:
        for document in numbered(MANY):
            if document["_id"] == MANY // 2:
                with SqliteStore(NoEvents(), tmp_path / "documents.sqlite") as other:
                    assert other.unsettled() == []
                    other.settle("job")
                    other.replace("another", numbered(MANY), commit="another job")
            yield document

    store.replace("out", documents(), commit="job")
    assert store.collection("out").count_documents({}) == MANY
    assert len(files(tmp_path)) == 2


def test_two_attempts_at_one_commit_at_once_write_it_once(store: SqliteStore, tmp_path: Path) -> None:
    def documents() -> Iterator[dict[str, Any]]:
        for document in numbered(MANY, "slow"):
            if document["_id"] == MANY // 2:
                assert store.replace("out", numbered(MANY, "quick"), commit="job") is True
            yield document

    assert store.replace("out", documents(), commit="job") is False
    assert store.collection("out").distinct("value") == ["quick"]
    assert len(files(tmp_path)) == 1


def test_a_transaction_writes_to_one_file(store: SqliteStore) -> None:
    store.replace("out", numbered(MANY), commit="job")
    file, out, things = store._documents, store.collection("out"), store.collection("things")
    with file.transaction():
        things.insert_one({"_id": 1})
        assert out.find_one(1) == {"_id": 1, "value": "new"}
        for attempt in (lambda: out.insert_one({"_id": "x"}), out.drop, lambda: out.rename("elsewhere")):
            with pytest.raises(StoreFailed, match="another file"):
                attempt()
    with file.transaction("out"):
        out.delete_many({"_id": {"$gte": 10}})
        with pytest.raises(StoreFailed, match="another file"):
            things.insert_one({"_id": 2})
    assert (things.count_documents({}), out.count_documents({})) == (1, 10)


def test_writing_a_large_output_holds_up_nobody_else(store: SqliteStore) -> None:
    """Others write while the documents of an output are being read, and while they are copied."""
    store.replace("out", numbered(MANY), commit="before")
    for how in ("replace", "merge"):
        written: list[int] = []

        def documents(written: list[int] = written) -> Iterator[dict[str, Any]]:
            for document in numbered(MANY):
                if document["_id"] % 1000 == 0:
                    written.append(store.collection("things").insert_one({}).inserted_id)
                    store.collection("out").update_one({"_id": 1}, {"$set": {"value": len(written)}})
                yield document

        getattr(store, how)("out", documents(), commit=how)
        assert len(written) == MANY // 1000


def test_threads_of_one_process_write_and_read_a_placed_collection_at_once(store: SqliteStore) -> None:
    store.replace("out", [*numbered(MANY), {"_id": "n", "value": 0}], commit="before")
    failures: list[BaseException] = []

    def work(action: Any) -> None:
        try:
            for number in range(15):
                action(number)
        except BaseException as error:
            failures.append(error)
            raise

    out = store.collection("out")
    actions = [
        lambda _: out.update_one({"_id": "n"}, {"$inc": {"value": 1}}),
        lambda _: out.update_one({"_id": "n"}, {"$inc": {"value": 1}}),
        lambda number: store.merge("out", numbered(2000, number), commit=f"job {number}"),
        lambda number: store.replace("other", numbered(2000, number), commit=f"job {number}"),
        lambda _: len(store.collection("other").distinct("value")) in (0, 1) or pytest.fail("a mixture"),
    ]
    threads = [threading.Thread(target=work, args=(action,)) for action in actions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert failures == []
    assert out.find_one("n") == {"_id": "n", "value": 30}


def test_a_full_disk_leaves_the_old_content(store: SqliteStore, monkeypatch: pytest.MonkeyPatch) -> None:
    store.replace("out", numbered(MANY, "old"), commit="before")

    def full(path: Path) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("zarkov.store.output_files._sync", full)
        for write in (store.replace, store.merge):
            with pytest.raises(StoreFailed, match="No space left"):
                write("out", numbered(MANY), commit="job")
    assert store.collection("out").distinct("value") == ["old"]
    assert store.unsettled() == []
    assert store.replace("out", numbered(MANY), commit="job") is True


def test_rows_that_a_crash_left_behind_are_seen_under_no_name(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.collection("out").insert_many(numbered(BATCH_COUNT * 2, "left over"))
    with monkeypatch.context() as patched:
        patched.setattr(DocumentFile, "tidy", lambda self: None)
        store.replace("out", [], commit="empty")
        assert store.collection_names() == ["event"]
        store.replace("out", numbered(MANY), commit="job")
        assert store._documents.main.count("out") == BATCH_COUNT * 2
        store.collection("out").rename("elsewhere")
        assert store.collection_names() == ["elsewhere", "event"]
        assert store.collection("out").count_documents({}) == 0
        store.replace("elsewhere", numbered(MANY), commit="job 2")
        store.collection("elsewhere").drop()
        assert store.collection_names() == ["event"]
    store.settle("any")
    assert files(store._documents.path.parent) == set()


@pytest.fixture
def other(store: SqliteStore) -> Iterator[SqliteStore]:
    """The store as another process has it."""
    with SqliteStore(NoEvents(), store._documents.path) as other:
        yield other


@pytest.mark.parametrize("before", [5, MANY])
def test_who_waited_while_a_collection_was_replaced_writes_to_the_new_content(
    store: SqliteStore, other: SqliteStore, monkeypatch: pytest.MonkeyPatch, before: int
) -> None:
    store.replace("out", numbered(before, "old"), commit="before")
    home_of = store._documents.home

    def slow(name: str) -> Home:
        home = home_of(name)
        other.replace(name, numbered(MANY), commit="job")
        return home

    with monkeypatch.context() as patched:
        patched.setattr(store._documents, "home", slow)
        store.collection("out").update_one({"_id": 1}, {"$set": {"value": "changed"}})
        store.merge("out", [{"_id": 2, "value": "merged"}], commit="job 2")
    assert other.collection("out").find({"value": {"$ne": "new"}}).to_list() == [
        {"_id": 1, "value": "changed"},
        {"_id": 2, "value": "merged"},
    ]


@pytest.mark.parametrize("is_open", [True, False])
def test_a_merge_that_waited_while_its_collection_was_replaced_goes_into_the_new_content(
    store: SqliteStore, other: SqliteStore, monkeypatch: pytest.MonkeyPatch, is_open: bool
) -> None:
    store.replace("out", numbered(MANY, "old"), commit="before")
    absorb = DocumentTable.absorb

    def slow(table: DocumentTable, made: Path, check: Any) -> bool:
        if is_open:
            table.count("")
        other.replace("out", numbered(MANY), commit="job")
        return absorb(table, made, check)

    with monkeypatch.context() as patched:
        patched.setattr(DocumentTable, "absorb", slow)
        assert store.merge("out", numbered(BATCH_COUNT * 2, "merged"), commit="job 2") is True
    assert store.collection("out").count_documents({"value": "merged"}) == BATCH_COUNT * 2
    assert store.collection("out").count_documents({}) == MANY
    assert store.collection("out").distinct("value") == ["merged", "new"]


# --- MongoDB


@pytest.fixture
def mongo_store(mongo: MongoServer) -> Iterator[MongoStore]:
    with MongoStore(mongo.uri, mongo.database()) as store:
        yield store
        store.client.drop_database(store.database.name)


def stages(store: MongoStore) -> list[str]:
    return [name for name in store.database.list_collection_names() if name.startswith(STAGES)]


@pytest.mark.parametrize("how", ["replace", "merge"])
def test_an_attempt_that_another_took_over_fails_and_leaves_nothing(mongo_store: MongoStore, how: str) -> None:
    def documents() -> Iterator[dict[str, Any]]:
        for number, document in enumerate(numbered(BATCH_COUNT * 2, "slow")):
            if number == BATCH_COUNT + 1:
                assert getattr(mongo_store, how)("out", numbered(3, "quick"), commit="job") is True
            yield document

    with pytest.raises(StoreUnreachable, match="took over"):
        getattr(mongo_store, how)("out", documents(), commit="job")
    assert mongo_store.collection("out").find().to_list() == [*numbered(3, "quick")]
    assert stages(mongo_store) == []
    assert getattr(mongo_store, how)("out", documents(), commit="job") is False


def test_an_attempt_that_was_settled_meanwhile_fails_and_can_be_made_again(mongo_store: MongoStore) -> None:
    def documents() -> Iterator[dict[str, Any]]:
        yield {"_id": 1}
        mongo_store.settle("job")
        yield {"_id": 2}

    with pytest.raises(StoreUnreachable, match="took over"):
        mongo_store.replace("out", documents(), commit="job")
    assert stages(mongo_store) == []
    assert mongo_store.replace("out", [{"_id": 1}], commit="job") is True


def test_what_shows_no_life_is_unsettled_and_is_settled(mongo_store: MongoStore) -> None:
    now = [utc_now()]
    output = MongoOutput(mongo_store.database, now=lambda: now[0])

    def documents() -> Iterator[dict[str, Any]]:
        yield {"_id": 1}
        assert output.unsettled() == []
        now[0] += timedelta(seconds=UNSETTLED_S + 1)
        assert output.unsettled() == ["job"]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        output.replace("out", documents(), commit="job")
    assert len(stages(mongo_store)) == 1
    assert output.unsettled() == ["job"]
    output.settle("job")
    assert output.unsettled() == stages(mongo_store) == []


def test_a_commit_that_was_decided_comes_before_the_next_one_of_its_collection(
    mongo_store: MongoStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*arguments: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("zarkov.store.mongo_output.copy_marked", killed)
        with pytest.raises(KeyboardInterrupt):
            mongo_store.merge("out", numbered(3, "first"), commit="job 1")
    assert not mongo_store.was_committed("job 1", "out")
    mongo_store.merge("out", numbered(1, "second"), commit="job 2")
    assert mongo_store.was_committed("job 1", "out")
    assert [each["value"] for each in mongo_store.collection("out").find().sort("_id")] == [
        "second",
        "first",
        "first",
    ]


def test_another_unique_index_keeps_a_merge_out_until_it_is_dropped(mongo_store: MongoStore) -> None:
    out = mongo_store.collection("out")
    out.create_index("value", unique=True)
    out.insert_one({"_id": "there", "value": "x"})
    with pytest.raises(DocumentExists, match="unique index"):
        mongo_store.merge("out", [{"_id": 1, "value": "x"}, {"_id": 2, "value": "y"}], commit="job")
    out.drop_indexes()
    mongo_store.settle("job")
    assert mongo_store.was_committed("job", "out")
    assert out.find().sort("value").to_list() == [
        {"_id": "there", "value": "x"},
        {"_id": 1, "value": "x"},
        {"_id": 2, "value": "y"},
    ]


def test_indexes_are_given_to_the_stage_with_their_options(mongo_store: MongoStore) -> None:
    source, target = raw(mongo_store.database, "a"), raw(mongo_store.database, "b")
    copy_indexes(source, target)
    source.create_index([("value", -1)], name="mine", unique=True)
    target.insert_one({"value": 1})
    copy_indexes(source, target)
    assert target.index_information()["mine"]["key"] == [("value", -1)]
    with pytest.raises(Exception, match="duplicate"):
        target.insert_one({"value": 1})


def test_where_the_server_can_the_stage_takes_the_targets_place_by_its_name() -> None:
    """mongomock renames as MongoDB does, in one step; a second attempt finds nothing to do."""
    database: Any = mongomock.MongoClient()["test"]
    database["out"].insert_one({"_id": "old"})
    database[f"{STAGES}x"].insert_one({"_id": "new"})
    for _ in range(2):
        take_place(database[f"{STAGES}x"], database["out"], lambda: pytest.fail("nothing is copied"))
        assert list(database["out"].find()) == [{"_id": "new"}]
    assert database.list_collection_names() == ["out"]


def test_the_marks_of_a_merge_are_seen_while_it_is_copied_and_gone_when_it_is_done(
    mongo_store: MongoStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[dict[str, Any]] = []
    with monkeypatch.context() as patched:
        patched.setattr(
            "zarkov.store.mongo_stage.crash_point",
            lambda point: seen.extend(mongo_store.collection("out").find({"zarkov_commit": "job"})),
        )
        mongo_store.merge("out", numbered(3, datetime(2011, 7, 20)), commit="job")
    assert len(seen) == 3
    assert mongo_store.collection("out").find({}).sort("_id").to_list() == [*numbered(3, datetime(2011, 7, 20))]
