"""The report of the benchmarks: medians, ratios and verdicts, and the peers' files as they were."""

import hashlib
from pathlib import Path

import pytest

from benchmarks.report import (
    HEADINGS,
    Line,
    Noise,
    Target,
    best_peer,
    describe,
    markdown,
    number,
    paired_ratio,
    spread,
    table_rows,
    verdict,
)
from benchmarks.rows import NAMES, ROWS

PEERS = Path(__file__).resolve().parents[2] / "benchmarks" / "peers"


def line(target: Target, **fields: object) -> Line:
    return Line(name="push", work="PUSH", unit="events/s", target=target, **fields)  # type: ignore[arg-type]


def test_a_ratio_is_taken_within_each_round_so_that_a_drifting_machine_cancels_out() -> None:
    ratio = paired_ratio([70.0, 35.0, 140.0], [100.0, 50.0, 200.0])
    assert ratio is not None
    assert (ratio.middle, ratio.low, ratio.high) == (0.7, 0.7, 0.7)


def test_samples_that_cannot_be_paired_are_compared_by_their_medians() -> None:
    ratio = paired_ratio([60.0, 80.0, 70.0], [100.0])
    assert ratio is not None
    assert (ratio.middle, ratio.low, ratio.high) == (0.7, 0.6, 0.8)


@pytest.mark.parametrize(("samples", "against"), [([], [1.0]), ([1.0], []), ([1.0], [0.0])])
def test_there_is_no_ratio_without_both_sides(samples: list[float], against: list[float]) -> None:
    assert paired_ratio(samples, against) is None


def test_a_line_without_samples_is_not_measured() -> None:
    assert verdict(line(Target(value_min=1.0))) == "not measured"


def test_a_line_whose_floor_failed_is_not_measured() -> None:
    assert verdict(line(Target(ratio_min=0.5), zarkov=[10.0])) == "not measured"


@pytest.mark.parametrize(
    ("zarkov", "expected"),
    [
        ([66.0, 67.0, 68.0], "reached"),
        ([60.0, 67.0, 68.0], "reached, within the noise"),
        ([60.0, 61.0, 68.0], "missed, within the noise"),
        ([60.0, 61.0, 62.0], "missed"),
    ],
)
def test_the_median_ratio_decides_and_a_disagreeing_round_is_called_noise(zarkov: list[float], expected: str) -> None:
    assert verdict(line(Target(ratio_min=0.65), zarkov=zarkov, floor=[100.0, 100.0, 100.0])) == expected


def test_a_size_must_stay_below_its_maximum() -> None:
    assert verdict(line(Target(value_max=36.0), zarkov=[35.9])) == "reached"
    assert verdict(line(Target(value_max=36.0), zarkov=[36.1])) == "missed"


def test_being_above_the_floor_is_not_enough_when_a_peer_is_faster() -> None:
    target = Target(ratio_min=0.5, above_peers=True)
    beaten = line(target, zarkov=[60.0], floor=[100.0], peers={"slow": [10.0], "fast": [90.0]})
    assert verdict(beaten) == "missed"
    assert verdict(line(target, zarkov=[95.0], floor=[100.0], peers={"slow": [10.0], "fast": [90.0]})) == "reached"


def test_a_peer_may_have_to_be_beaten_by_a_factor_in_the_same_round() -> None:
    target = Target(peer_ratios=(("Dask", 2.0),))
    peers = {"Dask": [40.0, 20.0, 80.0], "Ray": [99.0, 99.0, 99.0]}
    assert verdict(line(target, zarkov=[100.0, 50.0, 200.0], peers=peers)) == "reached"
    assert verdict(line(target, zarkov=[70.0, 35.0, 140.0], peers=peers)) == "missed"
    assert verdict(line(target, zarkov=[70.0, 35.0, 200.0], peers=peers)) == "missed, within the noise"
    assert verdict(line(target, zarkov=[1.0], peers={"Dask": []})) == "not measured"
    both = Target(value_min=1.0, peer_ratios=(("Dask", 2.0),))
    assert verdict(line(both, zarkov=[1.0], peers={"Dask": []})) == "reached, but for peers not measured"
    assert describe(target, "events/s") == "2 times Dask"


def test_peers_that_are_not_installed_decide_nothing() -> None:
    target = Target(ratio_min=0.5, above_peers=True)
    assert verdict(line(target, zarkov=[60.0], floor=[100.0], peers={"Redis": []})) == "reached"


def test_one_clear_miss_outweighs_a_noisy_one() -> None:
    target = Target(ratio_min=0.65, value_min=1000.0)
    assert verdict(line(target, zarkov=[60.0, 61.0, 68.0], floor=[100.0] * 3)) == "missed"


def test_the_best_peer_has_the_best_median_and_not_the_best_round() -> None:
    best = best_peer(line(Target(), peers={"spiky": [1.0, 2.0, 99.0], "steady": [5.0, 6.0, 7.0], "absent": []}))
    assert best is not None
    assert best[0] == "steady"


def test_limits_are_shown_and_are_not_peers() -> None:
    shown = line(Target(), zarkov=[1.0], limits={"the disk": [10.0]})
    assert best_peer(shown) is None
    assert ("the disk", "10", "0.10 of it", "", "") in table_rows(shown)


def test_numbers_have_three_figures_or_separators() -> None:
    shown = [number(value) for value in (0.1234, 35.87, 1500.4, 228159.0)]
    assert shown == ["0.123", "35.9", "1,500", "228,159"]


def test_a_spread_names_the_median_and_both_ends() -> None:
    assert spread([3.0, 1.0, 2.0]) == "2 (1 - 3)"
    assert spread([7.0]) == "7"
    assert spread([]) == "-"


def test_a_target_reads_as_a_person_would_say_it() -> None:
    assert describe(Target(ratio_min=0.65, above_peers=True), "events/s") == "0.65 of the floor, above all peers"
    assert describe(Target(value_max=15.0), "ms") == "at most 15 ms"
    assert describe(Target(value_min=1500.0), "events/s") == "1,500 events/s"


def test_a_peer_that_is_missing_says_how_to_install_it() -> None:
    rows = table_rows(line(Target(), zarkov=[1.0], peers={"Redis": []}, missing={"Redis": "not installed"}))
    assert rows[1:] == [("Redis", "not installed", "", "", "")]


def test_floor_and_peers_follow_with_what_zarkov_is_of_them() -> None:
    shown = line(Target(ratio_min=0.5), zarkov=[6.0], floor=[8.0], floor_label="bare", peers={"Redis": [3.0]})
    assert table_rows(shown) == [
        ("PUSH", "6 events/s", "", "0.5 of the floor", "reached"),
        ("floor: bare", "8", "0.75 of it", "", ""),
        ("Redis", "3", "2.00 of it", "", ""),
    ]


def test_every_row_of_the_markdown_table_has_every_column() -> None:
    shown = line(Target(ratio_min=0.5), zarkov=[1.0], floor=[2.0], floor_label="a|b", notes=["short"])
    text = markdown([shown, shown], Noise([20.0, 30.0], [0.1, 0.5]), ["2 cores"])
    rows = [row for row in text.splitlines() if row.startswith("|")]
    assert len(rows) == 2 + 2 * len(table_rows(shown))
    assert {row.replace("\\|", "").count("|") for row in rows} == {len(HEADINGS) + 1}
    assert "a swing of 1.50 times" in text
    assert text.startswith("# ")
    assert "- push: short" in text


def test_noise_without_measurements_says_so() -> None:
    assert Noise([], []).describe() == "Noise: nothing was measured."


def test_a_run_that_others_disturbed_is_called_not_worth_keeping() -> None:
    assert "do not keep" in Noise([20.0, 20.0, 20.0], [0.1, 1.0, 1.1]).describe()
    assert "do not keep" not in Noise([20.0, 20.0, 20.0], [0.0, 0.1, 1.1]).describe()


def test_every_row_has_a_name_of_its_own_and_every_figure_a_target() -> None:
    assert len(set(NAMES)) == len(NAMES)
    assert all(figure.target != Target() for row in ROWS for figure in row.figures)


def test_every_peer_of_a_row_is_a_variant_that_its_script_measures() -> None:
    for row in ROWS:
        for peer in (*row.peers, *row.limits):
            words = peer.variant.removeprefix("always, ").removeprefix("quorum queue, ")
            source = (PEERS / f"{peer.script}.py").read_text()
            assert words in source or words == "batch 1", peer


def test_the_files_of_the_peers_are_unchanged() -> None:
    sums = dict(reversed(entry.split()) for entry in (PEERS / "SHA256SUMS").read_text().splitlines())
    present = {path.name for path in PEERS.iterdir() if path.is_file()} - {"SHA256SUMS"}
    assert present == set(sums)
    for name, expected in sums.items():
        assert hashlib.sha256((PEERS / name).read_bytes()).hexdigest() == expected, name
