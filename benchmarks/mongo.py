"""Zarkov's rows about MongoDB: the loader beside a bare insert_many into the same server, and ingest beside it.

The server is the one of the tests (.venv/ferretdb, built by scripts/mongo_server.sh), or the one that
ZARKOV_TEST_MONGO_URI names. FerretDB keeps its documents in SQLite and takes most of both cores while it inserts: the
ratios say what Zarkov adds, the rates say nothing about MongoDB.
"""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pymongo
from bson.raw_bson import RawBSONDocument

from benchmarks import dataset
from benchmarks.eventserver import EventServer, free_ports
from benchmarks.peerage import peer_module
from benchmarks.sizes import Sizes
from benchmarks.timing import Sample, timed
from zarkov.client import ZarkovClient

PROGRAM = Path(sys.prefix) / "ferretdb"
START_S_MAX = 60.0
LOADED_S_MAX = 900.0
FLUSH_S_MAX = 600.0
POLL_S = 0.02
#: Documents of one insert_many: what the loader sends at most by default.
BATCH = 10_000


@contextmanager
def mongo_server() -> Iterator[tuple[str, int | None]]:
    """The URI of a server on an empty folder, and its process id where it is ours."""
    named = os.environ.get("ZARKOV_TEST_MONGO_URI")
    if named:
        yield named, None
        return
    if not PROGRAM.exists():
        raise FileNotFoundError(f"{PROGRAM} is not there: run scripts/mongo_server.sh")
    folder: Path = peer_module("common").folder("mongo")
    (folder / "data").mkdir()
    address = f"127.0.0.1:{next(free_ports(1))}"
    with open(folder / "server.log", "wb") as log:
        process = subprocess.Popen([PROGRAM, address, folder / "data"], stdin=subprocess.PIPE, stdout=log, stderr=log)
    uri = f"mongodb://{address}/"
    try:
        with pymongo.MongoClient(uri, serverSelectionTimeoutMS=int(START_S_MAX * 1000)) as client:
            client.admin.command("ping")
        yield uri, process.pid
    finally:
        process.kill()
        process.wait()


def bare_insert(sizes: Sizes) -> Sample:
    """The floor: insert_many of RawBSONDocument, unordered; indexes on `timestamp` and `type` as Zarkov's."""
    events = dataset.encoded(sizes.mongo)
    with mongo_server() as (uri, pid), pymongo.MongoClient(uri) as client:
        collection = client["bench"]["event"]
        for key in ("timestamp", "type"):
            collection.create_index(key)

        def run() -> None:
            for start in range(0, len(events), BATCH):
                part = [RawBSONDocument(event) for event in events[start : start + BATCH]]
                collection.insert_many(part, ordered=False)

        sample = timed(len(events), run, servers=[] if pid is None else [pid])
        _check(collection.count_documents({}), len(events))
        return sample


def load(sizes: Sizes) -> Sample:
    """The loader on a journal that is full when it starts: from its start to the last event in MongoDB."""
    events = dataset.encoded(sizes.mongo)
    with mongo_server() as (uri, pid), pymongo.MongoClient(uri) as client:
        settings = {"mongo_uri": uri, "mongo_database": "bench"}
        with (
            EventServer("eventlog", **settings) as server,
            ZarkovClient(server.address["ack_bind_address"], ack=True) as sender,
        ):
            sender.send_encoded(events)
            sender.flush(FLUSH_S_MAX)
            config = server.home / "zarkov.yaml"
            servers = [server.pid] if pid is None else [server.pid, pid]

            def run() -> None:
                with _loader(config, server.home):
                    _await_loaded(client["bench"], len(events))

            sample = timed(len(events), run, servers=servers)
        _check(client["bench"]["event"].count_documents({}), len(events))
        return sample


def ingest_while_loading(sizes: Sizes) -> Sample:
    """`rate` of acknowledged ingest with the loader running beside it, `alone_rate` without one."""
    rates: dict[bool, Sample] = {}
    for is_loading in (False, True):
        events = dataset.encoded(sizes.events)
        with mongo_server() as (uri, _):
            settings = {"mongo_uri": uri, "mongo_database": "bench"} if is_loading else {}
            with (
                EventServer("serve", zmr={"local_workers": 0}, **settings) as server,
                ZarkovClient(server.address["ack_bind_address"], ack=True) as sender,
            ):

                def run(sender: ZarkovClient = sender, events: list[bytes] = events) -> None:
                    sender.send_encoded(events)
                    sender.flush(FLUSH_S_MAX)

                rates[is_loading] = timed(len(events), run, servers=[server.pid])
                pss_mb = server.pss_mb()
    alone, beside = rates[False], rates[True]
    note = f"PSS of all of Zarkov's processes with the loader, at the end: {pss_mb:.0f} MB"
    values = {**beside.values, "alone_rate": alone.values["rate"]}
    return Sample(values, beside.pace_ms, beside.other_cores, beside.client_cores, beside.server_cores, (note,))


@contextmanager
def _loader(config: Path, home: Path) -> Iterator[None]:
    with open(home / "loader.log", "wb") as log:
        command = [sys.executable, "-P", "-m", "zarkov.cli.loader", "-y", str(config)]
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        yield
    finally:
        process.terminate()
        process.wait(60)


def _await_loaded(database: "pymongo.database.Database[dict[str, object]]", wanted: int) -> None:
    """Wait for the loader's checkpoint, which moves behind confirmed inserts only."""
    deadline = time.monotonic() + LOADED_S_MAX
    while True:
        found = database["zarkov.loader"].find_one({"next_offset": {"$gte": wanted}})
        if found is not None:
            return
        if time.monotonic() > deadline:
            raise TimeoutError(f"not {wanted} events were loaded within {LOADED_S_MAX:.0f} s")
        time.sleep(POLL_S)


def _check(found: int, wanted: int) -> None:
    if found != wanted:
        raise AssertionError(f"{found} events are in MongoDB, and not {wanted}")
