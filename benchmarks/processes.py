"""A bounded child process that can clean up after itself.

A measurement starts servers and stops them when it ends; killed outright it would leave them behind.
So what takes too long gets SIGINT, which Python raises as KeyboardInterrupt, and only then SIGKILL.
"""

import contextlib
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

CLEAN_UP_S_MAX = 150.0


class TookTooLong(Exception):
    """The process was ended; the text says after how long."""


def run_bounded(
    command: Sequence[str],
    timeout_s: float,
    *,
    env: Mapping[str, str],
    cwd: Path | None = None,
    output: IO[bytes] | None = None,
) -> tuple[int, str, str]:
    """Exit status, standard output and standard error; both are empty when `output` takes them.

    Raises: TookTooLong.
    """
    out = output if output is not None else subprocess.PIPE
    with subprocess.Popen(command, env=env, cwd=cwd, stdout=out, stderr=out) as process:
        try:
            printed, errors = process.communicate(timeout=timeout_s)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGINT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.communicate(timeout=CLEAN_UP_S_MAX)
            process.kill()
            raise TookTooLong(f"not done after {timeout_s:.0f} s") from None
    return process.returncode, (printed or b"").decode(), (errors or b"").decode(errors="replace")
