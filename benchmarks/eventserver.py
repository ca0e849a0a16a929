"""A real `zcmd eventlog` or `zcmd serve` for one measurement: default durability, an empty data directory.

The directory lies under PEERS_DIR, on the same disk as the peers' data.  Every address is a free
loopback port.  Leaving the context stops the server with SIGTERM, as an operator would.
"""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import zmq

from benchmarks.peerage import peer_module

if TYPE_CHECKING:
    from zarkov.client import Keys

START_S_MAX = 60.0
STOP_S_MAX = 120.0
STORED_S_MAX = 900.0
POLL_S = 0.01
ADDRESSES = ("bson_bind_address", "json_bind_address", "publish_bind_address", "ack_bind_address")


class EventServer:
    """Context manager. The `*_bind_address` of each socket is in `address`, the journal in `journal_dir`.

    with_keys: every socket asks for a key; `keys` are those of a client that is let in.
    """

    def __init__(self, command: str = "eventlog", *, with_keys: bool = False, **settings: object) -> None:
        common = peer_module("common")
        self.home: Path = common.folder("zarkov")
        self.address = {name: f"tcp://127.0.0.1:{port}" for name, port in zip(ADDRESSES, free_ports(4), strict=True)}
        self.data_dir = self.home / "data"
        self.journal_dir = self.data_dir / "journal"
        self._command = command
        self._settings = {**self.address, "data_dir": str(self.data_dir), **settings}
        self.keys = self._make_keys() if with_keys else None
        self._process: subprocess.Popen[bytes] | None = None
        self._journal: Any = None

    def __enter__(self) -> "EventServer":
        self.start()
        return self

    def start(self) -> None:
        """Start the server, also again on the same data."""
        # JSON is YAML, so no YAML library is needed here.
        config = self.home / "zarkov.yaml"
        config.write_text(json.dumps(self._settings))
        zcmd = Path(sys.executable).with_name("zcmd")
        with open(self.log_path, "wb") as log:
            self._process = subprocess.Popen(
                [zcmd, "-y", config, self._command], stdout=log, stderr=log, start_new_session=True, cwd=self.home
            )
        try:
            self._await_answer()
        except BaseException:
            self.stop()
            raise

    def __exit__(self, *exc: object) -> None:
        self.stop()

    def _make_keys(self) -> "Keys":
        from zarkov.client import Keys
        from zarkov.keyfiles import KeyPair, write_pair, write_public

        folder, allow = self.home / "keys", self.home / "keys" / "allow"
        allow.mkdir(parents=True)
        server, client = (KeyPair(*zmq.curve_keypair()) for _ in range(2))
        _, server_file = write_pair(folder, "server", server)
        write_public(allow / "client.key", client.public)
        self._settings["curve"] = {"server_key_file": str(server_file), "allow": str(allow)}
        return Keys(client.secret, client.public, server.public)

    @property
    def log_path(self) -> Path:
        return self.home / "server.log"

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def _await_answer(self) -> None:
        """PING the acknowledging channel until it answers."""
        with zmq.Context() as context, context.socket(zmq.DEALER) as sock:
            sock.linger = 0
            if self.keys is not None:
                self.keys.secure(sock)
            sock.connect(self.address["ack_bind_address"])
            sock.send_multipart([b"ZK1", b"PING", b"bench"])
            deadline = time.monotonic() + START_S_MAX
            while not sock.poll(200):
                if self._process is None or self._process.poll() is not None:
                    raise RuntimeError(f"the server ended at once: {self._log_tail()}")
                if time.monotonic() > deadline:
                    raise TimeoutError(f"the server did not answer in {START_S_MAX:.0f} s: {self._log_tail()}")

    def _log_tail(self) -> str:
        return self.log_path.read_bytes()[-2000:].decode(errors="replace")

    def next_offset(self) -> int:
        """How many events are synced, as any reader of the journal sees it."""
        if self._journal is None:
            from zarkov.journal import Journal

            self._journal = Journal.open(self.journal_dir)
        return int(self._journal.next_offset)

    def await_stored(self, count: int) -> None:
        """Return when `count` events are synced. Raises: TimeoutError."""
        deadline = time.monotonic() + STORED_S_MAX
        while (stored := self.next_offset()) < count:
            if time.monotonic() > deadline:
                raise TimeoutError(f"{stored} of {count} events are stored: {self._log_tail()}")
            time.sleep(POLL_S)

    def pss_mb(self) -> float:
        """Summed PSS (shared pages counted once) of the server and its children."""
        total_kib = 0
        for process in peer_module("common").tree(self.pid):
            with contextlib.suppress(OSError), open(f"/proc/{process.pid}/smaps_rollup") as rollup:
                total_kib += sum(int(line.split()[1]) for line in rollup if line.startswith("Pss:"))
        return total_kib / 1024

    def disk_bytes(self) -> int:
        """Bytes that the journal's directory takes on the disk: allocated blocks, not file sizes."""
        return sum(path.stat().st_blocks * 512 for path in self.journal_dir.rglob("*") if path.is_file())

    def stop(self) -> None:
        """SIGTERM, and wait for the drain; SIGKILL to the group when it takes longer than STOP_S_MAX."""
        if self._journal is not None:
            self._journal.close()
            self._journal = None
        process, self._process = self._process, None
        if process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(signal.SIGTERM)
        try:
            process.wait(STOP_S_MAX)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def free_ports(count: int) -> Iterator[int]:
    """Ports that nobody listens on just now; all are held until the last one is known."""
    with contextlib.ExitStack() as held:
        socks = [held.enter_context(socket.socket()) for _ in range(count)]
        for sock in socks:
            sock.bind(("127.0.0.1", 0))
        ports = [sock.getsockname()[1] for sock in socks]
    return iter(ports)
