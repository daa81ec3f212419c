"""``figures/convergence``: validation force RMSE against epochs and against seconds, pretraining included.

One column a backbone, two rows a dataset.  Each panel has a strip above it on the same abscissa with the validation
loss of the pretrainings (over its value before training) and masking's context-free floor; a finetuning curve starts
where its own pretraining ended.  Lines are geometric means over the completed seeds, bands their smallest and largest
value; a diverged run is a thin line that ends in a cross.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from priorbench.analysis.results import Statistics, StrategyResult
from priorbench.analysis.style import GREY, colour, line_styles, log_axis, new_figure, shade, spread

_LABEL_INCHES = 0.38  # from the axes to their label
_LABELS = {"epoch": "epoch", "seconds": "training time / s"}


@dataclass(frozen=True)
class Curve:
    """Mean and band over seeds; ``lost`` are the abscissae and values of diverged runs.  Empty where there is none."""

    x: "np.ndarray[tuple[int], np.dtype[np.float64]]"
    mean: "np.ndarray[tuple[int], np.dtype[np.float64]]"
    low: "np.ndarray[tuple[int], np.dtype[np.float64]]"
    high: "np.ndarray[tuple[int], np.dtype[np.float64]]"
    lost: "list[pd.DataFrame]" = field(default_factory=list)


Rows = Callable[[pd.DataFrame, StrategyResult], pd.DataFrame]


def finetuning_rows(table: pd.DataFrame, result: StrategyResult) -> pd.DataFrame:
    """The rows of a strategy in a table of runs or curves."""
    chosen = (table["stage"] == "finetune") & (table["strategy"] == result.strategy)
    return table[chosen & (table["dataset"] == result.dataset)]


def pretraining_rows(table: pd.DataFrame, result: StrategyResult) -> pd.DataFrame:
    """The rows of the pretrainings that its seeds started from, which may be those of another dataset."""
    rows = table[(table["stage"] == "pretrain") & (table["dataset"] == result.learned_from)]
    parents = set(zip(result.parents, result.seeds, strict=True))
    return rows[[pair in parents for pair in zip(rows["strategy"], rows["seed"], strict=True)]]


@dataclass(frozen=True)
class Panel:
    """What one panel draws: the results of a place, its backbone's runs and curves, the abscissa (epoch or seconds)."""

    results: list[StrategyResult]
    runs: pd.DataFrame
    curves: pd.DataFrame
    abscissa: str
    styles: dict[str, str]

    def offset(self, result: StrategyResult) -> float:
        """Mean epochs or seconds of the pretraining before a strategy."""
        own = finetuning_rows(self.runs, result)
        return float(own[f"pretrain_{'epochs' if self.abscissa == 'epoch' else 'seconds'}"].mean())

    def curve(self, own: Rows, result: StrategyResult, value: str, offset: float) -> Curve:
        """The curve of a strategy, or of its pretraining (as ``own`` finds their rows), moved right by ``offset``."""
        rows = own(self.curves, result).dropna(subset=[value])
        rows = pd.DataFrame({"seed": rows["seed"], "epoch": rows["epoch"], "y": rows[value], "x": rows[self.abscissa]})
        rows["x"] = rows["x"] + offset
        runs = own(self.runs, result)
        lost = set(runs.loc[runs["status"] != "completed", "seed"])
        done = rows[~rows["seed"].isin(lost) & (rows["y"] > 0)]
        by_epoch = done.assign(log=np.log(done["y"])).groupby("epoch")
        return Curve(
            by_epoch["x"].mean().to_numpy(dtype=float),
            np.exp(by_epoch["log"].mean().to_numpy(dtype=float)),
            by_epoch["y"].min().to_numpy(dtype=float),
            by_epoch["y"].max().to_numpy(dtype=float),
            [rows[rows["seed"] == seed].sort_values("epoch") for seed in sorted(lost)],
        )


def convergence_figure(statistics: Statistics, runs: pd.DataFrame, curves: pd.DataFrame) -> Figure:
    """Draw the figure; widths suit a page's text block for up to three backbones."""
    datasets = list(dict.fromkeys(dataset for dataset, _ in statistics.places))
    backbones = list(dict.fromkeys(backbone for _, backbone in statistics.places))
    styles = line_styles(statistics.strategies)
    figure = new_figure(max(5.2, 1.75 + 2.0 * len(backbones)), 0.75 + 5.0 * len(datasets))
    margins = {"left": 0.8 / figure.get_figwidth(), "right": 1 - 1.05 / figure.get_figwidth()}
    inches = figure.get_figheight()
    outer = figure.add_gridspec(
        2 * len(datasets), 1, hspace=0.38, top=1 - 0.35 / inches, bottom=0.85 / inches, **margins
    )
    for row, (dataset, abscissa) in enumerate((d, a) for d in datasets for a in _LABELS):
        grid = outer[row].subgridspec(2, len(backbones), height_ratios=(1, 3), hspace=0.1, wspace=0.12)
        limits = _limits(statistics, curves, dataset)
        for column, backbone in enumerate(backbones):
            results = statistics.of(dataset, backbone)
            if not results:
                continue
            own = [table[table["backbone"] == backbone] for table in (runs, curves)]
            panel = Panel(results, own[0], own[1], abscissa, styles)
            strip = figure.add_subplot(grid[0, column])
            main = figure.add_subplot(grid[1, column], sharex=strip)
            _draw_strip(strip, panel)
            _draw_main(main, panel, limits, last=column == len(backbones) - 1)
            _label(strip, main, column, abscissa, figure.get_figwidth())
            strip.set_title(f"{backbone}, {dataset}" if row % 2 == 0 else "", pad=6, loc="left")
    figure.text(0.005, 0.12 / inches, _CAPTION, color=GREY, fontsize=6.5, va="bottom")
    return figure


_CAPTION = (
    "Lines: geometric mean over completed seeds; bands: smallest to largest; thin lines ending in ×: diverged runs.\n"
    "Grey ground: pretraining, its loss in the strip above (over its value before training)."
)


def _limits(statistics: Statistics, curves: pd.DataFrame, dataset: str) -> tuple[float, float]:
    """Ordinate from just below the best curve to just above the trivial predictor, the same for all backbones."""
    own = curves[(curves["dataset"] == dataset) & (curves["stage"] == "finetune")]["val_force_rmse"].dropna()
    trivial = max(r.trivial["force_rmse"] or 0.0 for r in statistics.strategies if r.dataset == dataset)
    top = max(1.35 * trivial, 1.1 * float(own.median()))
    return 0.85 * min(float(own.min()), top / 2), top


def _draw_strip(axes: Axes, panel: Panel) -> None:
    ends: list[tuple[float, float, str, str]] = []
    longest = 0.0
    for result in (r for r in panel.results if r.pretraining):
        curve = panel.curve(pretraining_rows, result, "val_loss", 0.0)
        if not len(curve.x):
            continue
        tint, start = colour(result.role, result.task), curve.mean[0]
        axes.plot(curve.x, curve.mean / start, color=tint, ls=panel.styles[result.strategy])
        axes.fill_between(curve.x, curve.low / start, curve.high / start, color=tint, alpha=0.18, lw=0)
        ends.append((curve.x[-1], curve.mean[-1] / start, result.strategy, tint))
        longest = max(longest, panel.offset(result))
        floor = _floor(panel, result)
        if floor is not None:
            axes.plot([0, curve.x[-1]], [floor / start] * 2, color=tint, lw=0.9, ls=(0, (1, 1.5)))
            ends.append((curve.x[-1], floor / start, "floor", tint))
    top = max([1.1, *(1.1 * end[1] for end in ends)])
    shade(axes, longest)
    axes.set_ylim(0, top)
    axes.set_yticks([0, 1])
    places = spread([end[1] for end in ends], 0.27 * top)
    for (_, _, text, tint), y in zip(ends, places, strict=True):
        axes.annotate(
            text, (longest, y), xytext=(3, 0), textcoords="offset points", color=tint, va="center", fontsize=6.5
        )


def _floor(panel: Panel, result: StrategyResult) -> float | None:
    floors = pretraining_rows(panel.runs, result)["floor"].dropna()
    return float(floors.mean()) if len(floors) else None


def _draw_main(axes: Axes, panel: Panel, limits: tuple[float, float], last: bool) -> None:
    ends: list[tuple[float, str, str]] = []
    for result in panel.results:
        offset, tint = panel.offset(result), colour(result.role, result.task)
        curve = panel.curve(finetuning_rows, result, "val_force_rmse", offset)
        axes.plot(curve.x, curve.mean, color=tint, ls=panel.styles[result.strategy], zorder=3)
        axes.fill_between(curve.x, curve.low, curve.high, color=tint, alpha=0.18, lw=0, zorder=2)
        for rows in curve.lost:
            axes.plot(rows["x"], rows["y"], color=tint, lw=0.6, ls=panel.styles[result.strategy])
            axes.plot(rows["x"].tail(1), rows["y"].tail(1), "x", color=tint, ms=4, zorder=4)
        if len(curve.mean):
            ends.append((curve.mean[-1], result.strategy, tint))
    own = panel.runs["dataset"] == panel.results[0].dataset
    trivial = panel.runs.loc[own, "trivial_val_force_rmse"].dropna()
    if len(trivial):
        axes.axhline(float(trivial.mean()), color=GREY, lw=0.9, ls=(0, (4, 2)), zorder=1)
        axes.annotate("trivial", (1, float(trivial.mean())), xycoords=("axes fraction", "data"), **_ABOVE)
    axes.set(yscale="log", ylim=limits)
    log_axis(axes.yaxis, *limits)
    axes.set_xlim(left=0)
    shade(axes, max((panel.offset(result) for result in panel.results), default=0.0))
    if last:
        _direct_labels(axes, ends, limits)


_ABOVE: dict[str, Any] = {
    "xytext": (0, 2),
    "textcoords": "offset points",
    "ha": "right",
    "color": GREY,
    "fontsize": 6.5,
}


def _direct_labels(axes: Axes, ends: list[tuple[float, str, str]], limits: tuple[float, float]) -> None:
    """Names right of the panel, at the height where the curves end, moved apart where they would overlap."""
    heights = np.log([end[0] / limits[0] for end in ends]) / np.log(limits[1] / limits[0])
    places = spread(heights.tolist(), 0.085)
    for (_, text, tint), y in zip(ends, places, strict=True):
        axes.annotate(text, (1.03, y), xycoords="axes fraction", color=tint, va="center", annotation_clip=False)


def _label(strip: Axes, main: Axes, column: int, abscissa: str, width: float) -> None:
    """``width`` of the figure in inches."""
    strip.tick_params(axis="x", labelbottom=False, length=0)
    main.set_xlabel(_LABELS[abscissa])
    if column == 0:
        strip.set_ylabel("pretraining\nloss / start")
        main.set_ylabel("validation force\nRMSE / (meV/Å)")
        for axes in (strip, main):
            axes.yaxis.set_label_coords(-_LABEL_INCHES / (axes.get_position().width * width), 0.5)
    else:
        strip.tick_params(labelleft=False)
        main.tick_params(labelleft=False)
