"""The event server: sockets in front, the journal behind. Run as `python -m zarkov.cli.eventlog`.

`zcmd serve` runs it as a child, `zcmd eventlog` alone. It stops on SIGTERM, SIGINT or SIGHUP: it takes what has
arrived, syncs it, answers, closes the journal, and ends with 0. With `--server K` it is one of several, which the
balancer feeds; told to stop, it goes on until the balancer has left. It ends with 1 by itself when the journal can
take nothing any more, so that the supervisor starts it anew. Imports neither typer nor rich.
"""

from __future__ import annotations

import gc
import logging
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace

import gevent
import zmq

from zarkov.cli.child import run_child, tell_ready
from zarkov.cli.curve import server_keys
from zarkov.cli.generations import catch_up
from zarkov.cli.hub import stopped_by_signals
from zarkov.cli.local import run_dir
from zarkov.cli.operations import OPERATIONS, Arguments, Held, hold
from zarkov.cli.options import ChildOptions
from zarkov.cli.output import EXIT_DONE, EXIT_FAILED
from zarkov.cli.parent import end_with_parent
from zarkov.config import Settings
from zarkov.errors import ConfigError
from zarkov.ingest.control import Command
from zarkov.ingest.server import EventServer
from zarkov.journal.committer import Committer
from zarkov.metrics import Metrics

# Run as a module, its __name__ would be __main__.
log = logging.getLogger("zarkov.cli.eventlog")

#: The collector comes by the clock, between two drains, when few objects are alive; by allocations only when so many
#: have come without an end. In the middle of a drain it would walk all its events, which die a moment later anyway.
GC_EVERY_S = 0.25
GC_YOUNG_MAX = 50_000


def main(argv: Sequence[str] | None = None) -> int:
    """Take events in until a signal ends it; returns the exit code."""
    return run_child("eventlog", run, argv, cannot_bind=(zmq.ZMQError, "the *_bind_address"))


def run(settings: Settings, child: ChildOptions) -> int:
    """Serve with these settings; returns the exit code."""
    stopped = stopped_by_signals()
    if child.parent is not None:
        end_with_parent(child.parent)
    with ExitStack() as stack:
        among = None
        if child.server is not None or settings.num_event_servers > 1:
            among, settings = settings, stack.enter_context(_one_of_several(settings, child.server))
        server = stack.enter_context(event_server(settings, among=among))
        gc.collect()
        gc.freeze()
        gc.set_threshold(GC_YOUNG_MAX)
        gevent.spawn(_collect)
        tell_ready(child)
        gevent.wait([stopped, gevent.spawn(server.join)], count=1)
        if stopped.is_set() and not server.outlast_feeders(settings.drain_s / 2):
            log.warning("stopping before the balancer")
    if server.failed is not None:
        log.critical("event server failed reason=%s", server.failed)
        return EXIT_FAILED
    return EXIT_DONE


@contextmanager
def _one_of_several(settings: Settings, number: int | None) -> Iterator[Settings]:
    """The settings of this event server of several. Raises: ConfigError: there is none of this number."""
    servers = settings.event_servers()
    if number is None or not 0 <= number < len(servers) or len(servers) == 1:
        raise ConfigError(
            f"num_event_servers is {len(servers)}, and the event server to run is {number}",
            hint=f"Name one with --server, 0 to {len(servers) - 1}, and run `zcmd balancer` in front; "
            "`zcmd serve` runs all of them."
            if len(servers) > 1
            else "Leave --server out, or set num_event_servers.",
        )
    with run_dir(settings, servers) as addresses:
        yield replace(servers[number], ingest=addresses[number])


def _collect() -> None:
    """Collect garbage while the server runs: a refused event's traceback can keep a whole drain alive."""
    while True:
        gevent.sleep(GC_EVERY_S)
        gc.collect()


@contextmanager
def event_server(settings: Settings, *, among: Settings | None = None) -> Iterator[EventServer]:
    """The event server on its journal, started; at the end everything taken is synced and closed, in that order.

    Args: among: the settings of all event servers, where this is one of several behind a balancer.
    Raises: JournalLocked: another server holds the data directory; KeyInvalid: its keys cannot be used;
    OSError: an address is taken.
    """
    metrics = Metrics()
    keys = server_keys(settings)
    with (
        hold(settings) as held,
        Committer(held.writer, held.rejected, settings=settings.log, metrics=metrics) as committer,
    ):
        if among is not None:
            catch_up(held, among)
        with EventServer(
            settings.ingest,
            committer,
            journal_id=held.writer.journal_id,
            producers=list(held.writer.producer_records()),
            producers_max=settings.log.producers_max,
            metrics=metrics,
            control_path=settings.control_path,
            commands={name: _command(name, held, committer) for name in OPERATIONS},
            is_fed=among is not None,
            keys=keys,
        ) as server:
            yield server


def _command(name: str, held: Held, committer: Committer) -> Command:
    """An operation as a command of the control socket: done on the writer's thread, between two commits."""

    def answer(arguments: Arguments) -> Arguments:
        return committer.call(lambda _: OPERATIONS[name](held, arguments))

    return Command(answer)


if __name__ == "__main__":
    sys.exit(main())
