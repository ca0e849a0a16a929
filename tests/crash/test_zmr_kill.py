"""Routers and workers killed at any moment: every job ends, and its result is what it would have been."""

from __future__ import annotations

import os
import random
import signal
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import bson
import pytest

from journaling import fill, small
from waiting import wait_until
from zmring import COUNTING, Cluster, counted

ROUNDS = int(os.environ.get("ZARKOV_TEST_ROUNDS", "50" if os.environ.get("CI") else "10"))
EVENTS = 1_000


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    fill(tmp_path / "journal", EVENTS, each=100, settings=small(chunk_events_max=100))
    return tmp_path


def held_up(folder: Path) -> dict[str, Any]:
    """COUNTING, where one split waits until `folder/go` is there; `folder/waits` tells that it does."""
    text = f"""
import os, time

def count(events):
    for event in events:
        if event['context']['number'] == 500:
            open({str(folder / "waits")!r}, 'w').close()
            while not os.path.exists({str(folder / "go")!r}):
                time.sleep(0.01)
        yield event['context']['number'] % 10, 1
"""
    return {**COUNTING, "map_text": text}


def test_a_router_killed_in_mid_job_takes_the_job_up_again(folder: Path) -> None:
    with Cluster(folder, map_job_size=100) as cluster:
        job_id = cluster.ask("mapreduce", **held_up(folder), output_name="out")["job_id"]
        wait_until((folder / "waits").exists)
        cluster.kill_router()
        (folder / "go").touch()
        cluster.start_router()
        job = cluster.ended(job_id)
        assert (job["state"], job["runs"]) == ("complete", 2)
        assert cluster.result("out") == counted(range(EVENTS))


def test_a_job_taken_up_again_reads_the_log_as_it_was_when_it_was_submitted(folder: Path) -> None:
    with Cluster(folder, map_job_size=100) as cluster:
        job_id = cluster.ask("mapreduce", **held_up(folder), output_name="out")["job_id"]
        wait_until((folder / "waits").exists)
        cluster.kill_router()
        fill(folder / "journal", 50)
        (folder / "go").touch()
        cluster.start_router()
        assert cluster.ended(job_id)["state"] == "complete"
        assert cluster.result("out") == counted(range(EVENTS))


def test_a_job_that_killed_the_router_so_often_is_not_run_again(folder: Path) -> None:
    with Cluster(folder, job_attempts_max=2) as cluster:
        job_id = cluster.ask("mapreduce", **held_up(folder), output_name="out")["job_id"]
        for _ in range(2):
            wait_until((folder / "waits").exists)
            (folder / "waits").unlink()
            cluster.kill_router()
            cluster.start_router()
        job = cluster.ended(job_id)
        assert job["state"] == "error"
        assert "killed 2 times" in job["error"]


def test_a_router_that_stops_in_order_does_not_count_as_killed(folder: Path) -> None:
    with Cluster(folder, job_attempts_max=1) as cluster:
        job_id = cluster.ask("mapreduce", **held_up(folder), output_name="out")["job_id"]
        wait_until((folder / "waits").exists)
        assert cluster.router is not None
        cluster.router.terminate()
        assert cluster.router.wait(30) == 0
        (folder / "go").touch()
        cluster.start_router()
        assert cluster.ended(job_id)["state"] == "complete"


@pytest.mark.parametrize("output_type", ["replace", "merge", "reduce"])
@pytest.mark.parametrize("point", ["in_publish", "after_publish"])  # Those that a small output comes to.
def test_a_router_killed_while_it_publishes_publishes_once(
    folder: Path, monkeypatch: pytest.MonkeyPatch, point: str, output_type: str
) -> None:
    half = bson.encode({"context.number": {"$lt": 500}})
    with Cluster(folder) as cluster:
        cluster.ask("mapreduce", **COUNTING, query=half, output_name="out", wait=True)
        cluster.kill_router()
        monkeypatch.setenv("ZARKOV_CRASH_AT", point)
        cluster.start_router()
        monkeypatch.delenv("ZARKOV_CRASH_AT")
        rest = bson.encode({"context.number": {"$gte": 500, "$lt": 503}})
        job_id = cluster.ask("mapreduce", **COUNTING, query=rest, output_name="out", output_type=output_type)[
            "job_id"
        ]
        assert cluster.router is not None
        assert cluster.router.wait(30) == -signal.SIGKILL
        cluster.start_router()
        assert cluster.ended(job_id)["state"] == "complete"
        new, old = counted(range(500, 503)), counted(range(500))
        expected = {
            "replace": new,
            "merge": {**old, **new},
            "reduce": {key: old[key] + new.get(key, 0) for key in old},
        }
        assert cluster.result("out") == expected[output_type]


def test_whatever_is_killed_and_when_each_job_counts_each_event_once(folder: Path) -> None:
    dice = random.Random(20261124)
    with Cluster(folder, map_job_size=50, task_attempts_max=100, job_attempts_max=100) as cluster:
        for number in range(ROUNDS):
            job_id = f"round-{number}"
            cluster.ask("mapreduce", **COUNTING, output_name="out", output_type="reduce", job_id=job_id)
            for _ in range(dice.randint(1, 3)):
                time.sleep(dice.random() * 0.08)  # The moment of the kill: any.
                kill_something(cluster, dice)
            assert cluster.ended(job_id)["state"] == "complete"
            expected = {key: (number + 1) * value for key, value in counted(range(EVENTS)).items()}
            assert cluster.result("out") == expected


def kill_something(cluster: Cluster, dice: random.Random) -> None:
    if dice.random() < 0.3:
        cluster.kill_router()
        cluster.start_router()
        return
    workers = cluster.worker_pids()
    if workers:
        with suppress(ProcessLookupError):
            os.kill(dice.choice(workers), signal.SIGKILL)
