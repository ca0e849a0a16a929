"""What the children of `serve` have in common, around their work: options, settings, logs, readiness, errors.

Imports neither typer nor rich nor gevent nor zmq: each child brings what it needs.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
from collections.abc import Callable, Sequence

from zarkov.cli import logs
from zarkov.cli.exposure import refuse_wide_binds
from zarkov.cli.options import ChildOptions, parse_child
from zarkov.cli.output import report
from zarkov.cli.settings import load
from zarkov.config import Settings
from zarkov.errors import ConfigError

Run = Callable[[Settings, ChildOptions], int]

#: The signals that end a child in order.
ENDING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)

log = logging.getLogger(__name__)


def run_child(
    name: str, run: Run, argv: Sequence[str] | None, *, cannot_bind: tuple[type[Exception], str] | None = None
) -> int:
    """Read the options and settings, and run; every error ends as one sentence. Returns the exit code.

    Args:
        name: as the log has it.
        cannot_bind: for a child that binds sockets, what is raised when an address is taken, and which setting to
            change. Such a child is refused where other machines could reach it without keys.
    """
    child = parse_child(sys.argv[1:] if argv is None else argv)
    taken, setting = cannot_bind or ((), "")
    try:
        resolved = load(child.options)
        if cannot_bind is not None:
            refuse_wide_binds(resolved)
        logs.set_up(resolved.settings, name if child.server is None else f"{name}-{child.server}")
        if child.parent is None:
            for warning in resolved.warnings:
                log.warning("%s", warning)
        return run(resolved.settings, child)
    except taken as error:
        hint = f"Another program listens there: stop it, or set {setting} to a free port."
        return report(ConfigError(f"an address cannot be bound: {error}", hint=hint), verbose=child.options.verbose)
    except Exception as error:  # noqa: BLE001  # the outermost frame: every error ends as one sentence
        return report(error, verbose=child.options.verbose)


def heard() -> list[signal.Signals]:
    """The signals to listen to: a SIGHUP ignored by nohup stays ignored."""
    return [number for number in ENDING if signal.getsignal(number) is not signal.SIG_IGN]


def tell_ready(child: ChildOptions) -> None:
    """Tell the supervisor, if there is one, that the child does its work now; once."""
    if child.ready_fd is not None:
        os.write(child.ready_fd, b"ready\n")
        os.close(child.ready_fd)
