"""Intermediate data in memory and in files."""

import shutil
from pathlib import Path

import pytest

from zarkov.zmr.spill import Spill, leftovers


def test_runs_beyond_the_budget_lie_in_a_file_and_read_back_the_same(tmp_path: Path) -> None:
    with Spill(tmp_path, memory_bytes_max=10) as store:
        given = [bytes([n]) * (n + 1) for n in range(8)]
        runs = [store.put("j", data) for data in given]
        assert [store.get(run) for run in runs] == given
        assert store.memory_bytes == sum(map(len, given[:4]))
        assert store.spilled_bytes == sum(map(len, given[4:]))
        assert [path.name for path in tmp_path.iterdir()] == ["job-j"]
    assert list(tmp_path.iterdir()) == []


def test_a_dropped_job_gives_its_memory_back_and_takes_its_files_with_it(tmp_path: Path) -> None:
    with Spill(tmp_path, memory_bytes_max=5) as store:
        store.put("a", b"12345")
        other = store.put("b", b"kept in a file")
        gone = store.put("a", b"in a file too")
        store.drop("a")
        assert store.memory_bytes == 0
        assert store.get(other) == b"kept in a file"
        with pytest.raises(OSError, match="not there"):
            store.get(gone)
        assert [path.name for path in tmp_path.iterdir()] == ["job-b"]


def test_what_somebody_still_needs_is_no_leftover(tmp_path: Path) -> None:
    with Spill(tmp_path, memory_bytes_max=0) as store:
        store.put("a", b"x")
        assert leftovers(tmp_path) == []
        shutil.copytree(tmp_path / "job-a", tmp_path / "job-killed")
        assert [path.name for path in leftovers(tmp_path)] == ["job-killed"]


def test_only_folders_of_jobs_are_leftovers(tmp_path: Path) -> None:
    (tmp_path / "job-1").mkdir()
    (tmp_path / "photos").mkdir()
    (tmp_path / "job-file").write_text("")
    (tmp_path / "job-link").symlink_to(tmp_path / "photos")
    assert [path.name for path in leftovers(tmp_path)] == ["job-1"]


def test_an_empty_run_needs_no_file(tmp_path: Path) -> None:
    with Spill(tmp_path, memory_bytes_max=0) as store:
        assert store.get(store.put("j", b"")) == b""
        assert store.get(store.put("j", b"x")) == b"x"
