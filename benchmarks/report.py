"""From samples to medians, ratios and verdicts: pure, so that it can be tested.

A round measures the floor, Zarkov and the peers one after the other.  The machine drifts between
rounds by more than most targets' margins, so a ratio is taken *within* a round, and the median of
those ratios is what is compared with the target; the ratio of two medians would mix rounds.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Literal

Verdict = Literal[
    "reached",
    "reached, within the noise",
    "reached, but for peers not measured",
    "missed",
    "missed, within the noise",
    "not measured",
]


@dataclass(frozen=True, slots=True)
class Target:
    """What a line has to reach; a field that is None is not asked for.

    ratio_min: of the floor measured in the same round. value_min, value_max: in the line's unit.
    above_peers: the median is above the median of every peer measured.
    peer_ratios: (label, ratio) of single peers, each in the same round; the verdict says where one is missing.
    """

    ratio_min: float | None = None
    value_min: float | None = None
    value_max: float | None = None
    above_peers: bool = False
    peer_ratios: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the table: samples are one a round, in the order of the rounds.

    peers: the samples of each peer by its label; a peer without samples has its reason in `missing`.
    limits: measured beside it, but not peers: what the disk alone could do, for example.
    """

    name: str
    work: str
    unit: str
    target: Target
    zarkov: Sequence[float] = ()
    floor: Sequence[float] = ()
    floor_label: str = ""
    peers: Mapping[str, Sequence[float]] = field(default_factory=dict)
    limits: Mapping[str, Sequence[float]] = field(default_factory=dict)
    missing: Mapping[str, str] = field(default_factory=dict)
    notes: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Ratio:
    middle: float
    low: float
    high: float


def paired_ratio(samples: Sequence[float], against: Sequence[float]) -> Ratio | None:
    """Median, lowest and highest of samples[i] / against[i]; None when nothing can be paired.

    Where a round lacks one of the two (a measurement failed), only the rounds that both have are
    paired, which the caller arranges by giving equally long sequences; else the medians are divided.
    """
    if not samples or not against or not all(against):
        return None
    if len(samples) != len(against):
        middle = median(samples) / median(against)
        return Ratio(middle, min(samples) / max(against), max(samples) / min(against))
    ratios = [a / b for a, b in zip(samples, against, strict=True)]
    return Ratio(median(ratios), min(ratios), max(ratios))


def best_peer(line: Line) -> tuple[str, Sequence[float]] | None:
    """The peer with the best median, whatever it does differently; None when none was measured."""
    measured = [(label, samples) for label, samples in line.peers.items() if samples]
    return max(measured, key=lambda item: median(item[1])) if measured else None


def verdict(line: Line) -> Verdict:
    """Whether the medians reach the target, and whether some single round says otherwise."""
    if not line.zarkov:
        return "not measured"
    target, middle = line.target, median(line.zarkov)
    tests: list[tuple[bool, bool]] = []  # (the median reaches it, every round agrees with the median)
    if target.ratio_min is not None:
        ratio = paired_ratio(line.zarkov, line.floor)
        if ratio is None:
            return "not measured"
        tests.append(_reaches(ratio, target.ratio_min))
    if target.value_min is not None:
        tests.append((middle >= target.value_min, _agree([v >= target.value_min for v in line.zarkov])))
    if target.value_max is not None:
        tests.append((middle <= target.value_max, _agree([v <= target.value_max for v in line.zarkov])))
    if target.above_peers and (best := best_peer(line)):
        tests.append((middle > median(best[1]), min(line.zarkov) > max(best[1]) or max(line.zarkov) < min(best[1])))
    for label, least in target.peer_ratios:
        if beside := paired_ratio(line.zarkov, line.peers.get(label, ())):
            tests.append(_reaches(beside, least))
    failed = [agreed for reached, agreed in tests if not reached]
    if failed:
        return "missed" if any(failed) else "missed, within the noise"
    if any(not line.peers.get(label) for label, _ in target.peer_ratios):
        return "reached, but for peers not measured" if tests else "not measured"
    return "reached" if all(agreed for _, agreed in tests) else "reached, within the noise"


def _reaches(ratio: Ratio, least: float) -> tuple[bool, bool]:
    return ratio.middle >= least, (ratio.low >= least) == (ratio.high >= least)


def _agree(answers: Sequence[bool]) -> bool:
    return len(set(answers)) == 1


def describe(target: Target, unit: str) -> str:
    """The target as a person would say it."""
    parts = []
    if target.ratio_min is not None:
        parts.append(f"{target.ratio_min:g} of the floor")
    if target.value_min is not None:
        parts.append(f"{number(target.value_min)} {unit}")
    if target.value_max is not None:
        parts.append(f"at most {number(target.value_max)} {unit}")
    if target.above_peers:
        parts.append("above all peers")
    parts += [f"{ratio:g} times {label}" for label, ratio in target.peer_ratios]
    return ", ".join(parts)


def number(value: float) -> str:
    """Three figures below 100, whole numbers with separators from there on."""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def spread(samples: Sequence[float]) -> str:
    """`median (min - max)`; a single sample stands alone."""
    if not samples:
        return "-"
    if len(samples) == 1:
        return number(samples[0])
    return f"{number(median(samples))} ({number(min(samples))} - {number(max(samples))})"


def ratio_text(ratio: Ratio | None) -> str:
    if ratio is None:
        return "-"
    if ratio.low == ratio.high:
        return f"{ratio.middle:.2f} of it"
    return f"{ratio.middle:.2f} ({ratio.low:.2f} - {ratio.high:.2f}) of it"


HEADINGS = ("work, and what stands beside it", "median (min - max)", "Zarkov is", "to reach", "verdict")


def table_rows(line: Line) -> list[tuple[str, ...]]:
    """The line as rows under HEADINGS: Zarkov's own first, then the floor, the limits and each peer."""
    figure = f"{spread(line.zarkov)} {line.unit}" if line.zarkov else "-"
    rows: list[tuple[str, ...]] = [(line.work, figure, "", describe(line.target, line.unit), verdict(line))]
    if line.floor_label:
        rows.append(_beside(line, f"floor: {line.floor_label}", line.floor))
    rows += [_beside(line, label, samples) for label, samples in line.limits.items() if samples]
    rows += [_beside(line, label, samples) for label, samples in line.peers.items() if samples]
    rows += [(label, reason, "", "", "") for label, reason in line.missing.items()]
    return rows


def _beside(line: Line, label: str, samples: Sequence[float]) -> tuple[str, ...]:
    return (label, spread(samples), ratio_text(paired_ratio(line.zarkov, samples)), "", "")


#: Above this, in the median, the others take what the measurement should have.
OTHER_CORES_MAX = 0.2


@dataclass(frozen=True, slots=True)
class Noise:
    """How steady the machine was: milliseconds of a fixed loop before each measurement, and the
    cores that processes outside the measurement used during it."""

    pace_ms: Sequence[float]
    other_cores: Sequence[float]

    def describe(self) -> str:
        if not self.pace_ms:
            return "Noise: nothing was measured."
        swing = max(self.pace_ms) / min(self.pace_ms)
        text = (
            f"Noise: a fixed Python loop took {min(self.pace_ms):.1f} to {max(self.pace_ms):.1f} ms "
            f"(median {median(self.pace_ms):.1f}) just before the measurements, a swing of {swing:.2f} times"
        )
        if self.other_cores:
            text += (
                f"; processes outside the measurement used {median(self.other_cores):.2f} cores "
                f"in the middle case and {max(self.other_cores):.2f} in the worst"
            )
            if median(self.other_cores) > OTHER_CORES_MAX:
                text += ": too much, do not keep this run"
        return text + "."


def markdown(lines: Sequence[Line], noise: Noise, about: Sequence[str]) -> str:
    """The whole report: what was measured on, the table, the notes."""
    out = ["# Zarkov beside its floor and its peers", ""]
    out += [f"- {fact}" for fact in about]
    out += [f"- {noise.describe()}", "", "How to read this: docs/benchmarks.md.", ""]
    out.append("| " + " | ".join(HEADINGS) + " |")
    out.append("|" + "---|" * len(HEADINGS))
    for line in lines:
        first, *beside = table_rows(line)
        out.append(_markdown_row((f"**{first[0]}**", f"**{first[1]}**", *first[2:])))
        out += [_markdown_row(row) for row in beside]
    notes = [f"- {line.name}: {note}" for line in lines for note in line.notes]
    if notes:
        out += ["", *notes]
    return "\n".join(out) + "\n"


def _markdown_row(row: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |"
