"""The loader in tests: as a process of its own, and what is in MongoDB against the journal."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import bson

from mongod import MongoServer
from waiting import wait_until
from zarkov.cli.load_source import Target, open_sources
from zarkov.config import Settings
from zarkov.config.mongo import LoaderSettings
from zarkov.journal import Catalog, Journal
from zarkov.store.load_status import LoadStatus, State
from zarkov.store.loader import Loader

#: Waits are short, so that tests are.
QUICK = {"loader_backoff_s_max": 0.3, "mongo_timeout_s": 2}


class LoaderProcess:
    """`python -m zarkov.cli.loader` on a data directory."""

    def __init__(self, data_dir: Path, mongo: MongoServer, database: str, **settings: object) -> None:
        self.data_dir = data_dir
        self.log = data_dir.with_suffix(".loader.log")
        self.settings = data_dir.with_suffix(".loader.yaml")
        everything = {
            "data_dir": str(data_dir),
            "mongo_uri": mongo.uri,
            "mongo_database": database,
            **QUICK,
            **settings,
        }
        self.settings.write_text("".join(f"{key}: {value}\n" for key, value in everything.items()))
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, **environment: str) -> LoaderProcess:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-P", "-m", "zarkov.cli.loader", "-y", self.settings],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=os.environ | environment,
            )
        return self

    def ended(self) -> bool:
        return self.process is not None and self.process.poll() is not None

    def said(self, words: str) -> bool:
        return words in self.log.read_text()

    def wait_loaded(self, timeout_s: float = 60) -> None:
        """Until its checkpoint is at the journal's end."""

        def loaded() -> bool:
            assert not self.ended(), self.log.read_text()[-3000:]
            return loaded_to(self.data_dir) == end_of(self.data_dir)

        try:
            wait_until(loaded, timeout_s)
        except AssertionError:
            raise AssertionError(self.log.read_text()[-3000:]) from None

    def wait_killed(self) -> None:
        """Until it has killed itself at a crash point."""
        assert self.process is not None
        try:
            code = self.process.wait(60)
        except subprocess.TimeoutExpired:
            raise AssertionError(self.log.read_text()[-3000:]) from None
        assert code == -signal.SIGKILL, self.log.read_text()[-3000:]

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait(30)

    def stop(self) -> int:
        assert self.process is not None
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(30)

    def __enter__(self) -> LoaderProcess:
        return self.start()

    def __exit__(self, kind: type | None, *_: object) -> None:
        if self.process is not None and self.process.poll() is None:
            self.kill()
        if kind is not None:
            print(self.log.read_text()[-3000:])


def loaded_to(data_dir: Path, journal: str = "journal") -> int | None:
    """Where the journal's catalog says the loader is."""
    catalog = Catalog.open(data_dir / journal)
    if catalog is None:
        return None
    try:
        return next((each.next_offset for each in catalog.readers() if each.name == "loader"), None)
    finally:
        catalog.close()


def end_of(data_dir: Path, journal: str = "journal") -> int:
    with Journal.open(data_dir / journal) as opened:
        return opened.next_offset


def expected(data_dir: Path, journal: str = "journal") -> dict[str, dict[Any, bytes]]:
    """{generation: {_id: BSON}} of what the journal has, without the dropped and the empty ones."""
    with Journal.open(data_dir / journal, on_corrupt="raise") as opened:
        found = {}
        for name in opened.generation_names():
            span = opened.range_of(name)
            events = {bson.decode(raw)["_id"]: raw for _, raw in opened.read_bytes(span.first, span.stop)}
            if events:
                found[name] = events
        return found


def in_mongo(mongo: MongoServer, database: str) -> dict[str, dict[Any, bytes]]:
    """{collection: {_id: BSON without `o`}} of the events; an `_id` stands there once, wherever."""
    found: dict[str, dict[Any, bytes]] = {}
    seen: Counter[Any] = Counter()
    with mongo.client() as client:
        for name in client[database].list_collection_names():
            if name == "event" or name.startswith("event."):
                documents = list(client[database][name].find())
                seen.update(each["_id"] for each in documents)
                if documents:
                    found[name] = {each["_id"]: bson.encode(_without_o(each)) for each in documents}
    twice = [oid for oid, count in seen.items() if count > 1]
    assert twice == [], f"{len(twice)} events are in MongoDB twice, such as {twice[:3]}"
    return found


def _without_o(event: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in event.items() if key != "o"}


def check_same(data_dir: Path, mongo: MongoServer, database: str) -> None:
    """Nothing lost, nothing twice: the same events with the same content in each generation."""
    wanted, found = expected(data_dir), in_mongo(mongo, database)
    counts = {name: len(events) for name, events in wanted.items()}
    assert {name: len(events) for name, events in found.items()} == counts
    assert found == wanted


def settings_of(data_dir: Path, mongo: MongoServer, database: str, **loader: Any) -> Settings:
    """Settings as the loader gets them."""
    return Settings(
        data_dir=data_dir, mongo_uri=mongo.uri, mongo_database=database, loader=LoaderSettings(**{**QUICK, **loader})
    )


def load_all(settings: Settings) -> LoadStatus:
    """Load in this process, until there is nothing more or the loader waits or is behind; its last status."""
    stop, last = threading.Event(), LoadStatus()

    def report(status: LoadStatus) -> None:
        nonlocal last
        if status.state is not State.STOPPED:
            last = status
        if status.state in (State.WAITING, State.BEHIND):
            stop.set()

    with open_sources(settings) as sources, Target(settings) as target:
        loader = Loader(target, sources, settings.loader, jitter=lambda: 0.5, clock=time.monotonic, report=report)
        loader.run(
            stop, lambda each: all(each.status.next_offsets.get(s.journal_id) == s.next_offset for s in sources)
        )
    return last
