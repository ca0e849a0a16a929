"""The options before the command: which settings file, which settings on top of it."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Options:
    """What stands before the command: `zcmd [-y FILE] [--data-dir DIR] [--set KEY=VALUE] [-v]`.

    assignments: each `KEY=VALUE`, in order; the last one for a key wins.
    """

    file: str | None = None
    data_dir: str | None = None
    assignments: tuple[str, ...] = ()
    verbose: bool = False

    def argv(self) -> list[str]:
        """The options as arguments again, for a child process."""
        argv = ["-y", self.file] if self.file is not None else []
        if self.data_dir is not None:
            argv += ["--data-dir", self.data_dir]
        argv += [f"--set={assignment}" for assignment in self.assignments]
        return [*argv, "--verbose"] if self.verbose else argv


@dataclass(frozen=True, slots=True)
class ChildOptions:
    """The options of a child process of `serve`.

    parent: process id of the supervisor, with whom the child dies; None when it runs alone.
    ready_fd: descriptor on which the child says that it is ready; None when nobody asks.
    processes: how many worker processes to run; None leaves it to the settings.
    server: which of several event servers it is, behind the balancer; None for a single one.
    """

    options: Options
    parent: int | None = None
    ready_fd: int | None = None
    server: int | None = None
    processes: int | None = None


def parse_child(argv: Sequence[str]) -> ChildOptions:
    """Read what `Options.argv` and the supervisor wrote; without typer, to stay light."""
    parser = argparse.ArgumentParser(allow_abbrev=False)
    parser.add_argument("-y", "--yaml", dest="file")
    parser.add_argument("--data-dir")
    parser.add_argument("--set", dest="assignments", action="append", default=[])
    parser.add_argument("-v", "--verbose", action="store_true")
    parser.add_argument("--parent", type=int)
    parser.add_argument("--ready-fd", type=int)
    parser.add_argument("--server", type=int)
    parser.add_argument("--processes", type=int)
    found = parser.parse_args(argv)
    options = Options(found.file, found.data_dir, tuple(found.assignments), found.verbose)
    return ChildOptions(options, found.parent, found.ready_fd, found.server, found.processes)
