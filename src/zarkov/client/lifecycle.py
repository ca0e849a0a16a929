"""What happens to open clients when the program ends, forks, or forgets them.

At exit every open client is closed, which waits for its events. In a forked child each starts afresh. A client that
was forgotten without `close` is closed by a thread of its own, so that no garbage collection waits for a server.
"""

from __future__ import annotations

import atexit
import logging
import os
import threading
import weakref
from typing import Protocol

from zarkov.errors import ZarkovError

logger = logging.getLogger(__name__)


class Closable(Protocol):
    def close(self, timeout_s: float | None) -> None: ...
    def forked(self) -> None: ...


_open: set[Closable] = set()


def watch(owner: object, link: Closable) -> None:
    """Keep the link until it is closed, though its owner be forgotten."""
    _open.add(link)
    weakref.finalize(owner, _forgotten, link).atexit = False


def closed(link: Closable) -> None:
    """The link needs no care any more."""
    _open.discard(link)


def _forgotten(link: Closable) -> None:
    if link in _open:
        # No daemon: the program's end waits for its events, as for those of a client that is still open.
        threading.Thread(target=close_logging_failure, args=(link,), name="zarkov-client-close").start()


def close_logging_failure(link: Closable) -> None:
    try:
        link.close(None)
    except ZarkovError as error:
        logger.error("closing a client failed code=%s reason=%s", error.code, error)
    finally:
        _open.discard(link)


def _close_all() -> None:
    for link in list(_open):
        close_logging_failure(link)


def _after_fork() -> None:
    for link in list(_open):
        link.forked()


atexit.register(_close_all)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
