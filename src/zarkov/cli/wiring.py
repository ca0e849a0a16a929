"""Opening what commands read: the journals, the store, and the model over that.

The store is MongoDB where `mongo_uri` is set; otherwise the embedded one, over the journals. Readers need no server
and take no lock; they work while one runs.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, Literal

from zarkov.config import Settings
from zarkov.errors import ConfigError, ServerUnreachable

if TYPE_CHECKING:
    from zarkov.journal.journals import Journals
    from zarkov.journal.reader import Journal
    from zarkov.journal.rejected import RejectedStore
    from zarkov.store.contract import Store
    from zarkov.store.extra import ExtraDatabases
    from zarkov.store.mongo import MongoStore
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
def open_journals(settings: Settings, *, on_corrupt: Literal["skip", "raise"] = "skip") -> Iterator[Journals]:
    """The journals of all event servers as one, for reading; one that was never begun is left out.

    Raises: ServerUnreachable: there is none yet.
    """
    from zarkov.cli.servers import every_server
    from zarkov.journal.journals import Journals

    begun = [each.journal_dir for each in every_server(settings) if has_journal(each)]
    if not begun:
        require_journal(settings)
    with Journals.open(begun or [settings.journal_dir], on_corrupt=on_corrupt) as journals:
        yield journals


@contextmanager
def open_store(settings: Settings) -> Iterator[Store]:
    """The store of these settings: MongoDB with `mongo_uri`, else the embedded one."""
    with open_mongo(settings) if settings.mongo_uri else open_embedded(settings) as store:
        yield store


@contextmanager
def open_embedded(settings: Settings) -> Iterator[SqliteStore]:
    """The embedded store: events from the journals, documents from their own file.

    Raises: ServerUnreachable: there is no journal yet.
    """
    from zarkov.store.sqlite import SqliteStore

    with open_journals(settings) as journals, SqliteStore(journals, settings.documents_path) as store:
        yield store


@contextmanager
def open_mongo(settings: Settings) -> Iterator[MongoStore]:
    """The store in MongoDB; nothing is asked of the server before the first query.

    Raises: ConfigError: `mongo_uri` is not set.
    """
    from zarkov.store.mongo import MongoStore

    if settings.mongo_uri is None:
        raise ConfigError(
            "mongo_uri is not set", hint="Name MongoDB in the settings, or with --set mongo_uri=mongodb://localhost."
        )
    store = MongoStore(
        settings.mongo_uri,
        settings.mongo_database,
        username=settings.mongo_username,
        password=settings.mongo_password,
        timeout_s=settings.loader.mongo_timeout_s,
    )
    try:
        yield store
    finally:
        store.close()


@contextmanager
def open_model(settings: Settings) -> Iterator[Any]:
    """`ZM`: the Ming mappings over the store; embedded, a journal is made where there is none yet."""
    from zarkov.model import open_model as bind

    if not settings.mongo_uri:
        make_journal(settings)
    with open_store(settings) as store, extra_databases(settings) as extra:
        yield bind(store, database=settings.mongo_database, extra=extra)


def extra_databases(settings: Settings) -> ExtraDatabases:
    """The databases of `extra_dbs` by name, to be closed."""
    from zarkov.store.extra import ExtraDatabase, ExtraDatabases

    return ExtraDatabases(
        (ExtraDatabase(each.name, each.master, each.database) for each in settings.extra_dbs),
        timeout_s=settings.loader.mongo_timeout_s,
    )


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


def has_journal(settings: Settings) -> bool:
    """Whether the journal of this event server is there, wholly made; a damaged one is, too."""
    from zarkov.errors import JournalError
    from zarkov.journal.catalog import Catalog

    try:
        catalog = Catalog.open(settings.journal_dir)
    except JournalError:
        return True
    if catalog is None:
        return False
    catalog.close()
    return True


def make_journal(settings: Settings) -> None:
    """An empty journal, unless there is one; a server that is just making it is left to it."""
    from zarkov.cli.operations import hold
    from zarkov.errors import JournalLocked

    if not has_journal(settings):
        with suppress(JournalLocked), hold(settings):
            pass
