"""The journals as the loader reads them: each with its catalog, which remembers how far, and its rejected events."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from zarkov.batch import Rejection
from zarkov.cli.servers import every_server
from zarkov.cli.wiring import has_journal, open_mongo
from zarkov.config import Settings
from zarkov.errors import JournalError
from zarkov.journal.catalog import Catalog, Generation
from zarkov.journal.chunk import Chunk
from zarkov.journal.reader import Journal
from zarkov.journal.rejected import RejectedStore
from zarkov.store.load_ports import MongoDatabase
from zarkov.store.mongo import MongoStore

#: The catalog's reader that stands for MongoDB, and the one that keeps the journal where that one is not.
READER = "loader"
HOLD = "loader.first"


class JournalSource:
    """One journal; see store.load_ports.LoadSource. `server`: the settings of its event server."""

    def __init__(self, server: Settings, journal: Journal, catalog: Catalog) -> None:
        self.server = server
        self.journal_id = journal.journal_id
        self._journal = journal
        self._catalog = catalog

    @property
    def first_offset(self) -> int:
        return self._journal.first_offset

    @property
    def next_offset(self) -> int:
        return self._journal.next_offset

    def chunks(self, start: int, stop: int) -> Iterator[Chunk]:
        return self._journal.chunks(start, stop)

    def generations(self) -> Sequence[Generation]:
        return self._journal.generations()

    def first_of(self, ordinal: int) -> int:
        """The first offset of a generation; the journal's end where it has none so new."""
        return next((each.first_offset for each in self.generations() if each.ordinal == ordinal), self.next_offset)

    def loaded_to(self) -> int | None:
        return next((each.next_offset for each in self._catalog.readers() if each.name == READER), None)

    def count(self, start: int, stop: int) -> int:
        """How many events these offsets hold."""
        return self._journal.count(start, stop)

    def hold(self) -> None:
        self.hold_at(self._journal.first_offset)

    def hold_at(self, offset: int) -> None:
        """Keep the journal from this offset on, until the next `advance`."""
        self._catalog.forget_reader(HOLD)
        self._catalog.advance_reader(HOLD, offset, _now_ms())

    def advance(self, next_offset: int) -> None:
        self._catalog.advance_reader(READER, next_offset, _now_ms())
        if any(each.name == HOLD for each in self._catalog.readers()):
            self._catalog.forget_reader(HOLD)

    def reset(self, next_offset: int) -> None:
        # Held meanwhile, so that retention does not take what is about to be loaded.
        self.hold_at(next_offset)
        self._catalog.forget_reader(READER)
        self.advance(next_offset)

    def keep_rejected(self, rejections: Sequence[Rejection]) -> None:
        with RejectedStore.open(self.server.rejected_path, self.server.log) as rejected:
            rejected.add_once(rejections)


class Target:
    """The database of the settings; see store.load_ports.MongoTarget. A context manager: closes what it opened."""

    def __init__(self, settings: Settings) -> None:
        self.timeout_s = settings.loader.mongo_timeout_s
        self._settings = settings
        self._stack = ExitStack()
        self._store: MongoStore | None = None

    def database(self) -> MongoDatabase:
        if self._store is None:
            self._store = self._stack.enter_context(open_mongo(self._settings))
        return self._store.database

    def __enter__(self) -> Target:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()


@contextmanager
def open_sources(settings: Settings) -> Iterator[list[JournalSource]]:
    """Every journal of the data directory that was begun. Raises: JournalError: one cannot be read."""
    with ExitStack() as stack:
        yield [_open(server, stack) for server in every_server(settings) if has_journal(server)]


def are_begun(settings: Settings) -> bool:
    """Whether each event server of the settings has its journal."""
    return all(_can_be_read(server.journal_dir) for server in settings.event_servers())


def _can_be_read(directory: Path) -> bool:
    catalog = Catalog.open(directory)
    if catalog is not None:
        catalog.close()
    return catalog is not None


def _open(server: Settings, stack: ExitStack) -> JournalSource:
    journal = stack.enter_context(Journal.open(server.journal_dir))
    catalog = Catalog.open(server.journal_dir, "write")
    if catalog is None:
        raise JournalError(f"there is no journal in {server.journal_dir}")
    stack.callback(catalog.close)
    return JournalSource(server, journal, catalog)


def _now_ms() -> int:
    return int(time.time() * 1000)
