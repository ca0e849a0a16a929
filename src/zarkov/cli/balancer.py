"""The balancer: one address in front of several event servers. Run as `python -m zarkov.cli.balancer`.

`zcmd serve` runs it as a child where `num_event_servers` is more than 1, `zcmd balancer` alone. On SIGTERM, SIGINT or
SIGHUP it passes on what has arrived and ends with 0; the event servers wait for that. Imports neither typer nor rich
nor gevent.
"""

from __future__ import annotations

import signal
import socket
import sys
from collections.abc import Sequence
from functools import partial
from types import FrameType

import zmq

from zarkov.cli.child import heard, run_child, tell_ready
from zarkov.cli.curve import server_keys
from zarkov.cli.local import run_dir
from zarkov.cli.options import ChildOptions
from zarkov.cli.output import EXIT_DONE
from zarkov.cli.parent import end_with_parent
from zarkov.config import Settings
from zarkov.errors import ConfigError
from zarkov.ingest.balancer import Balancer


def main(argv: Sequence[str] | None = None) -> int:
    """Balance until a signal ends it; returns the exit code."""
    return run_child("balancer", run, argv, cannot_bind=(zmq.ZMQError, "the *_bind_address"))


def run(settings: Settings, child: ChildOptions) -> int:
    """Balance with these settings; returns the exit code."""
    if settings.num_event_servers == 1:
        raise ConfigError(
            "there is one event server, and nothing to balance", hint="Set num_event_servers to 2 or more."
        )
    woken, waking = socket.socketpair()
    waking.setblocking(False)
    for number in heard():
        signal.signal(number, _noticed)
    signal.set_wakeup_fd(waking.fileno(), warn_on_full_buffer=False)
    if child.parent is not None:
        end_with_parent(child.parent)
    with run_dir(settings, settings.event_servers()) as servers:
        keys, on_ready = server_keys(settings), partial(tell_ready, child)
        Balancer(settings.ingest, servers, keys=keys, stop_fd=woken.fileno(), on_ready=on_ready).run()
    return EXIT_DONE


def _noticed(number: int, frame: FrameType | None) -> None:
    """The wake-up descriptor carries the signal; the handler only keeps it from ending the process."""


if __name__ == "__main__":
    sys.exit(main())
