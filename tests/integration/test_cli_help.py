"""Help, usage errors and settings on the command line."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from commands import ok, run
from zarkov.cli.app import app

COMMANDS = [
    *("serve", "eventlog", "shell", "script", "find", "tail", "export", "stats", "rotate", "perftest", "init"),
    *("check-config", "rejected list", "rejected show", "rejected replay", "rejected purge"),
    *("journal info", "journal verify", "journal dump", "journal repair"),
]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_with_an_example(command: str) -> None:
    shown = CliRunner().invoke(app, [*command.split(), "--help"], terminal_width=120)
    assert shown.exit_code == 0
    assert "Example" in shown.output
    assert f"zcmd {command.split()[0]}" in shown.output


def test_help_shows_the_help_of_a_command() -> None:
    assert ok("help", "rejected", "list").out == ok("rejected", "list", "--help").out
    assert ok("help").out == ok("--help").out


def test_the_list_of_commands_is_complete() -> None:
    shown = ok("--help").out
    missing = [command for command in COMMANDS if f"│ {command.split()[0]} " not in shown]
    assert missing == []


def test_help_loads_nothing_heavy() -> None:
    probe = (
        "import sys\nsys.argv = ['zcmd', '--help']\nfrom zarkov.cli.app import main\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "heavy = {'IPython', 'ming', 'pyarrow', 'pymongo', 'gevent', 'zmq', 'apsw'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("module", ["zarkov.cli.serve", "zarkov.cli.eventlog"])
def test_the_servers_processes_do_without_typer_and_rich(module: str) -> None:
    heavy = {"typer", "rich", "IPython", "ming", "pyarrow"}
    probe = f"import sys, {module}\nfound = {heavy} & set(sys.modules)\nassert not found, found"
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("arguments", [["nonsense"], ["find", "--nonsense"], ["perftest", "tcp://x:1"], ["rotate"]])
def test_wrong_usage_ends_with_two(arguments: list[str]) -> None:
    ran = run(*arguments)
    assert ran.code == 2
    assert ran.out == ""
    assert "Traceback" not in ran.err


def test_a_wrong_setting_is_one_sentence_with_a_hint_and_exit_code_two() -> None:
    ran = run("--set", "web_prot=1", "check-config")
    assert ran.code == 2
    assert ran.err == (
        "error: --set web_prot in the command line is not a setting. [config_invalid]\nDid you mean web_port?\n"
    )


def test_check_config_shows_each_value_with_its_origin(tmp_path: Path) -> None:
    path = tmp_path / "dev.yaml"
    path.write_text("web_port: 9000\nmongo_password: s3cret\njournal_file_size: 200000000\nzmr: {local_workers: 4}\n")
    ran = ok("-y", path, "--set", "window_max=9", "check-config", "--json", ZARKOV_ZMR__COMPRESS="3")
    shown = json.loads(ran.out)
    assert shown["web_port"] == {"value": 9000, "origin": str(path), "unit": ""}
    assert shown["zmr.local_workers"]["value"] == 4
    assert shown["zmr.compress"] == {"value": 3, "origin": "the environment", "unit": ""}
    assert shown["window_max"] == {"value": 9, "origin": "the command line", "unit": "batches"}
    assert shown["segment_bytes_max"]["value"] == 200_000_000
    assert shown["journal"] == {"value": "journal", "origin": "default", "unit": ""}
    assert "s3cret" not in ran.out
    assert ran.err.startswith("warning: journal_file_size in ")
    table = ok("-y", path, "check-config", "--changed").out
    assert "web_port" in table
    assert "bson_bind_address" not in table
    assert "s3cret" not in table


def test_init_config_writes_a_commented_file_that_loads_and_is_not_overwritten(tmp_path: Path) -> None:
    ran = ok("init", "--config", folder=tmp_path)
    assert "zarkov.yaml" in ran.out
    text = (tmp_path / "zarkov.yaml").read_text()
    assert '#bson_bind_address: "tcp://127.0.0.1:6543"' in text
    shown = json.loads(ok("-y", "zarkov.yaml", "check-config", "--json", folder=tmp_path).out)
    assert {each["origin"] for each in shown.values()} == {"default"}
    again = run("init", "--config", "zarkov.yaml", folder=tmp_path)
    assert again.code == 2
    assert "exists already" in again.err
    assert (tmp_path / "zarkov.yaml").read_text() == text


def test_the_version_is_printed() -> None:
    assert ok("--version").out.startswith("zarkov ")
