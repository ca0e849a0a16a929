"""The programs of examples/, as they stand, against a real server."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from running import ZCMD, RunningServer, free_port
from waiting import wait_until
from zarkov.journal.reader import Journal

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RunningServer]:
    with RunningServer(tmp_path) as running:
        yield running


def stored(server: RunningServer) -> list[dict[str, Any]]:
    with Journal.open(server.data_dir / "journal") as journal:
        return [document for _, document in journal.read(0)]


def get(url: str) -> int:
    try:
        with urllib.request.urlopen(url, timeout=20) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        with error:
            return error.code


def test_the_web_programs_logging_arrives_its_traceback_and_its_last_words_too(server: RunningServer) -> None:
    port = free_port()
    url = f"http://127.0.0.1:{port}/orders"
    program = subprocess.Popen(
        [sys.executable, "-W", "error", EXAMPLES / "wsgi_logging.py", server.ack, str(port)], stderr=subprocess.PIPE
    )
    try:
        wait_until(lambda: len(stored(server)) == 1 or program.poll() is not None)
        assert [get(f"{url}/{order}?user=ada") for order in ("17", "18", "19")] == [200, 500, 404]
    finally:
        program.send_signal(signal.SIGTERM)
        _, errors = program.communicate(timeout=30)
    assert program.returncode == 0, errors
    events = stored(server)
    found = [(event["context"]["level"], event["extra"]["message"]) for event in events]
    assert found == [
        ("INFO", "serving"),
        ("INFO", "order shown to ada"),
        ("ERROR", "order cannot be shown"),
        ("WARNING", "no such order"),
        ("INFO", "stopped"),
    ]
    assert [event["context"]["user"] for event in events[1:4]] == ["ada"] * 3
    assert "ZeroDivisionError" in events[2]["extra"]["traceback"]


def test_the_asyncio_programs_tasks_share_a_client(server: RunningServer) -> None:
    command = [sys.executable, "-W", "error", EXAMPLES / "asyncio_client.py", server.ack]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.startswith("520 events acknowledged in ")
    events = stored(server)
    for number in range(20):
        mine = [event for event in events if event["context"]["user"] == f"user{number}"]
        assert [event["type"] for event in mine] == ["step"] * 25 + ["signup"]


def test_the_shell_script_goes_on_only_when_its_events_are_stored(server: RunningServer) -> None:
    done = subprocess.run(
        [EXAMPLES / "send.sh"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, "ZCMD": str(ZCMD), "ACK": server.ack},
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "deployment begun, event 0\n1-3\n4\n"
    assert [event["type"] for event in stored(server)] == ["deploy", "restart", "restart", "restart", "deployed"]
    assert json.dumps(stored(server)[0]["extra"]) == '{"by": "ada"}'
