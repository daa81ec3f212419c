import shutil
from pathlib import Path

import matplotlib.colors
import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import imread
from matplotlib.offsetbox import AnnotationBbox
from matplotlib.text import Text

from priorbench.analysis.convergence_figure import convergence_figure, pretraining_rows
from priorbench.analysis.figures import figures
from priorbench.analysis.records import load_curves, load_runs
from priorbench.analysis.results import load_statistics
from priorbench.analysis.style import colour, spread

NAMES = ("convergence.pdf", "convergence.png", "rmse.pdf", "rmse.png")


def test_figures_are_drawn_from_the_tables_alone_and_always_the_same(analysed, tmp_path: Path) -> None:
    for name in ("runs.csv", "curves.csv", "statistics.json"):
        shutil.copy(analysed.root / name, tmp_path)
    for folder in ("a", "b"):
        figures(*(tmp_path / n for n in ("runs.csv", "curves.csv", "statistics.json")), tmp_path / folder)
    for name in NAMES:
        first, second = (tmp_path / folder / name for folder in ("a", "b"))
        assert first.read_bytes() == second.read_bytes()
    assert (tmp_path / "a" / "convergence.pdf").read_bytes().startswith(b"%PDF")
    assert b"CreationDate" not in (tmp_path / "a" / "rmse.pdf").read_bytes()


def test_convergence_shows_every_strategy_in_its_colour(analysed, tmp_path: Path) -> None:
    figures(analysed.runs_csv, analysed.curves_csv, analysed.statistics_json, tmp_path)
    pixels = imread(tmp_path / "convergence.png")[..., :3]
    kinds = [("scratch", None), ("longer-steps", None), ("longer-compute", None)]
    kinds += [("pretrained", "masking"), ("pretrained", "denoising")]
    for role, task in kinds:
        wanted = np.array(matplotlib.colors.to_rgb(colour(role, task)))
        assert (np.abs(pixels - wanted).max(axis=-1) < 0.02).sum() > 100, (role, task)


def test_one_backbone_and_all_runs_of_a_strategy_lost(make, tmp_path: Path) -> None:
    lost = tuple(("gns", name, seed) for name in ("scratch", "mask") for seed in (0, 1, 2))
    experiment = make(backbones={"gns": "vector"}, diverged=lost).analyse()
    figures(experiment.runs_csv, experiment.curves_csv, experiment.statistics_json, tmp_path / "figures")
    assert all((tmp_path / "figures" / name).stat().st_size > 5000 for name in NAMES)


def test_the_strip_shows_the_pretrainings_that_the_seeds_started_from(make, sim) -> None:
    """One seed of another dataset's runs began with another pretraining, chosen among its trials."""
    experiment = make(datasets=("tip3p", "revpbe0"), backbones={"gns": "vector"})
    for seed, name in enumerate(("mask", "mask", "denoise")):
        final = sim.digest("final", "tip3p", "gns", name, seed)
        own = experiment.run("gns", "mask", seed, "revpbe0") / "run.json"
        sim.edit(own, pretraining_dataset="tip3p", pretraining=name, start_checksum=final)
    found = load_statistics(experiment.analyse().statistics_json)
    result = next(r for r in found.of("revpbe0", "gns") if r.strategy == "mask")
    rows = pretraining_rows(load_runs(experiment.runs_csv), result)
    assert set(zip(rows["dataset"], rows["strategy"], rows["seed"], strict=True)) == {
        ("tip3p", "mask", 0), ("tip3p", "mask", 1), ("tip3p", "denoise", 2),
    }  # fmt: skip
    figures(experiment.runs_csv, experiment.curves_csv, experiment.statistics_json, experiment.root / "figures")


def test_colours_follow_role_and_task() -> None:
    assert colour("pretrained", "masking") != colour("pretrained", "denoising") != colour("scratch", None)
    assert colour("scratch", "masking") == colour("scratch", None)
    assert colour("pretrained", "something new") == colour("pretrained", None)


def test_labels_are_moved_apart_but_keep_their_order() -> None:
    assert spread([0.0, 1.0], 0.1) == [0.0, 1.0]
    assert spread([0.5, 0.5, 0.5], 0.1) == pytest.approx([0.4, 0.5, 0.6])
    moved = spread([0.9, 0.0, 0.05, 0.06], 0.1)
    assert moved == pytest.approx([0.9, -0.0633333, 0.0366667, 0.1366667])


@pytest.mark.parametrize("names", [("gns",), ("egnn", "gns", "forcenet")], ids=len)
def test_every_label_lies_on_the_page(make, names: tuple[str, ...]) -> None:
    """The label of the ordinate of a figure with one wide panel once lay beside the page."""
    experiment = make(backbones=dict.fromkeys(names, "vector")).analyse()
    figure = drawn(experiment)
    width = figure.bbox.width
    labels = [axes.yaxis.label for axes in figure.axes if axes.get_ylabel()]
    assert labels
    for label in labels:
        extent = label.get_window_extent()
        assert 0 <= extent.x0 < extent.x1 <= width


def drawn(experiment) -> Figure:
    tables = load_runs(experiment.runs_csv), load_curves(experiment.curves_csv)
    figure = convergence_figure(load_statistics(experiment.statistics_json), *tables)
    figure.canvas.draw()
    return figure


def names_in(axes: Axes) -> list[str]:
    return [text.get_text() for box in axes.findobj(AnnotationBbox) for text in box.findobj(Text) if text.get_text()]


def test_every_pretraining_is_named_in_the_strip_once(make) -> None:
    """Of many, all but the middle ones once lost their names, and the floors took part of the room."""
    strip, main = drawn(make(backbones={"gns": "vector"}).analyse()).axes[:2]
    assert sorted(names_in(strip)) == ["denoise", "mask"]
    assert sorted(names_in(main)) == sorted({*names_in(main), "scratch"})


def test_curves_show_the_least_error_so_far(make) -> None:
    experiment = make(backbones={"gns": "vector"}).analyse()
    curves = load_curves(experiment.curves_csv)
    chosen = (curves["strategy"] == "mask") & (curves["stage"] == "finetune") & (curves["epoch"] == 3)
    curves.loc[chosen, "val_force_rmse"] *= 50
    assert chosen.any()
    curves.to_csv(experiment.curves_csv, index=False)
    lines = [np.asarray(line.get_ydata()) for line in drawn(experiment).axes[1].lines]
    assert all(np.all(np.diff(heights) <= 1e-9) for heights in lines)
