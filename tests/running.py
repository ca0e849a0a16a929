"""A real Zarkov server in a process of its own, for tests."""

import os
import secrets
import signal
import socket
import subprocess
import sys
from pathlib import Path
from types import TracebackType

from waiting import wait_until

ZCMD = Path(sys.executable).with_name("zcmd")
LISTENING = ("bson_bind_address", "json_bind_address", "publish_bind_address", "ack_bind_address")


#: Below the ports that the kernel gives to whoever asks for any: one of those may be gone when a server comes back.
PORTS = range(10_000, 32_000)


def free_port() -> int:
    """A port that nobody listens on, and that the kernel gives to nobody while its server is restarted."""
    while True:
        port = secrets.choice(PORTS)
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port


def zcmd(*arguments: object, settings: Path | None = None, stdin: str = "", check: bool = True, **more) -> str:
    """Run one zcmd command to its end and return what it printed."""
    given = ["-y", str(settings)] if settings else []
    done = subprocess.run(
        [ZCMD, *given, *map(str, arguments)],
        input=stdin,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        **more,
    )
    if check and done.returncode != 0:
        raise AssertionError(f"zcmd {arguments} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}")
    return done.stdout


class RunningServer:
    """`zcmd serve` or `zcmd eventlog` on ports of its own, in a process group of its own.

    The settings file stands beside the data directory, so that other commands can use it: `server.settings`.
    """

    def __init__(self, folder: Path, command: str = "eventlog", **settings: object) -> None:
        self.data_dir = folder / "data"
        self.settings = folder / "zarkov.yaml"
        self.log = folder / "server.log"
        self.command = command
        self.process: subprocess.Popen[bytes] | None = None
        self.addresses = {name: f"tcp://127.0.0.1:{free_port()}" for name in LISTENING}
        zmr = f"tcp://127.0.0.1:{free_port()}"
        self.zmr = {"req_bind": zmr, "req_uri": zmr, "local_workers": 1, "job_root": str(folder / "zmr")}
        self.zmr |= settings.pop("zmr", {})  # type: ignore[arg-type]
        everything = {"data_dir": str(self.data_dir), "zmr": self.zmr, **self.addresses, **settings}
        self.settings.write_text("".join(f"{key}: {value}\n" for key, value in everything.items()))

    @property
    def bson(self) -> str:
        return self.addresses["bson_bind_address"]

    @property
    def json(self) -> str:
        return self.addresses["json_bind_address"]

    @property
    def publish(self) -> str:
        return self.addresses["publish_bind_address"]

    @property
    def ack(self) -> str:
        return self.addresses["ack_bind_address"]

    def start(self, *, wait: bool = True, **environment: str) -> "RunningServer":
        with self.log.open("ab") as log:
            before = log.tell()
            self.process = subprocess.Popen(
                [ZCMD, "-y", self.settings, self.command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=os.environ | environment,
                start_new_session=True,
            )
        if wait:
            wait_until(lambda: (self.listens() and self.is_ready(before)) or self.ended(), 60)
            assert not self.ended(), self.log.read_text()
        return self

    def ended(self) -> bool:
        return self.process is not None and self.process.poll() is not None

    def is_ready(self, since: int) -> bool:
        """Whether `serve` says in its log, from this byte on, that all its children are."""
        return self.command != "serve" or b"ready bson=" in self.log.read_bytes()[since:]

    def listens(self) -> bool:
        for address in self.addresses.values():
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", int(address.rpartition(":")[2]))) != 0:
                    return False
        return True

    def kill_group(self) -> None:
        """SIGKILL to every process of the server at once, as a power cut would stop them."""
        assert self.process is not None
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(30)

    def stop(self) -> int:
        """SIGTERM, and the exit code once everything is drained and synced."""
        assert self.process is not None
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(60)

    def put_down(self) -> None:
        """Leave no process behind, whatever the test came to."""
        if self.process is not None and self.process.poll() is None:
            self.kill_group()

    def __enter__(self) -> "RunningServer":
        return self.start()

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self.process is not None and self.process.poll() is None:
            try:
                self.stop()
            finally:
                self.put_down()
        if kind is not None and self.log.exists():
            print(self.log.read_text()[-4000:])
