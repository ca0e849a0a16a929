"""What happens to open clients when the program ends, forks, or forgets them.

At exit every open client is closed, the latest first, which waits for its events. In a forked child each starts
afresh. A client that was forgotten without `close` is closed by a thread of its own, so that no garbage collection
waits for a server.
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


#: What is open, in order, and whether it is to be closed at exit.
_open: dict[Closable, bool] = {}


def watch(owner: object, link: Closable, *, at_exit: bool = True) -> None:
    """Keep the link until it is closed, though its owner be forgotten.

    at_exit: False: somebody else closes it at exit, at a better time.
    """
    keep(link, at_exit=at_exit)
    weakref.finalize(owner, _forgotten, link).atexit = False


def keep(link: Closable, *, at_exit: bool = True) -> None:
    """As `watch`, for a link that nobody but its owner's own thread may close: it stays open until the exit."""
    _open[link] = at_exit


def closed(link: Closable) -> None:
    """The link needs no care any more, or another sees to it."""
    _open.pop(link, None)


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
        closed(link)


def _close_all() -> None:
    for link in [link for link, at_exit in _open.items() if at_exit][::-1]:
        close_logging_failure(link)


def _after_fork() -> None:
    for link in list(_open):
        link.forked()


atexit.register(_close_all)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
