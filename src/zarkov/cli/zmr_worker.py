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
from functools import partial

from zarkov.cli.child import run_child, tell_ready
from zarkov.cli.crew import Crew
from zarkov.cli.curve import client_keys
from zarkov.cli.options import ChildOptions
from zarkov.cli.output import EXIT_DONE
from zarkov.cli.parent import end_with_parent
from zarkov.config import Settings


def main(argv: Sequence[str] | None = None) -> int:
    """Work until a signal ends it; returns the exit code."""
    return run_child("zmr-worker", run, argv)


def run(settings: Settings, child: ChildOptions) -> int:
    """Work with these settings; returns the exit code. Raises: KeyInvalid."""
    if child.parent is not None:
        end_with_parent(child.parent)
    keys = client_keys(settings)
    size = child.processes or settings.zmr.processes_per_worker or os.cpu_count() or 1
    gc.collect()
    gc.freeze()  # Children share what is there now; a collection would write to it.
    Crew(settings.zmr, size, secure=None if keys is None else keys.secure, on_ready=partial(tell_ready, child)).run()
    return EXIT_DONE


if __name__ == "__main__":
    sys.exit(main())
