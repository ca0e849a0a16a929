"""How every call of zcmd ends."""

import subprocess
from pathlib import Path

import pytest

from running import ZCMD
from zarkov.cli import app as cli


@pytest.mark.parametrize("command", ["help find", "check-config", "check-config --json"])
@pytest.mark.parametrize("reader", ["head -n 1", "true"])
def test_a_reader_that_leaves_early_is_no_failure(command: str, reader: str, tmp_path: Path) -> None:
    line = f"{ZCMD} {command} | {reader}"
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", line], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_a_command_that_failed_says_so_though_its_reader_left(tmp_path: Path) -> None:
    line = f"{ZCMD} find --limit none | true"
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", line], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 2


def test_a_pipe_that_breaks_elsewhere_is_a_failure(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def break_off(**_: object) -> None:
        raise BrokenPipeError(32, "Broken pipe")

    monkeypatch.setattr(cli, "app", break_off)
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 1
    assert "Broken pipe" in capfd.readouterr().err
