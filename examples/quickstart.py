"""Start a server, send it real events, compute on them, ask it questions, and serve until Ctrl-C. This is `make run`.

The events are a sample of the public commit histories of 33 open-source projects, sent the first time this runs. With
ONCE=1 in the environment the server is stopped after the results are shown.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import bson
from bson import ObjectId
from rich.console import Console
from rich.progress import track
from rich.table import Table

from zarkov.cli.options import Options
from zarkov.cli.settings import load
from zarkov.cli.wiring import open_model
from zarkov.cli.zmr_wiring import open_zmr
from zarkov.client import ZarkovClient
from zarkov.event import parse_rfc3339

HERE = Path(__file__).parent
ZCMD = Path(sys.executable).with_name("zcmd")
ACK_ADDRESS = "tcp://127.0.0.1:6546"
READY_TIMEOUT_S = 30.0
JOB_TIMEOUT_S = 60.0

console = Console()


def sample_events() -> Iterator[bytes]:
    """The sample as BSON, each event with an `_id` made from its line: it tells whether it was sent before."""
    with gzip.open(HERE / "events.ndjson.gz", "rt", encoding="utf-8") as lines:
        for number, line in enumerate(lines):
            event = json.loads(line)
            event["timestamp"] = parse_rfc3339(event["timestamp"])
            oid = ObjectId(hashlib.blake2b(f"{number}:{line}".encode(), digest_size=12).digest())
            yield bson.encode({"_id": oid, **event})


def start_server() -> subprocess.Popen[bytes]:
    """`zcmd serve` on the default ports, with its data in `zarkov-data`; returns once it listens."""
    host, _, port = ACK_ADDRESS.removeprefix("tcp://").partition(":")
    with socket.socket() as probe:
        if probe.connect_ex((host, int(port))) == 0:
            sys.exit(f"Something listens on {ACK_ADDRESS} already; stop it first (is another `make run` open?).")
    server = subprocess.Popen([ZCMD, "serve"])
    deadline = time.monotonic() + READY_TIMEOUT_S
    while time.monotonic() < deadline and server.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex((host, int(port))) == 0:
                return server
        time.sleep(0.05)
    server.terminate()
    sys.exit("The server did not start; its messages stand above.")


def send_sample() -> None:
    """Send the sample over the acknowledging channel, unless an earlier run did."""
    events = list(sample_events())
    with open_model(load(Options()).settings) as zm:
        if zm.event.m.get(_id=bson.decode(events[-1])["_id"]) is not None:
            console.print(f"The {len(events):,} real events of the sample are there from an earlier run.\n")
            return
    with ZarkovClient(ACK_ADDRESS, ack=True) as client:
        for event in track(events, "Sending real events", console=Console(stderr=True), transient=True):
            client.send_encoded([event])
    console.print(f"{len(events):,} real events sent, and acknowledged after the sync.\n")


def by_project(events: Iterator[dict[str, Any]]) -> Iterator[tuple[str, dict[str, int]]]:
    for event in events:
        yield event["context"]["project"], {"commits": 1, "lines": event["extra"]["insertions"]}


def add(key: str, values: list[dict[str, int]]) -> dict[str, int]:
    return {name: sum(value[name] for value in values) for name in values[0]}


def compute() -> None:
    """An aggregate: two plain functions, run over the events by the server's workers."""
    with open_zmr(load(Options()).settings) as zmr:
        job = zmr.mapreduce(by_project, add, query={"type": "commit"}, output="commits_by_project")
        job.wait(JOB_TIMEOUT_S)
    console.print("Map-reduce over the commits wrote the collection commits_by_project.\n")


def show_results() -> None:
    """A few questions, answered through the same mapping that the shell has."""
    with open_model(load(Options()).settings) as zm:
        events = zm.event.m
        by_type = Table(title="Events by type", title_justify="left")
        by_type.add_column("type")
        by_type.add_column("events", justify="right")
        for kind in ("commit", "file_change"):
            by_type.add_row(kind, f"{events.find({'type': kind}).count():,}")
        console.print(by_type)

        busiest = Table(title="Commits by project, the five busiest", title_justify="left")
        for name in ("project", "commits", "lines added"):
            busiest.add_column(name, justify="left" if name == "project" else "right")
        for found in zm.db["commits_by_project"].find().sort("value.commits", -1).limit(5):
            busiest.add_row(found["_id"], f"{found['value']['commits']:,}", f"{found['value']['lines']:,}")
        console.print(busiest)

        latest = Table(title="The latest commits", title_justify="left")
        for name in ("timestamp", "project", "user"):
            latest.add_column(name)
        for event in events.find({"type": "commit"}).sort("timestamp", -1).limit(3):
            latest.add_row(f"{event.timestamp:%Y-%m-%d %H:%M}", event.context["project"], event.context["user"])
        console.print(latest)


def show_what_next() -> None:
    console.print(
        "\n[bold]The server runs[/bold]; its data is in [bold]zarkov-data[/bold]. In another terminal:\n\n"
        '  echo \'{"type":"nop"}\' | .venv/bin/zsend.py tcp://localhost:6543   send an event\n'
        "  .venv/bin/zcmd find --type nop                                     find it\n"
        "  .venv/bin/zcmd tail                                                watch events arrive\n"
        "  .venv/bin/zcmd stats                                               what the server has done\n"
        "  .venv/bin/zcmd jobs                                                the map-reduce that ran\n"
        "  .venv/bin/zcmd shell                                               ask in Python: ZM, zmr\n",
        highlight=False,
    )


def main() -> int:
    os.chdir(HERE.parent)
    server = start_server()
    try:
        send_sample()
        compute()
        show_results()
        if os.environ.get("ONCE") != "1":
            show_what_next()
            console.print("Ctrl-C stops it.")
            server.wait()
    except KeyboardInterrupt:
        pass
    finally:
        if server.poll() is None:
            server.send_signal(signal.SIGTERM)
        server.wait()
    return 0


if __name__ == "__main__":
    sys.exit(main())
