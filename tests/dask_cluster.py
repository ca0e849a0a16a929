"""A real Dask cluster in processes of its own, for tests."""

import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

from running import free_port
from waiting import wait_until


class DaskCluster:
    """A scheduler and workers of one thread each, on loopback; a context manager that leaves no process behind.

    tls: what stands behind every command to have it use TLS.
    """

    def __init__(self, folder: Path, workers: int = 2, *, tls: Sequence[str] = ()) -> None:
        self.folder = folder
        self.address = f"{'tls' if tls else 'tcp'}://127.0.0.1:{free_port()}"
        self.workers: list[subprocess.Popen[bytes]] = []
        self._tls = tls
        self._count = workers
        self._scheduler: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> "DaskCluster":
        protocol, _, rest = self.address.partition("://")
        host, _, port = rest.rpartition(":")
        own = ["--host", host, "--port", port, "--protocol", protocol, "--no-dashboard", "--no-show"]
        self._scheduler = self._start("scheduler", own)
        wait_until(lambda: "Scheduler at" in self.log("scheduler"), 60)
        for _ in range(self._count):
            self.add_worker()
        return self

    def add_worker(self) -> None:
        own = [self.address, "--nthreads", "1", "--no-nanny", "--no-dashboard", "--local-directory", str(self.folder)]
        name = f"worker{len(self.workers)}"
        self.workers.append(self._start("worker", own, name))
        wait_until(lambda: "Registered to" in self.log(name), 60)

    def kill_worker(self) -> None:
        """SIGKILL to the first worker, as if its machine had gone."""
        self.workers[0].send_signal(signal.SIGKILL)
        self.workers[0].wait(30)

    def kill_scheduler(self) -> None:
        assert self._scheduler is not None
        self._scheduler.kill()
        self._scheduler.wait(30)

    def log(self, name: str) -> str:
        path = self.folder / f"dask-{name}.log"
        return path.read_text() if path.exists() else ""

    def _start(self, role: str, own: Sequence[str], name: str = "scheduler") -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", f"distributed.cli.dask_{role}", *own, *self._tls]
        with (self.folder / f"dask-{name}.log").open("wb") as log:
            return subprocess.Popen(command, stdout=log, stderr=log, cwd=self.folder)

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for process in [*self.workers, *([] if self._scheduler is None else [self._scheduler])]:
            if process.poll() is None:
                process.kill()
            process.wait(30)
