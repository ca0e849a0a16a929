"""Opening what submits jobs: the router's address and keys, and what jobs of this process read and write."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import TYPE_CHECKING

from zarkov.cli.curve import client_keys
from zarkov.config import Settings

if TYPE_CHECKING:
    from zarkov.journal.journals import Journals
    from zarkov.store.contract import Store
    from zarkov.zmr import Zmr
    from zarkov.zmr.asking import Router
    from zarkov.zmr.driver import Output
    from zarkov.zmr.request import JobRequest
    from zarkov.zmr.site import Site


@contextmanager
def open_zmr(settings: Settings) -> Iterator[Zmr]:
    """`zmr`: every executor, over the log and the store of these settings.

    Raises: ServerUnreachable: there is no journal yet. KeyInvalid.
    """
    from zarkov.zmr import Zmr

    router = open_router(settings)
    with open_site(settings) as site, Zmr(settings.zmr, router=router, site=site, store=site.store) as zmr:
        yield zmr


@contextmanager
def open_site(settings: Settings) -> Iterator[Site]:
    """The log, the store and the folder of intermediate data, for whoever drives jobs.

    What of the log cannot be read fails a job, and is not passed over.
    Raises: ServerUnreachable: there is no journal yet.
    """
    from zarkov.zmr.site import Site

    with ExitStack() as opened:
        store, journals = _open(settings, opened)
        yield opened.enter_context(Site(store, journals, settings.zmr, partial(_output, settings, store)))


def open_router(settings: Settings) -> Router:
    """The router at `req_uri`; nothing is sent yet. Raises: KeyInvalid."""
    from zarkov.zmr.asking import Router

    keys = client_keys(settings)
    secure = None if keys is None else keys.secure
    return Router(settings.zmr.req_uri, timeout_s=settings.zmr.request_timeout_s, secure=secure)


def _open(settings: Settings, opened: ExitStack) -> tuple[Store, Journals | None]:
    """The store and the log; a machine that only has MongoDB's address has no log."""
    from zarkov.cli.servers import every_server
    from zarkov.cli.wiring import has_journal, open_journals, open_mongo
    from zarkov.store.sqlite import SqliteStore

    if settings.mongo_uri and not any(map(has_journal, every_server(settings))):
        return opened.enter_context(open_mongo(settings)), None
    journals = opened.enter_context(open_journals(settings, on_corrupt="raise"))
    if settings.mongo_uri:
        return opened.enter_context(open_mongo(settings)), journals
    return opened.enter_context(SqliteStore(journals, settings.documents_path)), journals


def _output(settings: Settings, store: Store, job_id: str, request: JobRequest) -> Output:
    from zarkov.zmr.output import JobOutput

    return JobOutput(store, job_id, request, inline_bytes_max=settings.zmr.inline_bytes_max)
