"""Every test of this folder runs on every store."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from promises import PROMISES, store_on
from stores import ARRIVED, BACKENDS, Keeps, Open, event, open_mongo, open_sqlite
from zarkov.store.contract import Collection


@pytest.fixture(params=BACKENDS)
def backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def open_store(backend: str, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Open]:
    """Makes a store over given generations of events."""
    with ExitStack() as closing:
        if backend == "sqlite":
            yield lambda *generations: open_sqlite(tmp_path, closing, generations or ([],))
        else:
            server = request.getfixturevalue("mongo")
            yield lambda *generations: open_mongo(server, closing, generations or ([],))


@pytest.fixture
def keeps(backend: str, request: pytest.FixtureRequest) -> Keeps:
    store = "embedded" if backend == "sqlite" else store_on(request.getfixturevalue("mongo"))
    return lambda promise: store in PROMISES[promise].by


@pytest.fixture
def things(open_store: Open) -> Collection:
    return open_store().collection("things")


@pytest.fixture
def events(open_store: Open) -> Collection:
    """Thirty events in three chunks; those of the second are older than those of the first."""
    return open_store([[event(number) for number in ARRIVED[at : at + 10]] for at in (0, 10, 20)]).collection("event")
