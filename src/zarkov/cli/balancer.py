"""The balancer: one address in front of several event servers. Run as `python -m zarkov.cli.balancer`.

`zcmd serve` runs it as a child where `num_event_servers` is more than 1, `zcmd balancer` alone. On SIGTERM, SIGINT or
SIGHUP it passes on what has arrived and ends with 0; the event servers wait for that. Imports neither typer nor rich
nor gevent.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
from collections.abc import Sequence
from types import FrameType

import zmq

from zarkov.cli import logs
from zarkov.cli.curve import server_keys
from zarkov.cli.exposure import refuse_wide_binds
from zarkov.cli.local import run_dir
from zarkov.cli.options import ChildOptions, parse_child
from zarkov.cli.output import EXIT_DONE, report
from zarkov.cli.parent import end_with_parent
from zarkov.cli.settings import load
from zarkov.config import Settings
from zarkov.errors import ConfigError
from zarkov.ingest.balancer import Balancer


def main(argv: Sequence[str] | None = None) -> int:
    """Balance until a signal ends it; returns the exit code."""
    child = parse_child(sys.argv[1:] if argv is None else argv)
    try:
        resolved = load(child.options)
        refuse_wide_binds(resolved)
        logs.set_up(resolved.settings, "balancer")
        return run(resolved.settings, child)
    except zmq.ZMQError as error:
        hint = "Another program listens there: stop it, or set the *_bind_address to a free port."
        return report(ConfigError(f"an address cannot be bound: {error}", hint=hint), verbose=child.options.verbose)
    except Exception as error:  # noqa: BLE001  # the outermost frame: every error ends as one sentence
        return report(error, verbose=child.options.verbose)


def run(settings: Settings, child: ChildOptions) -> int:
    """Balance with these settings; returns the exit code."""
    if settings.num_event_servers == 1:
        raise ConfigError(
            "there is one event server, and nothing to balance", hint="Set num_event_servers to 2 or more."
        )
    woken, waking = socket.socketpair()
    waking.setblocking(False)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        # A SIGHUP ignored by nohup stays ignored.
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _noticed)
    signal.set_wakeup_fd(waking.fileno(), warn_on_full_buffer=False)
    if child.parent is not None:
        end_with_parent(child.parent)

    def tell_ready() -> None:
        if child.ready_fd is not None:
            os.write(child.ready_fd, b"ready\n")
            os.close(child.ready_fd)

    with run_dir(settings, settings.event_servers()) as servers:
        keys = server_keys(settings)
        Balancer(settings.ingest, servers, keys=keys, stop_fd=woken.fileno(), on_ready=tell_ready).run()
    return EXIT_DONE


def _noticed(number: int, frame: FrameType | None) -> None:
    """The wake-up descriptor carries the signal; the handler only keeps it from ending the process."""


if __name__ == "__main__":
    sys.exit(main())
