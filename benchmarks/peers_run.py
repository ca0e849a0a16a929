"""Which peers are installed, and one round of them in processes of their own."""

import json
import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.peerage import PEERS
from benchmarks.processes import TookTooLong, run_bounded
from benchmarks.rows import Peer

HERE = Path(__file__).resolve().parent
HOW_TO_INSTALL = "not installed (as root: benchmarks/setup.sh)"
PEER_S_MAX = 300.0
# Debian keeps PostgreSQL's and RabbitMQ's programs out of an ordinary PATH.
MORE_PATHS = ("/usr/sbin", *map(str, sorted(Path("/usr/lib/postgresql").glob("*/bin"))))


@dataclass(frozen=True, slots=True)
class PeerFigure:
    """rate in events/s; pace_ms and other_cores as in timing.Sample."""

    rate: float
    pace_ms: float
    other_cores: float


class PeersMissing(Exception):
    """A peer cannot be measured; the text says why and what to do."""


def peers_dir() -> Path:
    return Path(os.environ.get("PEERS_DIR", Path(tempfile.gettempdir()) / "peers"))


def environment() -> dict[str, str]:
    path = os.pathsep.join((os.environ.get("PATH", ""), *MORE_PATHS))
    return {**os.environ, "PATH": path, "BENCH_RUNS": "1", "PYTHONDONTWRITEBYTECODE": "1"}


def peers_environment() -> dict[str, str]:
    """Processes that a peer starts find its module by name."""
    return {**environment(), "PYTHONPATH": str(PEERS)}


def measure_peers(peers: Sequence[Peer]) -> tuple[Mapping[str, PeerFigure], Mapping[str, str]]:
    """One figure of each peer by its label, and the reason for each that gave none."""
    figures: dict[str, PeerFigure] = {}
    missing: dict[str, str] = {}
    for script in dict.fromkeys(peer.script for peer in peers):
        wanted = [peer for peer in peers if peer.script == script]
        try:
            rows = _drive(script, wanted)
        except PeersMissing as error:
            missing |= {peer.label: str(error) for peer in wanted}
            continue
        for peer in wanted:
            row = rows.get(peer.variant)
            if row is None:
                missing[peer.label] = f"benchmarks/peers/{script}.py has no variant '{peer.variant}'"
            else:
                pace, other = float(str(row["pace_ms"])), float(str(row["other_cpu"]))
                figures[peer.label] = PeerFigure(float(str(row["rate"])), pace, other)
    return figures, missing


def _drive(script: str, wanted: Sequence[Peer]) -> dict[str, dict[str, object]]:
    python, env = peers_dir() / "v" / "bin" / "python", peers_environment()
    needs = [peer.needs for peer in wanted if peer.needs]
    modules = [peer.module for peer in wanted if peer.module]
    if not python.exists() or any(shutil.which(command, path=env["PATH"]) is None for command in needs):
        raise PeersMissing(HOW_TO_INSTALL)
    if modules and not _importable(python, modules):
        raise PeersMissing(HOW_TO_INSTALL)
    if "postgres" in needs or "rabbitmq-server" in needs:
        _must_be_root(script)
    logs = peers_dir() / "logs"
    logs.mkdir(parents=True, exist_ok=True)
    log = logs / f"driver-{script}.log"
    with tempfile.TemporaryDirectory() as folder, open(log, "wb") as out:
        result = Path(folder) / "rows.json"
        command = [str(python), str(HERE / "peer_driver.py"), script, str(result), *(p.variant for p in wanted)]
        try:
            status, _, _ = run_bounded(command, PEER_S_MAX, env=env, output=out)
        except TookTooLong as error:
            raise PeersMissing(f"{error} ({log.name} in PEERS_DIR/logs)") from None
        if status or not result.exists():
            raise PeersMissing(f"failed ({log.name} in PEERS_DIR/logs says why)")
        rows: list[dict[str, object]] = json.loads(result.read_text())
    return {str(row["variant"]): row for row in rows}


def _importable(python: Path, modules: Sequence[str]) -> bool:
    """Whether the peers' Python has these packages; nothing is imported."""
    code = f"import sys; from importlib.util import find_spec; sys.exit(not all(map(find_spec, {list(modules)!r})))"
    status, _, _ = run_bounded([str(python), "-c", code], PEER_S_MAX, env=environment())
    return status == 0


def _must_be_root(script: str) -> None:
    """The scripts start PostgreSQL as its own user, and RabbitMQ as root."""
    if os.geteuid() != 0:
        raise PeersMissing(f"{script}.py starts its server as another user: run as root")
