"""The router of map-reduce. Run as `python -m zarkov.cli.zmr_router`.

`zcmd serve` runs it as a child, `zcmd zmr-router` alone. It stops on SIGTERM, SIGINT or SIGHUP, and when a client
says `terminate`, with 0; jobs that have not ended are taken up by the next one. Imports neither typer nor rich.
"""

from __future__ import annotations

import fcntl
import gc
import logging
import os
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import gevent
import zmq
from gevent.event import Event

from zarkov.cli.child import run_child, tell_ready
from zarkov.cli.curve import server_keys
from zarkov.cli.hub import stopped_by_signals
from zarkov.cli.options import ChildOptions
from zarkov.cli.output import EXIT_DONE, EXIT_FAILED
from zarkov.cli.parent import end_with_parent
from zarkov.cli.wiring import has_journal, make_journal
from zarkov.cli.zmr_wiring import open_site
from zarkov.config import Settings
from zarkov.errors import ConfigError, ServerUnreachable
from zarkov.zmr.router import Router

# Run as a module, its __name__ would be __main__.
log = logging.getLogger("zarkov.cli.zmr_router")

LOCK_NAME = "zmr-router.lock"
#: Time that the event servers of `serve` have to make their journals, and how often that is looked at.
JOURNALS_S = 30.0
LOOK_S = 0.05
#: Time that the router of an earlier `serve`, which was killed, has to end.
LOCK_S = 10.0


def main(argv: Sequence[str] | None = None) -> int:
    """Route until a signal ends it; returns the exit code."""
    return run_child("zmr-router", run, argv, cannot_bind=(zmq.ZMQError, "zmr.req_bind"))


def run(settings: Settings, child: ChildOptions) -> int:
    """Route with these settings; returns the exit code."""
    stopped = stopped_by_signals()
    if child.parent is not None:
        end_with_parent(child.parent)
        if not _await_journals(settings, stopped):
            return EXIT_DONE
    with only_router(settings, LOCK_S if child.parent is not None else 0.0), open_site(settings) as site:
        with Router(settings.zmr, site, keys=server_keys(settings)) as router:
            gc.collect()
            gc.freeze()
            tell_ready(child)
            gevent.wait([stopped, gevent.spawn(router.join)], count=1)
            has_failed = router.has_failed
    return EXIT_FAILED if has_failed else EXIT_DONE


@contextmanager
def only_router(settings: Settings, patience_s: float) -> Iterator[None]:
    """One router for a data directory: it takes up the jobs that were left.

    Args:   patience_s: how long one that is ending is waited for.
    Raises: ConfigError: another one runs.
    """
    settings.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    lock = os.open(settings.data_dir / LOCK_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    deadline = time.monotonic() + patience_s
    try:
        while not _is_locked(lock):
            if time.monotonic() >= deadline:
                hint = "Stop it, or give this one its own `data_dir`."
                raise ConfigError(f"another router runs on {settings.data_dir}", hint=hint)
            gevent.sleep(LOOK_S)
        yield
    finally:
        os.close(lock)


def _is_locked(lock: int) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _await_journals(settings: Settings, stopped: Event) -> bool:
    """Wait for the event servers, which start at the same time, to make their journals; False when told to stop.

    Raises: ServerUnreachable: they did not in time.
    """
    deadline = time.monotonic() + JOURNALS_S
    servers = settings.event_servers()
    while not all(map(has_journal, servers)):
        if len(servers) == 1:
            make_journal(settings)
        if time.monotonic() > deadline:
            raise ServerUnreachable(f"the event server made no journal within {JOURNALS_S:g} seconds")
        if stopped.wait(LOOK_S):
            return False
    return True


if __name__ == "__main__":
    sys.exit(main())
