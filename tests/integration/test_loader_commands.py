"""`rotate`, `init`, `loader` and `journal readers` with MongoDB: beside a running server, and without one."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from pathlib import Path

import bson
import pytest

from commands import ok, run
from loading import QUICK, in_mongo
from mongod import MongoServer
from running import RunningServer
from waiting import wait_until
from zarkov.client import ZarkovClient
from zarkov.codec import decode_all


class Both:
    """A server with MongoDB; a command meets it running, or finds it stopped."""

    def __init__(self, folder: Path, mongo: MongoServer, is_running: bool) -> None:
        self.mongo, self.database, self.is_running = mongo, mongo.database(), is_running
        settings = {"mongo_uri": mongo.uri, "mongo_database": self.database, "num_event_logs": 2, **QUICK}
        self.server = RunningServer(folder, "serve", **settings)

    def send(self, first: int, count: int) -> None:
        if self.server.ended():
            self.server.start()
        with ZarkovClient(self.server.ack, ack=True) as client:
            for number in range(first, first + count):
                client.event("tick", {"number": number})

    def zcmd(self, *arguments: object, stdin: str = "") -> str:
        if not self.is_running and not self.server.ended():
            assert self.server.stop() == 0
        return ok("-y", self.server.settings, *arguments, stdin=stdin).out

    def numbers(self) -> dict[str, list[int]]:
        found = in_mongo(self.mongo, self.database)
        return {
            name: sorted(bson.decode(raw)["context"]["number"] for raw in events.values())
            for name, events in sorted(found.items())
        }


@pytest.fixture(params=["running", "stopped"])
def both(request: pytest.FixtureRequest, tmp_path: Path, mongo: MongoServer) -> Iterator[Both]:
    each = Both(tmp_path, mongo, request.param == "running")
    with each.server:
        yield each


def test_serve_loads_what_comes_in(both: Both) -> None:
    both.send(0, 50)
    wait_until(lambda: both.numbers() == {"event": list(range(50))})


def test_rotate_moves_the_collections_and_dumps_and_drops_the_oldest(both: Both, tmp_path: Path) -> None:
    for number in range(4):
        both.send(10 * number, 10)
        answer = json.loads(both.zcmd("rotate", tmp_path / "dumps", "--json"))
        assert [each["events"] for each in answer["dumped"]] == ([10] if number >= 2 else [])
    assert both.numbers() == {"event.0": list(range(30, 40)), "event.1": list(range(20, 30))}
    dumps = sorted((tmp_path / "dumps").iterdir())
    assert [path.name for path in dumps] == [f"event.{first:020d}-{first + 10:020d}.bson.gz" for first in (0, 10)]
    events = decode_all(gzip.decompress(dumps[0].read_bytes()))
    assert sorted(each["context"]["number"] for each in events) == list(range(10))
    assert all("o" not in each for each in events)
    generations = json.loads(both.zcmd("journal", "info", "--json"))["generations"]
    assert [each["name"] for each in generations if each["dropped"]] == ["event.2", "event.3"]
    both.send(40, 5)
    wait_until(lambda: both.numbers().get("event") == list(range(40, 45)))


def test_init_drops_everything_and_loads_nothing_old_again(both: Both) -> None:
    both.send(0, 20)
    wait_until(lambda: both.numbers() == {"event": list(range(20))})
    both.send(20, 5)
    with both.mongo.client() as client:
        client[both.database]["totals"].insert_one({"a": 1})
    refused = run("-y", both.server.settings, "init", stdin="no\n")
    assert (refused.code, both.database in refused.out) == (1, True)
    assert "Dropped" in both.zcmd("init", "--yes")
    with both.mongo.client() as client:
        assert "totals" not in client[both.database].list_collection_names()
    assert both.numbers() == {}
    both.send(100, 5)
    wait_until(lambda: both.numbers() == {"event": list(range(100, 105))})


def test_rotate_says_when_mongodb_cannot_follow(tmp_path: Path, mongo: MongoServer) -> None:
    both = Both(tmp_path, mongo, is_running=False)
    with both.server:
        both.send(0, 5)
        wait_until(lambda: both.numbers() == {"event": list(range(5))})
        assert both.server.stop() == 0
    away = run("-y", both.server.settings, "--set", "mongo_uri=mongodb://127.0.0.1:1", "rotate", tmp_path / "dumps")
    assert (away.code, "[store_unreachable]" in away.err) == (1, True)
    assert json.loads(both.zcmd("rotate", tmp_path / "dumps", "--json"))["dumped"] == []
    assert both.numbers() == {"event.1": list(range(5))}


def test_a_loader_that_is_given_up_is_forgotten(both: Both) -> None:
    both.send(0, 5)
    wait_until(lambda: both.numbers() == {"event": list(range(5))})
    assert [each["reader"] for each in json.loads(both.zcmd("journal", "readers", "--json"))] == ["loader"]
    assert both.server.ended() or both.server.stop() == 0
    name = both.server.settings
    assert run("-y", name, "journal", "forget", "loader", stdin="n\n").code == 1
    assert "Forgot loader" in ok("-y", name, "journal", "forget", "loader", "--yes").out
    assert json.loads(ok("-y", name, "journal", "readers", "--json").out) == []
    again = run("-y", name, "journal", "forget", "loader", "--yes")
    assert (again.code, "there is no reader loader" in again.err) == (1, True)


def test_status_and_rewind_without_a_loader(tmp_path: Path, mongo: MongoServer) -> None:
    both = Both(tmp_path, mongo, is_running=False)
    with both.server:
        both.send(0, 30)
        wait_until(lambda: both.numbers() == {"event": list(range(30))})
        status = json.loads(both.zcmd("loader", "status", "--json"))
        assert status["state"] == "not running"
        assert [(each["loaded_to"], each["behind_events"]) for each in status["journals"]] == [(30, 0)]
        refused = run("-y", both.server.settings, "loader", "rewind", "--to", "10", stdin="no\n")
        assert (refused.code, "20 offsets to the end" in refused.out) == (1, True)
        both.zcmd("loader", "rewind", "--to", "10", "--yes")
        assert "loader.first" in both.zcmd("journal", "readers"), "retention waits for what is to be loaded again"
        both.send(30, 1)
        wait_until(lambda: both.numbers() == {"event": list(range(31))})
        wait_until(lambda: "loader.first" not in ok("-y", both.server.settings, "journal", "readers").out)
        with both.mongo.client() as client:
            checkpoint = client[both.database]["zarkov.loader"].find_one({"next_offset": 31})
        assert checkpoint is not None
        assert "rewind_to" not in checkpoint


def test_a_loader_without_an_address_says_what_is_missing(tmp_path: Path) -> None:
    found = run("--data-dir", tmp_path / "data", "loader", "run")
    assert (found.code, "mongo_uri is not set" in found.err) == (2, True)
