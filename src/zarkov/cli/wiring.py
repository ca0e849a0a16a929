"""Opening what commands read: the journal, the store over it, and the model over that.

Readers need no server and take no lock; they work while one runs.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from zarkov.config import Settings
from zarkov.errors import ServerUnreachable

if TYPE_CHECKING:
    from zarkov.journal.reader import Journal
    from zarkov.journal.rejected import RejectedStore
    from zarkov.store.sqlite import SqliteStore


@contextmanager
def open_journal(settings: Settings) -> Iterator[Journal]:
    """The journal, for reading.

    Raises: ServerUnreachable: there is none yet, since no server ever ran on this data_dir.
    """
    from zarkov.journal.reader import Journal

    require_journal(settings)
    with Journal.open(settings.journal_dir) as journal:
        yield journal


def require_journal(settings: Settings) -> None:
    """Raises: ServerUnreachable: there is no journal yet."""
    if not settings.journal_dir.is_dir():
        raise ServerUnreachable(
            f"there is no journal in {settings.journal_dir} yet",
            hint="Start a server with `zcmd serve`, or name its data directory with --data-dir or -y.",
        )


@contextmanager
def open_store(settings: Settings) -> Iterator[SqliteStore]:
    """The embedded store: events from the journal, documents from their own file."""
    from zarkov.store.sqlite import SqliteStore

    with open_journal(settings) as journal:
        store = SqliteStore(journal, settings.documents_path)
        try:
            yield store
        finally:
            store.close()


@contextmanager
def open_model(settings: Settings) -> Iterator[Any]:
    """`ZM`: the Ming mappings over the store; a journal is made where there is none yet."""
    from zarkov.model import open_model as bind

    _make_journal(settings)
    with open_store(settings) as store:
        yield bind(store, database=settings.mongo_database)


@contextmanager
def open_rejected(settings: Settings, *, writing: bool = False) -> Iterator[RejectedStore | None]:
    """The rejected events, also beside a running server; None when nothing was ever rejected there."""
    from zarkov.journal.rejected import RejectedStore

    if not settings.rejected_path.exists():
        yield None
        return
    opened = (
        RejectedStore.open(settings.rejected_path, settings.log)
        if writing
        else RejectedStore.open_readonly(settings.rejected_path)
    )
    with opened as rejected:
        yield rejected


def _has_journal(settings: Settings) -> bool:
    from zarkov.journal.catalog import CATALOG_NAME

    return (settings.journal_dir / CATALOG_NAME).exists()


def _make_journal(settings: Settings) -> None:
    """An empty journal, unless there is one; a server that is just making it is left to it."""
    from zarkov.cli.operations import hold
    from zarkov.errors import JournalLocked

    if not _has_journal(settings):
        with suppress(JournalLocked), hold(settings):
            pass
