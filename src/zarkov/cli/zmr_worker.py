"""Workers of map-reduce. Run as `python -m zarkov.cli.zmr_worker`.

`zcmd serve` runs it as a child with `local_workers` processes, `zcmd zmr-worker` alone with `processes_per_worker`,
here or on another machine. It stops on SIGTERM, SIGINT or SIGHUP with 0; tasks under way are given to others. It
opens no store and no journal, and imports neither typer nor rich nor gevent.
"""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Sequence

from zarkov.cli import logs
from zarkov.cli.crew import Crew
from zarkov.cli.curve import client_keys
from zarkov.cli.options import ChildOptions, parse_child
from zarkov.cli.output import EXIT_DONE, report
from zarkov.cli.parent import end_with_parent
from zarkov.cli.settings import load
from zarkov.config import Settings


def main(argv: Sequence[str] | None = None) -> int:
    """Work until a signal ends it; returns the exit code."""
    child = parse_child(sys.argv[1:] if argv is None else argv)
    try:
        resolved = load(child.options)
        logs.set_up(resolved.settings, "zmr-worker")
        return run(resolved.settings, child)
    except Exception as error:  # noqa: BLE001  # the outermost frame: every error ends as one sentence
        return report(error, verbose=child.options.verbose)


def run(settings: Settings, child: ChildOptions) -> int:
    """Work with these settings; returns the exit code. Raises: KeyInvalid."""
    if child.parent is not None:
        end_with_parent(child.parent)
    keys = client_keys(settings)
    size = child.processes or settings.zmr.processes_per_worker or os.cpu_count() or 1

    def tell_ready() -> None:
        if child.ready_fd is not None:
            os.write(child.ready_fd, b"ready\n")
            os.close(child.ready_fd)

    gc.collect()
    gc.freeze()  # Children share what is there now; a collection would write to it.
    Crew(settings.zmr, size, secure=None if keys is None else keys.secure, on_ready=tell_ready).run()
    return EXIT_DONE


if __name__ == "__main__":
    sys.exit(main())
