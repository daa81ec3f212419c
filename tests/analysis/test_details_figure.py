"""The figure of where networks err: every part, element and strategy is there, and faults are named."""

import csv
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from priorbench.analysis.details_figure import details_figure, draw_details
from priorbench.analysis.records import load_details, load_runs
from priorbench.analysis.results import load_statistics
from priorbench.analysis.style import RC, colour
from priorbench.cli import main
from priorbench.errors import PriorbenchError
from priorbench.evaluation.details_table import COLUMNS

KEYS = {"element": ("H", "O"), "part": ("translation", "rotation", "internal"), "hydrogen_bonds": ("0", "1")}


def write(experiment, path: Path, **changes: Any) -> Path:
    """Simulated details of all completed runs: a tenth of the test error for the first key, two for the second …"""
    runs = load_runs(experiment.runs_csv)
    runs = runs[(runs["stage"] == "finetune") & (runs["status"] == "completed")]
    rows = [
        [r.dataset, r.backbone, r.strategy, r.seed, kind, key, 100, (i + 1) * r.test_force_rmse / 10, r.test_force_mae]
        for r in runs.itertuples()
        for kind, keys in KEYS.items()
        for i, key in enumerate(keys)
    ]
    rows = [[changes.get(name, value) for name, value in zip(COLUMNS, row, strict=True)] for row in rows]
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([COLUMNS, *rows])
    return path


def drawn(experiment, path: Path) -> Figure:
    with mpl.rc_context(RC):
        figure = details_figure(load_details(write(experiment, path)), load_statistics(experiment.statistics_json))
        figure.canvas.draw()
    return figure


def test_every_part_and_element_of_every_strategy_is_drawn_in_its_colour(analysed, tmp_path: Path) -> None:
    statistics, figure = load_statistics(analysed.statistics_json), drawn(analysed, tmp_path / "details.csv")
    caption = " ".join(text.get_text() for text in figure.texts).replace("\n", " ")
    assert "Diverged, counted but without errors to draw: scratch (gns, tip3p) 1 of 3." in caption
    for axes, place in zip(figure.axes, statistics.places, strict=True):
        keys = ["translation", "rotation", "internal", "H", "O"]
        ticks = axes.get_yticks()
        assert len(ticks) == len(keys)
        if place == statistics.places[0]:
            assert [label.get_text() for label in axes.get_yticklabels()] == keys
        seeds = [line for line in axes.lines if line.get_markersize() == 1.8]
        assert len(seeds) == len(keys) * 5
        for i, line in enumerate(seeds):
            result = statistics.of(*place)[i % 5]
            key = i // 5
            assert to_hex(line.get_color()).upper() == colour(result.role, result.task)
            factor = (1, 2, 3, 1, 2)[key] / 10
            np.testing.assert_allclose(line.get_xdata(), np.multiply(result.errors["force_rmse"].values, factor))
            assert abs(ticks[key] - np.asarray(line.get_ydata())[0]) < 0.3


def test_names_lie_on_the_page_and_do_not_overlap(make, tmp_path: Path) -> None:
    experiment = make(datasets=("tip3p", "revpbe0"), backbones=dict.fromkeys(("egnn", "gns", "forcenet"), "vector"))
    figure = drawn(experiment.analyse(), tmp_path / "details.csv")
    page, renderer = figure.bbox, figure.canvas.get_renderer()  # type: ignore[attr-defined]
    (legend,) = figure.legends
    boxes = [legend.get_window_extent(renderer), *(axes.get_tightbbox(renderer) for axes in figure.axes)]
    for i, box in enumerate(boxes):
        assert page.x0 <= box.x0 < box.x1 <= page.x1
        assert page.y0 <= box.y0 < box.y1 <= page.y1
        assert not any(box.y0 < other.y1 and other.y0 < box.y1 for other in boxes[1:] if i == 0)
    assert {text.get_text() for text in legend.texts} == {
        "scratch",
        "longer-steps",
        "longer-compute",
        "denoise",
        "mask",
    }


def test_it_is_the_same_file_whenever_it_is_drawn(analysed, tmp_path: Path) -> None:
    table = write(analysed, tmp_path / "details.csv")
    for folder in ("a", "b"):
        draw_details(table, analysed.statistics_json, tmp_path / folder)
    for name in ("details.pdf", "details.png"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_an_experiment_of_diverged_runs_is_drawn(make, tmp_path: Path) -> None:
    lost = tuple(("gns", name, seed) for name in STRATEGIES for seed in (0, 1, 2))
    experiment = make("lost", backbones={"gns": "vector"}, diverged=lost).analyse()
    draw_details(write(experiment, tmp_path / "details.csv"), experiment.statistics_json, tmp_path)
    assert (tmp_path / "details.png").stat().st_size > 3000


STRATEGIES = ("scratch", "longer-steps", "longer-compute", "denoise", "mask")


def test_a_table_of_other_runs_is_refused(analysed, tmp_path: Path, capsys) -> None:
    table = write(analysed, tmp_path / "details.csv")
    table.write_text(table.read_text().replace(",mask,", ",masks,"))
    with pytest.raises(PriorbenchError, match="tip3p/egnn/masks is not in"):
        draw_details(table, analysed.statistics_json, tmp_path)
    table.write_text("dataset,backbone\n")
    words = ["--details-csv", str(table), "--statistics", str(analysed.statistics_json), "--output", str(tmp_path)]
    assert main(["details-figure", *words]) == 1
    assert len(capsys.readouterr().err.splitlines()) == 1
