"""A real server that speaks MongoDB's wire protocol, in a process of its own, for tests.

It is FerretDB on SQLite files (`.venv/ferretdb`, built by scripts/mongo_server.sh), or the server that
ZARKOV_TEST_MONGO_URI names; that one is never killed or paused: tests that do so are skipped.
"""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import uuid
from pathlib import Path
from types import TracebackType
from typing import Any

import pymongo
import pytest
from pymongo.errors import PyMongoError

from running import free_port
from waiting import wait_until

PROGRAM = Path(sys.prefix) / "ferretdb"
NAMED = os.environ.get("ZARKOV_TEST_MONGO_URI", "")
NOT_HERE = f"no MongoDB to test with: run scripts/mongo_server.sh (it makes {PROGRAM}) or set ZARKOV_TEST_MONGO_URI"


def need_mongo() -> None:
    """Skip the test where there is no server to test with; in CI fail it."""
    if not NAMED and not os.access(PROGRAM, os.X_OK):
        (pytest.fail if os.environ.get("CI") else pytest.skip)(NOT_HERE)


class MongoServer:
    """A server on a port and a data folder of its own, which both stay the same when it is started again.

    `with MongoServer() as server` starts it; `need_mongo()` comes before, where the fixture `mongo` is not used.
    """

    def __init__(self) -> None:
        self.process: subprocess.Popen[bytes] | None = None
        self.is_named = bool(NAMED)
        self.made: list[str] = []
        self.folder = Path()
        self.uri = NAMED
        if not self.is_named:
            self.folder = Path(tempfile.mkdtemp(prefix="zarkov-mongo-"))
            (self.folder / "data").mkdir()
            self.address = f"127.0.0.1:{free_port()}"
            self.uri = f"mongodb://{self.address}/"

    def start(self, *, wait: bool = True) -> "MongoServer":
        """Start it, or start it again over the same data."""
        if not self.is_named:
            with (self.folder / "server.log").open("ab") as log:
                self.process = subprocess.Popen(
                    [PROGRAM, self.address, self.folder / "data"],
                    stdin=subprocess.PIPE,  # it ends when this pipe does: it never outlives the tests
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                )
        if wait:
            wait_until(self.answers, 60)
        return self

    def answers(self) -> bool:
        """Whether it answers now."""
        assert self.process is None or self.process.poll() is None, self.log()
        try:
            with self.client(timeout_s=1) as client:
                client.admin.command("ping")
        except PyMongoError:
            return False
        return True

    def kill(self) -> None:
        """SIGKILL, as a power cut would stop it."""
        process = self._own()
        process.kill()
        process.wait(30)
        assert process.stdin is not None
        process.stdin.close()

    def pause(self) -> None:
        """SIGSTOP: connections stay open, nothing is answered. Returns when it has stopped."""
        process = self._own()
        process.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, process.pid, os.WSTOPPED)

    def resume(self) -> None:
        """SIGCONT: what was asked meanwhile is answered."""
        self._own().send_signal(signal.SIGCONT)

    def client(self, timeout_s: float = 30) -> pymongo.MongoClient[dict[str, Any]]:
        """A bare pymongo client, to look at the server past Zarkov; the caller closes it."""
        wait_ms = int(timeout_s * 1000)
        return pymongo.MongoClient(
            self.uri, serverSelectionTimeoutMS=wait_ms, connectTimeoutMS=wait_ms, socketTimeoutMS=wait_ms
        )

    def database(self) -> str:
        """A name for a database that nobody else uses; on a server that stays, it is dropped at the end."""
        self.made.append(f"zarkov_test_{uuid.uuid4().hex[:12]}")
        return self.made[-1]

    def log(self) -> str:
        """What the server said."""
        path = self.folder / "server.log"
        return "" if self.is_named or not path.exists() else path.read_text()[-4000:]

    def put_down(self) -> None:
        """Leave neither a process nor data behind."""
        if self.is_named:
            with self.client() as client:
                for name in self.made:
                    client.drop_database(name)
            return
        if self.process is not None and self.process.poll() is None:
            self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self) -> "MongoServer":
        try:
            return self.start()
        except BaseException:
            self.put_down()
            raise

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if kind is not None:
            print(self.log())
        self.put_down()

    def _own(self) -> subprocess.Popen[bytes]:
        if self.process is None:
            pytest.skip("the server of ZARKOV_TEST_MONGO_URI is not this test's to kill or pause")
        return self.process
