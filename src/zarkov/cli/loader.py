"""The loader: takes events from the journals to MongoDB. Run as `python -m zarkov.cli.loader`.

`zcmd serve` runs it as a child where `mongo_uri` is set, `zcmd loader` alone. It is ready as soon as it runs, also
while MongoDB is away or another loader holds the data directory: then it waits. It stops on SIGTERM, SIGINT or
SIGHUP: what MongoDB has confirmed is recorded, and nothing more begun. Imports neither typer nor rich nor gevent.
"""

from __future__ import annotations

import logging
import os
import random
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence

from zarkov.cli.child import heard, run_child, tell_ready
from zarkov.cli.load_source import Target, are_begun, open_sources
from zarkov.cli.loader_lock import StatusFile, holder, lock_path, try_lock
from zarkov.cli.options import ChildOptions
from zarkov.cli.output import EXIT_DONE
from zarkov.cli.parent import end_with_parent
from zarkov.config import Settings
from zarkov.errors import ConfigError
from zarkov.store.load_status import LoadStatus
from zarkov.store.loader import Loader

#: How often a loader looks whether the lock is free, or the journal begun.
LOOK_S = 0.2
#: A loader that is stopped while MongoDB does not answer ends after this time all the same. It may: what was not
#: confirmed is loaded again.
STOP_S_MAX = 5.0

#: The event server goes first: what the loader does not come to waits in the journal.
NICENESS = 10

# Run as a module, its __name__ would be __main__.
log = logging.getLogger("zarkov.cli.loader")


def main(argv: Sequence[str] | None = None) -> int:
    """Load until a signal ends it; returns the exit code."""
    return run_child("loader", run, argv)


def run(settings: Settings, child: ChildOptions) -> int:
    """Load with these settings; returns the exit code.

    Raises: ConfigError: `mongo_uri` is not set, or is no address.
    """
    if settings.mongo_uri is None:
        raise ConfigError("mongo_uri is not set", hint="Without MongoDB there is nothing to load into.")
    os.nice(NICENESS)
    stop = _stopped_by_signals()
    if child.parent is not None:
        end_with_parent(child.parent)
    tell_ready(child)
    while not stop.is_set():
        with try_lock(lock_path(settings)) as mine:
            if mine:
                _load(settings, stop, None, StatusFile(settings).write)
                return EXIT_DONE
        log.info("loader waits its turn holder=%s", holder(lock_path(settings)))
        _wait(stop, lambda: holder(lock_path(settings)) is None)
    return EXIT_DONE


def _load(
    settings: Settings,
    stop: threading.Event,
    until: Callable[[Loader], bool] | None,
    report: Callable[[LoadStatus], None],
) -> None:
    if not are_begun(settings):
        log.info("loader waits for the journal data_dir=%s", settings.data_dir)
        _wait(stop, lambda: are_begun(settings))
    with open_sources(settings) as sources, Target(settings) as target:
        loader = Loader(target, sources, settings.loader, jitter=random.random, clock=time.monotonic, report=report)
        loader.run(stop, until)


def pass_now(
    settings: Settings,
    until: Callable[[Loader], bool],
    stop: threading.Event,
    report: Callable[[LoadStatus], None],
) -> bool:
    """Load in this process until `until` is true; false, and nothing done, where another loader runs."""
    with try_lock(lock_path(settings)) as mine:
        if mine:
            _load(settings, stop, until, report)
        return mine


def _stopped_by_signals() -> threading.Event:
    """An event that the signals set; soon after it the process ends, whatever it waits for."""
    stop = threading.Event()

    def end(number: int, frame: object) -> None:
        if not stop.is_set():
            stop.set()
            threading.Thread(target=_end_late, daemon=True).start()

    for number in heard():
        signal.signal(number, end)
    return stop


def _end_late() -> None:
    time.sleep(STOP_S_MAX)
    log.warning("loader ended without an answer of MongoDB; what it did not confirm is loaded again")
    os._exit(EXIT_DONE)


def _wait(stop: threading.Event, condition: Callable[[], bool]) -> None:
    while not stop.wait(LOOK_S) and not condition():
        pass


if __name__ == "__main__":
    sys.exit(main())
