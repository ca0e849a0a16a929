"""kill -9 in the middle of a migration: the next attempt goes on, and in the end both sides are the same."""

import os
import random
import signal
import subprocess
from pathlib import Path

import pytest

from migrating import Migrating, content, fill
from mongod import MongoServer
from running import ZCMD

ROUNDS = int(os.environ.get("ZARKOV_TEST_ROUNDS", "50" if os.environ.get("CI") else "10"))
#: Small batches, so that there are many places to die at.
SMALL = ("loader_batch_events_max=10",)


def migrate_through_kills(migrating: Migrating, data_dir: Path, direction: str, point: str, every: int) -> int:
    """Migrate, killed at the same named point again and again; returns how often."""
    kills = 0
    while True:
        ran = migrating.run(data_dir, direction, settings=SMALL, ZARKOV_CRASH_AT=f"{point}:{every}")
        if ran.code != -signal.SIGKILL:
            assert ran.code == 0, ran.err
            return kills
        kills += 1
        assert kills < 200, "every attempt goes a step further"


@pytest.mark.parametrize("point", ["before_insert", "after_insert", "after_checkpoint"])
def test_to_mongo_killed_at_a_named_point_again_and_again(tmp_path: Path, mongo: MongoServer, point: str) -> None:
    migrating = Migrating(mongo)
    before = fill(tmp_path / "a")
    kills = migrate_through_kills(migrating, tmp_path / "a", "to-mongo", point, 5)
    assert kills >= 2
    migrating.moved(tmp_path / "a", "to-mongo", "--verify-only")
    migrating.moved(tmp_path / "b", "to-embedded")
    assert content(tmp_path / "b") == before


@pytest.mark.parametrize("point", ["before_commit", "after_commit", "in_rotate"])
def test_to_embedded_killed_at_a_named_point_again_and_again(tmp_path: Path, mongo: MongoServer, point: str) -> None:
    migrating = Migrating(mongo)
    before = fill(tmp_path / "a")
    migrating.moved(tmp_path / "a", "to-mongo")
    kills = migrate_through_kills(migrating, tmp_path / "b", "to-embedded", point, 2 if point == "in_rotate" else 5)
    assert kills >= 2
    assert content(tmp_path / "b") == before


@pytest.mark.parametrize("direction", ["to-mongo", "to-embedded"])
def test_kills_at_any_moment_lose_nothing_and_double_nothing(
    tmp_path: Path, mongo: MongoServer, direction: str
) -> None:
    migrating = Migrating(mongo)
    rng = random.Random(20261124)
    before = fill(tmp_path / "a")
    folder = tmp_path / "a"
    if direction == "to-embedded":
        migrating.moved(folder, "to-mongo")
        folder = tmp_path / "b"
    command = [
        str(each) for each in (ZCMD, *migrating.options(folder, "loader_batch_events_max=1"), "migrate", direction)
    ]
    kills = 0
    for _ in range(ROUNDS):
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
            try:
                process.wait(rng.uniform(0.3, 2.0))
            except subprocess.TimeoutExpired:
                process.kill()
                kills += 1
            else:
                assert process.stderr is not None
                assert process.returncode == 0, process.stderr.read()
    assert kills
    migrating.moved(folder, direction)
    if direction == "to-mongo":
        folder = tmp_path / "b"
        migrating.moved(folder, "to-embedded")
    assert content(folder) == before
