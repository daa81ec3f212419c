"""What the default experiment must keep to (``make check-long``): time, memory, and that its networks learn.

Timed, so nothing may run beside it.
"""

import csv
import time
from pathlib import Path

import pytest
from tests.workflow.experiments import experiment

from priorbench.analysis.results import load_statistics
from priorbench.io import read_json

MINUTES, GIGABYTES = 15, 4.0  # on two cores
LARGEST_SHARE = 0.2  # of its core time that is neither data nor training
LARGEST_RATIO = 0.7  # scratch's validation force RMSE over the trivial predictor's
LARGEST_HALF_WIDTH = 0.15  # of masking's relative change, for at least two backbones


@pytest.fixture(scope="module")
def default(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, float]:
    """Results of the default experiment, and the seconds it took."""
    start = time.monotonic()
    return experiment("config.yaml", tmp_path_factory.mktemp("default")), time.monotonic() - start


def test_the_default_experiment_keeps_its_time(default: tuple[Path, float]) -> None:
    assert default[1] <= 60 * MINUTES


def test_the_default_experiment_spends_its_time_on_data_and_training(default: tuple[Path, float]) -> None:
    content = read_json(default[0] / "accounting.json")
    assert content["outside"] <= LARGEST_SHARE, content


def test_the_default_experiment_keeps_its_memory(default: tuple[Path, float]) -> None:
    peaks = []
    for path in (default[0] / "benchmarks").rglob("*.tsv"):
        with path.open(encoding="utf-8") as file:
            peaks += [float(row["max_rss"]) for row in csv.DictReader(file, delimiter="\t") if row["max_rss"] != "NA"]
    assert peaks
    assert sum(sorted(peaks)[-2:]) / 1024 <= GIGABYTES  # two jobs at a time


def test_every_backbone_learns_from_scratch(default: tuple[Path, float]) -> None:
    results = load_statistics(default[0] / "statistics.json").strategies
    ratios = {r.place: max(r.validation_ratio.values) for r in results if r.role == "scratch"}
    assert ratios
    assert {place: ratio for place, ratio in ratios.items() if ratio > LARGEST_RATIO} == {}


def test_every_pretraining_learns(default: tuple[Path, float]) -> None:
    results = load_statistics(default[0] / "statistics.json").pretraining
    assert results
    assert [r for r in results if not r.below_start] == []


def test_intervals_are_narrow_enough_for_two_backbones(default: tuple[Path, float]) -> None:
    widths: dict[tuple[str, str], float] = {}
    for c in load_statistics(default[0] / "statistics.json").comparisons:
        if c.quantity == "force" and c.task == "masking" and c.reference_role in ("scratch", "longer-steps"):
            half = float("inf") if c.change.half_width is None else c.change.half_width
            widths[c.dataset, c.backbone] = max(widths.get((c.dataset, c.backbone), 0.0), half)
    assert len([half for half in widths.values() if half <= LARGEST_HALF_WIDTH]) >= 2, widths
