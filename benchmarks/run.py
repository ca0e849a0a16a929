"""Measure Zarkov beside its floor and its peers, and print whether each target is reached.

    .venv/bin/python -m benchmarks.run                # everything, three rounds, about 15 minutes
    .venv/bin/python -m benchmarks.run --quick        # one small round: does it all work?
    .venv/bin/python -m benchmarks.run --only push --only read --no-peers

A full run writes benchmarks/RESULTS.md. Exit status: 0 whatever the figures are, 1 when a measurement
of Zarkov or of a floor failed, 2 for a wrong option.
"""

import argparse
import json
import sys
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from benchmarks import machine
from benchmarks.peers_run import environment, measure_peers
from benchmarks.processes import TookTooLong, run_bounded
from benchmarks.report import HEADINGS, Line, Noise, markdown, table_rows
from benchmarks.rows import NAMES, ROWS, Row
from benchmarks.sizes import FULL, QUICK

ROOT = Path(__file__).resolve().parent.parent
RESULTS = Path(__file__).resolve().parent / "RESULTS.md"
MEASURE_S_MAX = 1800.0
SKIPPED = "left out (--no-peers)"


@dataclass(slots=True)
class Collected:
    """What the rounds of one row gave so far. Zarkov's and the floor's lists stay equally long."""

    values: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    floor: list[float] = field(default_factory=list)
    beside: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    missing: dict[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    cores: list[tuple[float, float]] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)


class Failed(Exception):
    """A measurement ended without a sample."""


class Bench:
    """Runs the rounds; nothing is measured in this process."""

    def __init__(self, options: argparse.Namespace, console: Console) -> None:
        self.options, self.console = options, console
        self.pace_ms: list[float] = []
        self.other_cores: list[float] = []

    def measure(self, name: str) -> dict[str, object]:
        """One sample of benchmarks.measure. Raises: Failed."""
        command = [sys.executable, "-m", "benchmarks.measure", name]
        command += ["--quick"] if self.options.quick else []
        command += ["--real", str(self.options.real.resolve())] if self.options.real else []
        try:
            status, printed, errors = run_bounded(command, MEASURE_S_MAX, env=environment(), cwd=ROOT)
        except TookTooLong as error:
            raise Failed(f"{name}: {error}") from None
        if status:
            raise Failed(f"{name}: {errors.strip()[-1500:]}")
        sample: dict[str, object] = json.loads(printed.splitlines()[-1])
        self._noise(float(str(sample["pace_ms"])), float(str(sample["other_cores"])))
        return sample

    def _noise(self, pace_ms: float, other_cores: float) -> None:
        self.pace_ms.append(pace_ms)
        self.other_cores.append(other_cores)

    def row(self, row: Row) -> Collected:
        """All rounds of one row: floor, Zarkov, peers; floor, Zarkov, peers; ..."""
        got = Collected()
        rounds = min(self.options.runs, row.rounds_max)
        for i in range(rounds):
            self.console.print(f"[dim]{row.name}: round {i + 1} of {rounds}[/dim]")
            try:
                self._round(row, got)
            except Failed as failure:
                got.failures.append(str(failure))
                self.console.print(f"[red]failed[/red] {escape(str(failure))}", highlight=False)
                break
            self._peers(row, got)
        return got

    def _round(self, row: Row, got: Collected) -> None:
        floor = self.measure(row.floor) if row.floor else None
        sample = self.measure(row.measure)
        if floor:
            got.floor.append(_values(floor)["rate"])
        for key, value in _values(sample).items():
            got.values[key].append(value)
        notes = sample["notes"]
        got.notes = tuple(notes) if isinstance(notes, list) else ()
        got.cores.append((float(str(sample["client_cores"])), float(str(sample["server_cores"]))))

    def _peers(self, row: Row, got: Collected) -> None:
        peers = (*row.peers, *row.limits)
        if self.options.no_peers:
            got.missing |= {peer.label: SKIPPED for peer in peers}
            return
        figures, missing = measure_peers(peers)
        got.missing |= missing
        for label, figure in figures.items():
            got.beside[label].append(figure.rate)
            self._noise(figure.pace_ms, figure.other_cores)


def _values(sample: dict[str, object]) -> dict[str, float]:
    values = sample["values"]
    assert isinstance(values, dict)
    return {str(key): float(value) for key, value in values.items()}


def lines(row: Row, got: Collected) -> list[Line]:
    """The row's lines of the report."""
    notes = list(got.notes)
    if any(server for _client, server in got.cores):
        shown = ", ".join(f"{client:.2f} + {server:.2f}" for client, server in got.cores)
        notes.append(f"cores used by the client and the server, each round: {shown}")
    notes += [f"failed: {failure.splitlines()[-1]}" for failure in got.failures]
    return [
        Line(
            name=figure.name,
            work=figure.work,
            unit=figure.unit,
            target=figure.target,
            zarkov=got.values.get(figure.key, []),
            floor=got.values.get(figure.floor_key, []) if figure.floor_key else got.floor,
            floor_label=figure.floor_label,
            peers={peer.label: got.beside.get(peer.label, []) for peer in row.peers},
            limits={peer.label: got.beside.get(peer.label, []) for peer in row.limits},
            missing=got.missing,
            notes=notes if figure is row.figures[0] else (),
        )
        for figure in row.figures
    ]


def show(console: Console, table_lines: Sequence[Line], noise: Noise) -> None:
    table = Table(title="Zarkov beside its floor and its peers")
    # A terminal is narrower than a page: the target and its verdict share a column here.
    for heading in (*HEADINGS[:3], "target"):
        table.add_column(heading, overflow="fold")
    for line in table_lines:
        first, *beside = [[escape(cell) for cell in row] for row in table_rows(line)]
        work, figure, _ratio, target, verdict = first
        colour = {"reached": "green", "missed": "red"}.get(verdict.split(",")[0], "yellow")
        judged = f"{target}: [{colour}]{verdict}[/{colour}]"
        table.add_row(f"[bold]{work}[/bold]", f"[bold]{figure}[/bold]", "", judged)
        for label, samples, ratio, *_empty in beside:
            table.add_row("  " + label, samples, ratio, "", style="dim")
        table.add_section()
    console.print(table)
    for line in table_lines:
        for note in line.notes:
            console.print(f"{line.name}: {note}", markup=False, highlight=False)
    console.print(noise.describe(), highlight=False)


def extent(options: argparse.Namespace) -> str:
    """How much was measured, for the head of the report."""
    sizes = QUICK if options.quick else FULL
    text = (
        f"{options.runs} rounds; {sizes.events:,} events a round, {sizes.single:,} one at a time, "
        f"{sizes.disk:,} for the disk, {sizes.growth:,} for the growth of memory"
    )
    return f"A quick run, whose figures mean little: {text}" if options.quick else text


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="benchmarks.run", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="one small round of everything; its figures mean little")
    parser.add_argument("--only", action="append", choices=NAMES, metavar="NAME", help=f"one row: {', '.join(NAMES)}")
    parser.add_argument("--no-peers", action="store_true", help="only Zarkov and the floors")
    parser.add_argument("--runs", type=int, default=3, help="rounds (default 3)")
    real = "NDJSON of real events, plain or .gz (default: examples/events.ndjson.gz)"
    parser.add_argument("--real", type=Path, metavar="FILE", help=real)
    output = "the report as Markdown (default: benchmarks/RESULTS.md after a full run)"
    parser.add_argument("--output", type=Path, metavar="FILE", help=output)
    options = parser.parse_args(arguments)
    if options.runs < 1:
        parser.error("--runs is at least 1")
    if options.real and not options.real.is_file():
        parser.error(f"--real {options.real} is not a file")
    if options.quick:
        options.runs = 1
    full = not (options.quick or options.only or options.no_peers)
    options.output = options.output or (RESULTS if full else None)
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    options, console = parse(arguments), Console()
    bench, table_lines, failed = Bench(options, console), [], False
    for row in ROWS:
        if options.only and row.name not in options.only:
            continue
        got = bench.row(row)
        failed = failed or bool(got.failures)
        table_lines += lines(row, got)
    noise = Noise(bench.pace_ms, bench.other_cores)
    show(console, table_lines, noise)
    if options.output:
        options.output.write_text(markdown(table_lines, noise, [*machine.facts(), extent(options)]))
        console.print(f"Written to {options.output}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
