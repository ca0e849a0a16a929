"""The loader and MongoDB killed, away, slow, refusing, exchanged: nothing is lost, and nothing is there twice."""

from __future__ import annotations

import os
import random
import resource
import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from journaling import SETTINGS, entry
from loading import LoaderProcess, check_same, end_of, loaded_to
from mongod import MongoServer, need_mongo
from running import zcmd
from waiting import wait_until
from zarkov.journal import JournalWriter

ROUNDS = int(os.environ.get("ZARKOV_TEST_ROUNDS", "50" if os.environ.get("CI") else "10"))
#: Events of one round: some batches of the loader.
EVENTS = 1500
BATCH = 200


@pytest.fixture
def own_mongo() -> Iterator[MongoServer]:
    """A server of this test's own, to be killed and paused."""
    need_mongo()
    with MongoServer() as server:
        yield server


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    (tmp_path / "data").mkdir()
    return tmp_path / "data"


class Writer:
    """Appends events to the journal from a thread, as a server would, until the context ends."""

    def __init__(self, data_dir: Path) -> None:
        self._writer = JournalWriter.open(data_dir / "journal", SETTINGS)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        while not self._stopping.wait(0.02):
            first = self._writer.next_offset
            self._writer.commit([entry(range(first, first + 60))])

    def __enter__(self) -> Writer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._thread.join()
        self._writer.close()


def add(data_dir: Path, count: int = EVENTS, *, rotate: bool = False) -> None:
    with JournalWriter.open(data_dir / "journal", SETTINGS) as writer:
        if rotate:
            writer.rotate()
        for first in range(writer.next_offset, writer.next_offset + count, 100):
            writer.commit([entry(range(first, first + 100))])


def loader_of(data_dir: Path, mongo: MongoServer, database: str, **settings: object) -> LoaderProcess:
    return LoaderProcess(data_dir, mongo, database, loader_batch_events_max=BATCH, **settings)


@pytest.mark.parametrize("point", ["before_insert", "after_insert", "after_checkpoint"])
def test_a_loader_killed_at_a_named_point_loads_every_event_once(
    mongo: MongoServer, data_dir: Path, point: str
) -> None:
    database = mongo.database()
    for number in range(ROUNDS):
        add(data_dir, rotate=number % 4 == 3)
        with loader_of(data_dir, mongo, database) as loader:
            loader.stop()
            loader.start(ZARKOV_CRASH_AT=f"{point}:{1 + number % 5}")
            loader.wait_killed()
    with loader_of(data_dir, mongo, database) as loader:
        loader.wait_loaded()
        assert loader.stop() == 0
    check_same(data_dir, mongo, database)


def test_a_loader_killed_between_two_renames_finishes_the_rotation(mongo: MongoServer, data_dir: Path) -> None:
    database = mongo.database()
    for number in range(ROUNDS):
        add(data_dir, 100, rotate=number > 0)
        with loader_of(data_dir, mongo, database) as loader:
            if number > 0:
                loader.stop()
                loader.start(ZARKOV_CRASH_AT=f"in_rename:{1 + number % min(number, 5)}")
                loader.wait_killed()
                loader.start()
            loader.wait_loaded()
            assert loader.stop() == 0
        check_same(data_dir, mongo, database)


def test_mongodb_killed_in_mid_insert_gets_every_event_once(own_mongo: MongoServer, data_dir: Path) -> None:
    rng, database = random.Random(20261124), own_mongo.database()
    add(data_dir)
    with loader_of(data_dir, own_mongo, database) as loader:
        with Writer(data_dir):
            for _ in range(ROUNDS):
                wait_until(Elapsed(rng.uniform(0, 0.6)))
                own_mongo.kill()
                own_mongo.start()
        loader.wait_loaded(120)
        assert loader.stop() == 0
    check_same(data_dir, own_mongo, database)


def test_mongodb_and_the_loader_killed_together_lose_nothing(own_mongo: MongoServer, data_dir: Path) -> None:
    rng, database = random.Random(7), own_mongo.database()
    loader = loader_of(data_dir, own_mongo, database)
    with loader:
        for _ in range(ROUNDS):
            add(data_dir)
            wait_until(Elapsed(rng.uniform(0, 0.8)))
            own_mongo.kill()
            loader.kill()
            own_mongo.start()
            loader.start()
        loader.wait_loaded(120)
        assert loader.stop() == 0
    check_same(data_dir, own_mongo, database)


def test_what_comes_in_while_mongodb_is_away_is_loaded_when_it_is_back(
    own_mongo: MongoServer, data_dir: Path
) -> None:
    database = own_mongo.database()
    add(data_dir, 500)
    with loader_of(data_dir, own_mongo, database) as loader:
        loader.wait_loaded()
        own_mongo.kill()
        add(data_dir, 500)
        wait_until(lambda: loader.said("loader waits"))
        waits = zcmd("loader", "status", "--json", settings=loader.settings)
        assert '"state": "waiting"' in waits
        assert '"behind_events": 500' in waits
        add(data_dir, 500)
        assert loaded_to(data_dir) == 500
        own_mongo.start()
        loader.wait_loaded()
        assert '"state": "loading"' in zcmd("loader", "status", "--json", settings=loader.settings)
        assert loader.log.read_text().count("loader waits") == 1, "one line for a change of state"
        assert loader.stop() == 0
    check_same(data_dir, own_mongo, database)


def test_a_loader_started_while_mongodb_is_away_holds_the_journal_and_waits(
    own_mongo: MongoServer, data_dir: Path
) -> None:
    database = own_mongo.database()
    own_mongo.kill()
    add(data_dir, 300)
    with loader_of(data_dir, own_mongo, database) as loader:
        wait_until(lambda: loader.said("loader waits"))
        assert "loader.first" in zcmd("journal", "readers", settings=loader.settings)
        own_mongo.start()
        loader.wait_loaded()
        assert loader.stop() == 0
    check_same(data_dir, own_mongo, database)


def test_a_server_that_does_not_answer_in_time_gets_every_event_once(own_mongo: MongoServer, data_dir: Path) -> None:
    rng, database = random.Random(3), own_mongo.database()
    with loader_of(data_dir, own_mongo, database, mongo_timeout_s=0.5) as loader:
        for _ in range(max(2, ROUNDS // 3)):
            add(data_dir)
            wait_until(Elapsed(rng.uniform(0, 0.3)))
            own_mongo.pause()
            wait_until(Elapsed(1.2))
            own_mongo.resume()
        loader.wait_loaded(120)
        assert loader.stop() == 0
    check_same(data_dir, own_mongo, database)


def test_a_loader_that_is_stopped_while_the_server_does_not_answer_ends(
    own_mongo: MongoServer, data_dir: Path
) -> None:
    database = own_mongo.database()
    add(data_dir, 200)
    with loader_of(data_dir, own_mongo, database, mongo_timeout_s=600) as loader:
        loader.wait_loaded()
        own_mongo.pause()
        add(data_dir)
        wait_until(Elapsed(0.5))
        assert loader.stop() == 0
        own_mongo.resume()
        loader.start()
        loader.wait_loaded()
    check_same(data_dir, own_mongo, database)


def test_a_server_that_refuses_writes_for_a_while_gets_every_event_once(
    own_mongo: MongoServer, data_dir: Path
) -> None:
    """Its files may not grow: the same to it as a full disk."""
    database = own_mongo.database()
    add(data_dir, 300)
    with loader_of(data_dir, own_mongo, database) as loader:
        loader.wait_loaded()
        assert own_mongo.process is not None
        unlimited = resource.prlimit(own_mongo.process.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(own_mongo.process.pid, resource.RLIMIT_FSIZE, (4096, unlimited[1]))
        add(data_dir, 300)
        wait_until(lambda: loader.said("loader waits"))
        assert own_mongo.process.poll() is None
        resource.prlimit(own_mongo.process.pid, resource.RLIMIT_FSIZE, unlimited)
        loader.wait_loaded()
        assert loader.stop() == 0
    check_same(data_dir, own_mongo, database)


def test_a_server_restored_from_an_older_backup_is_noticed_and_filled_again(
    own_mongo: MongoServer, data_dir: Path
) -> None:
    database = own_mongo.database()
    folder, backup = own_mongo.folder / "data", own_mongo.folder / "backup"
    add(data_dir, 500)
    with loader_of(data_dir, own_mongo, database) as loader:
        loader.wait_loaded()
        own_mongo.kill()
        shutil.copytree(folder, backup)
        own_mongo.start()
        add(data_dir, 500, rotate=True)
        loader.wait_loaded()
        own_mongo.kill()
        shutil.rmtree(folder)
        shutil.copytree(backup, folder)
        add(data_dir, 100)
        own_mongo.start()
        wait_until(lambda: loader.said("loader is behind"))
        assert loaded_to(data_dir) == 1000, "nothing is reset in silence"
        assert '"code": "store_behind"' in zcmd("loader", "status", "--json", settings=loader.settings, check=False)
        said = zcmd("loader", "rewind", "--yes", settings=loader.settings)
        assert "from offset 500, 600 offsets to the end" in said
        wait_until(lambda: loaded_to(data_dir) == end_of(data_dir))
        assert loader.log.read_text().count("loader is behind") == 1
        assert loader.stop() == 0
    check_same(data_dir, own_mongo, database)


def test_a_server_that_was_emptied_under_a_running_loader_is_noticed(mongo: MongoServer, data_dir: Path) -> None:
    database = mongo.database()
    add(data_dir, 500)
    with loader_of(data_dir, mongo, database) as loader:
        loader.wait_loaded()
        with mongo.client() as client:
            client.drop_database(database)
        add(data_dir, 100)
        wait_until(lambda: loader.said("loader is behind"))
        zcmd("loader", "rewind", "--yes", settings=loader.settings)
        wait_until(lambda: loaded_to(data_dir) == end_of(data_dir))
        assert loader.stop() == 0
    check_same(data_dir, mongo, database)


class Elapsed:
    """A condition that becomes true after a time: to kill at some random moment of a load."""

    def __init__(self, seconds: float) -> None:
        self._at = time.monotonic() + seconds

    def __call__(self) -> bool:
        return time.monotonic() >= self._at
