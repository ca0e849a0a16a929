"""The examples of the documentation run as they stand, against a real server."""

import json
import os
import re
import socket
import subprocess
from pathlib import Path

import pytest

from programs import script
from running import ZCMD, RunningServer, zcmd
from waiting import wait_until
from zarkov.client import ZarkovClient

ROOT = Path(__file__).parents[2]
SAMPLE = ROOT / "examples" / "events.ndjson.gz"
#: Page -> how many events its Python examples store.
PYTHON_PAGES = {"README.md": 2, "docs/protocol.md": 10, "docs/python.md": 1001}
#: Page -> how many events its Python examples store, each of them a program of its own.
PROGRAM_PAGES = {"docs/clients.md": 105}
SHELL_PAGES = [
    "README.md",
    *(f"docs/{name}.md" for name in ("clients", "commands", "configuration", "operations", "python", "querying")),
    *(f"docs/{name}.md" for name in ("map-reduce", "tutorial")),
]
#: Commands that run until they are stopped.
ENDLESS = re.compile(r"zcmd (?:-\S+ \S+ )*(?:serve|eventlog|balancer|zmr-router|zmr-worker|tail|stats --watch)\b")
#: Commands that need a router and workers.
COMPUTING = re.compile(r"zcmd (?:-\S+ \S+ )*(?:mapreduce|jobs cancel)\b")
#: Commands that need MongoDB, or a loader's mark: tests/integration/test_migrate.py and those of the loader run them.
ON_MONGO = re.compile(r"zcmd (?:-\S+ \S+ )*(?:migrate|loader|journal forget)\b")
#: Commands after which the others would find nothing, or that need the server stopped.
LATE = re.compile(r"zcmd (?:-\S+ \S+ )*(?:init --yes|journal repair)")
REJECTED, STORED = 8, 4_509
#: What is refused stays refused: the command says so by its exit code.
FAILING = {"rejected replay"}


def blocks(page: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", (ROOT / page).read_text(), re.S)


@pytest.mark.parametrize("page", PYTHON_PAGES)
def test_the_python_examples_of_a_page_run(page: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names: dict[str, object] = {"__name__": "__example__"}
    with RunningServer(tmp_path) as server:
        for block in blocks(page, "python"):
            text = block.replace("tcp://localhost:6543", server.bson).replace("tcp://localhost:6546", server.ack)
            text = text.replace("zarkov-data/journal", str(server.data_dir / "journal"))
            exec(compile(text, page, "exec"), names)  # noqa: S102 - the documentation's own text
            assert ("print(" in block) == bool(capsys.readouterr().out.strip()), block
        stored = str(PYTHON_PAGES[page])
        wait_until(lambda: zcmd("find", "--count", settings=server.settings).strip() == stored)


@pytest.mark.parametrize("page", PROGRAM_PAGES)
def test_each_python_example_of_a_page_is_a_program_that_runs(page: str, tmp_path: Path) -> None:
    with RunningServer(tmp_path) as server:
        for block in blocks(page, "python"):
            text = block.replace("tcp://localhost:6543", server.bson).replace("tcp://localhost:6546", server.ack)
            text = text.replace("signup.spool", str(tmp_path / "signup.spool"))
            done = script(text)
            assert (done.returncode, done.stderr) == (0, ""), block
            assert ("print(" in block) == bool(done.stdout.strip()), block
        stored = str(PROGRAM_PAGES[page])
        wait_until(lambda: zcmd("find", "--count", settings=server.settings).strip() == stored)


class Shell:
    """Runs the shell examples of a page: the addresses, files and settings in them are those of a server here."""

    def __init__(self, server: RunningServer, folder: Path) -> None:
        self.server, self.folder = server, folder / "here"
        self.folder.mkdir()
        (self.folder / "count.py").write_text("print(ZM.event.m.find().count())\n")
        (self.folder / "examples").symlink_to(ROOT / "examples")
        (self.folder / "my_job.py").write_text(next(iter(blocks("docs/tutorial.md", "python"))))

    def fill(self) -> None:
        """The sample's events, one of each type the examples ask for, and some that are refused."""
        subprocess.run(f"zcat {SAMPLE} | {ZCMD.with_name('zsend.py')} {self.server.bson}", shell=True, check=True)
        with ZarkovClient(self.server.ack, ack=True) as client:
            client.event("nop")
            client.event("login", {"user": "ada"})
        with ZarkovClient(self.server.bson) as client:
            for _ in range(REJECTED):
                client.event("")
        wait_until(self.has_all)

    def has_all(self) -> bool:
        stats = json.loads(zcmd("stats", "--json", settings=self.server.settings))
        return bool(stats["events_rejected"] == REJECTED and stats["events_synced"] == STORED)

    def newest_job(self) -> str:
        """The id of the latest job."""
        return str(json.loads(zcmd("jobs", "--json", settings=self.server.settings))[0]["_id"])

    def run(self, line: str) -> str:
        """Run one line as it stands, with this server's names in it; returns what it printed."""
        text = re.sub(r"zcmd (?:-y (?:development|zarkov)\.yaml|--data-dir \S+) ", "zcmd ", line)
        text = re.sub(r"\bzcmd ", f"{ZCMD} -y {self.server.settings} ", text)
        text = re.sub(r"(?<![\w/])zsend\.py ", f"{ZCMD.with_name('zsend.py')} ", text)
        text = re.sub(r"(perftest \S+) \d+ (\d+) \d+", r"\1 200 \2 1000", text)
        if "zcmd jobs " in line:
            text = text.replace("4e2723eeb240217416000001", self.newest_job())
        for name, here in {
            "tcp://localhost:6543": self.server.bson,
            "tcp://localhost:6546": self.server.ack,
            "/var/backups": str(self.folder / "backups"),
            "/etc/zarkov": str(self.folder / "etc"),
            "examples/events.ndjson.gz": str(SAMPLE),
        }.items():
            text = text.replace(name, here)
        done = subprocess.run(
            ["bash", "-o", "pipefail", "-c", text],
            cwd=self.folder,
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            check=False,
            timeout=60,
            env={**os.environ, "PYTHONWARNINGS": "ignore"},
        )
        expected = {1} if any(failing in line for failing in FAILING) else {0}
        assert done.returncode in expected, f"{line}\n{done.stdout}\n{done.stderr}"
        return done.stdout


def lines_of(page: str) -> list[str]:
    """The commands of the shell blocks; where a block has prompts, what stands behind them."""
    found: list[str] = []
    for block in blocks(page, "sh"):
        lines = block.splitlines()
        prompted = [line[2:] for line in lines if line.startswith("$ ")]
        found += prompted or lines
    skipped = (ENDLESS, ON_MONGO)
    found = [line for line in found if re.search(r"\b(zcmd|zsend\.py) ", line)]
    return [line for line in found if not any(each.search(line) for each in skipped)]


@pytest.mark.parametrize("page", SHELL_PAGES)
def test_the_shell_examples_of_a_page_run(page: str, tmp_path: Path) -> None:
    lines = [line for line in lines_of(page) if line != "zcmd shell"]
    assert lines
    computes = any(COMPUTING.search(line) for line in lines)
    with RunningServer(tmp_path, "serve" if computes else "eventlog") as server:
        shell = Shell(server, tmp_path)
        shell.fill()
        for line in lines:
            if not LATE.search(line):
                printed = shell.run(line)
                if re.search(r"zcmd (find|journal|rejected list)", line) and page != "README.md":
                    assert printed.strip(), f"{line} shows nothing"
        server.stop()
        for line in filter(LATE.search, lines):
            shell.run(line)


def test_the_session_of_the_page_on_querying_runs_in_the_shell(tmp_path: Path) -> None:
    (session,) = [block for block in blocks("docs/querying.md", "text") if "In [1]" in block]
    inputs = re.findall(r"^In \[\d+\]: (.*)$", session, re.M)
    assert len(inputs) > 8
    with RunningServer(tmp_path) as server:
        Shell(server, tmp_path).fill()
        printed = zcmd("shell", settings=server.settings, stdin="\n".join([*inputs, "print('the end')", ""]))
    assert "the end" in printed
    assert re.findall(r"\w*Error\b.*|error: .*", printed) == []


def test_the_page_on_operations_lists_every_command_of_the_control_socket(tmp_path: Path) -> None:
    text = (ROOT / "docs" / "operations.md").read_text().split("## The control socket")[1].split("\n## ")[0]
    named = re.findall(r"^\| `(\w+)` \|", text, re.M)
    with RunningServer(tmp_path) as server, socket.socket(socket.AF_UNIX) as peer:
        peer.connect(str(server.data_dir / "control.sock"))
        peer.sendall(b'{"command": "nonsense"}\n')
        message = json.loads(peer.makefile().readline())["error"]["message"]
    assert sorted(named) == message.partition("known are ")[2].split(", ")
