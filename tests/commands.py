"""zcmd as a person runs it: a process with arguments, streams and an exit code."""

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

from running import ZCMD


@dataclass(frozen=True)
class Ran:
    """What a command printed, and its exit code."""

    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[str]:
        return self.out.splitlines()


def run(*arguments: object, stdin: str = "", folder: Path | None = None, **environment: str) -> Ran:
    """Run zcmd to its end; the environment has no ZARKOV_ variables but those given."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("ZARKOV_")}
    done = subprocess.run(
        [ZCMD, *map(str, arguments)],
        input=stdin,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        cwd=folder,
        env=inherited | {"COLUMNS": "120"} | environment,
    )
    return Ran(done.returncode, done.stdout, done.stderr)


def ok(*arguments: object, stdin: str = "", folder: Path | None = None, **environment: str) -> Ran:
    """Run zcmd, and fail the test unless it ends with 0."""
    ran = run(*arguments, stdin=stdin, folder=folder, **environment)
    assert ran.code == 0, f"zcmd {arguments} ended with {ran.code}:\n{ran.out}\n{ran.err}"
    return ran
