"""Figures from the kept tables: ``convergence`` and ``rmse``, each as vector PDF and as PNG.

They read nothing but ``runs.csv``, ``curves.csv`` and ``statistics.json``, so they can be redrawn at any time.
"""

from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from priorbench.analysis.convergence_figure import convergence_figure
from priorbench.analysis.records import load_curves, load_runs
from priorbench.analysis.results import QUANTITY_NAMES, Quantity, Statistics, StrategyResult, load_statistics
from priorbench.analysis.style import GREY, RC, colour, log_axis, new_figure, save
from priorbench.analysis.text import number

_UNITS = {"force": "test force RMSE / (meV/Å)", "energy": "test energy RMSE / (meV/atom)"}


def figures(runs_csv: Path, curves_csv: Path, statistics_json: Path, output_dir: Path) -> None:
    """Write ``convergence.{pdf,png}`` and ``rmse.{pdf,png}`` into ``output_dir``."""
    runs, curves, statistics = load_runs(runs_csv), load_curves(curves_csv), load_statistics(statistics_json)
    with mpl.rc_context(RC):
        save(convergence_figure(statistics, runs, curves), output_dir / "convergence")
        save(rmse_figure(statistics), output_dir / "rmse")


def rmse_figure(statistics: Statistics) -> Figure:
    """Test RMSE by strategy: mean and 95 % interval, seeds as dots; a row of panels a quantity, a column a backbone."""
    datasets = list(dict.fromkeys(dataset for dataset, _ in statistics.places))
    backbones = list(dict.fromkeys(backbone for _, backbone in statistics.places))
    names = max(len({r.strategy for r in statistics.of(*place)}) for place in statistics.places)
    panel = 0.4 + 0.22 * names
    figure = new_figure(max(5.2, 1.2 + 2.15 * len(backbones)), 0.45 + (panel + 0.75) * 2 * len(datasets))
    width, height = figure.get_size_inches()
    grid = figure.add_gridspec(
        2 * len(datasets), len(backbones), hspace=0.75 / panel, wspace=0.1,
        left=1.05 / width, right=1 - 0.1 / width, top=1 - 0.35 / height, bottom=0.8 / height,
    )  # fmt: skip
    for row, (dataset, quantity) in enumerate((d, q) for d in datasets for q in QUANTITY_NAMES):
        for column, backbone in enumerate(backbones):
            if results := statistics.of(dataset, backbone):
                axes = figure.add_subplot(grid[row, column])
                _draw(axes, results, quantity)
                axes.set_title(f"{backbone}, {dataset}" if quantity == "force" else "", loc="left")
                if column:
                    axes.set_yticklabels([])
    figure.text(0.01, 0.1 / height, _CAPTION, color=GREY, fontsize=6.5, va="bottom")
    return figure


_CAPTION = (
    "Large dots, bars: geometric mean, 95 % t-interval over seeds; small dots: seeds; dashed: trivial predictor.\n"
    "Bars hold what all strategies of a seed share; the paired comparisons are in the tables."
)


def _draw(axes: Axes, results: list[StrategyResult], quantity: Quantity) -> None:
    name = f"{quantity}_rmse"
    for y, result in enumerate(results):
        e, tint = result.errors[name], colour(result.role, result.task)
        axes.plot(e.values, [y + 0.24] * len(e.values), "o", color=tint, ms=2.4, alpha=0.55, mew=0)
        if e.low is not None and e.high is not None:
            axes.plot([e.low, e.high], [y, y], color=tint, lw=1.6)
        if e.mean is not None:
            axes.plot([e.mean], [y], "o", color=tint, ms=5, mec="white", mew=0.6, zorder=3)
        if result.diverged:
            text = f"{len(result.diverged)} of {len(result.seeds)} diverged"
            axes.annotate(text, (1, y - 0.3), xycoords=("axes fraction", "data"), bbox=_BLANK, **_NOTE)
    axes.set_ylim(len(results) - 0.45, -0.6)
    axes.set_yticks(range(len(results)), [result.strategy for result in results])
    for label, result in zip(axes.get_yticklabels(), results, strict=True):
        label.set_color(colour(result.role, result.task))
    axes.tick_params(axis="y", length=0)
    axes.set_xlabel(_UNITS[quantity])
    _abscissa(axes, results, name)


_NOTE: dict[str, Any] = {"ha": "right", "va": "center", "color": GREY, "fontsize": 6.5}
_BLANK: dict[str, Any] = {"facecolor": "white", "edgecolor": "none", "pad": 0.8}


def _abscissa(axes: Axes, results: list[StrategyResult], name: str) -> None:
    """A log axis around the results; the trivial predictor as a line, or as an arrow where it is far away."""
    shown = [v for r in results for v in (*r.errors[name].values, r.errors[name].low, r.errors[name].high) if v]
    trivial = next((r.trivial[name] for r in results if r.trivial[name] is not None), None)
    if not shown and trivial is None:
        return
    low, high = (min(shown), max(shown)) if shown else (trivial or 1.0, trivial or 1.0)
    if trivial is not None and trivial < 1.6 * high:
        low, high = min(low, trivial), max(high, trivial)
        axes.axvline(trivial, color=GREY, lw=0.9, ls=(0, (4, 2)), zorder=1)
    elif trivial is not None:
        axes.annotate(f"trivial {number(trivial)} →", (1, 1), xycoords="axes fraction", **{**_NOTE, "va": "bottom"})
    limits = low / 1.08, high * 1.08
    axes.set(xscale="log", xlim=limits)
    log_axis(axes.xaxis, *limits)
