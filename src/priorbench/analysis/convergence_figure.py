"""``figures/convergence``: validation force RMSE against epochs and against seconds, pretraining included.

One column a backbone, two rows a dataset.  Each panel has a strip above it on the same abscissa with the validation
loss of the pretrainings (over its value before training) and masking's context-free floor; a finetuning curve starts
where its own pretraining ended and shows the least error so far, which is what a threshold is reached by.  Lines are
geometric means over the completed seeds, bands their smallest and largest value; variants of strategies (controls) are
thin and have no band.  A diverged run is a hair line that ends in a cross.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.offsetbox import AnnotationBbox, DrawingArea, HPacker, TextArea

from priorbench.analysis.results import Statistics, StrategyResult
from priorbench.analysis.style import GREY, colour, line_styles, log_axis, new_figure, shade, spread

_LABEL_INCHES = 0.38  # from the axes to their label
_PRETRAINING = {
    "epoch": "pretrain_epochs",
    "step": "pretrain_steps",
    "seconds": "pretrain_seconds",
    "flops": "pretrain_flops",
}
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
    """What one panel draws: the results of a place, its backbone's runs and curves, the abscissa.

    The abscissa is a column of the curves: epoch, step, seconds, or flops where it was added.
    """

    results: list[StrategyResult]
    runs: pd.DataFrame
    curves: pd.DataFrame
    abscissa: str
    styles: dict[str, str]

    def offset(self, result: StrategyResult) -> float:
        """Mean epochs, steps, seconds or FLOPs of the pretraining before a strategy."""
        own = finetuning_rows(self.runs, result)
        return float(own[_PRETRAINING[self.abscissa]].mean())

    def curve(self, own: Rows, result: StrategyResult, value: str, offset: float, least: bool = False) -> Curve:
        """The curve of a strategy, or of its pretraining (as ``own`` finds their rows), moved right by ``offset``.

        With ``least``, the smallest value so far of each seed in place of the value.
        """
        rows = own(self.curves, result).dropna(subset=[value])
        rows = pd.DataFrame({"seed": rows["seed"], "epoch": rows["epoch"], "y": rows[value], "x": rows[self.abscissa]})
        rows["x"] = rows["x"] + offset
        runs = own(self.runs, result)
        lost = set(runs.loc[runs["status"] != "completed", "seed"])
        done = rows[~rows["seed"].isin(lost) & (rows["y"] > 0)].sort_values("epoch")
        if least:
            done = done.assign(y=done.groupby("seed")["y"].cummin())
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
    figure = new_figure(max(5.4, 1.95 + 2.0 * len(backbones)), 0.85 + 5.0 * len(datasets))
    margins = {"left": 0.8 / figure.get_figwidth(), "right": 1 - 1.25 / figure.get_figwidth()}
    inches = figure.get_figheight()
    outer = figure.add_gridspec(
        2 * len(datasets), 1, hspace=0.38, top=1 - 0.35 / inches, bottom=0.95 / inches, **margins
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
    "Lines: least error so far, geometric mean over completed seeds; bands: smallest to largest seed.\n"
    "Thin, without band: controls; hair lines ending in ×: diverged runs.  Grey ground: pretraining, its loss in\n"
    "the strip above (over its value before training; dotted: the floor of a guess without context)."
)


def _limits(statistics: Statistics, curves: pd.DataFrame, dataset: str) -> tuple[float, float]:
    """Ordinate from just below the best curve to just above the trivial predictor, the same for all backbones."""
    own = curves[(curves["dataset"] == dataset) & (curves["stage"] == "finetune")]["val_force_rmse"].dropna()
    trivial = max(r.trivial["force_rmse"] or 0.0 for r in statistics.strategies if r.dataset == dataset)
    top = max(1.35 * trivial, 1.1 * float(own.median()))
    return 0.85 * min(float(own.min()), top / 2), top


def _draw_strip(axes: Axes, panel: Panel) -> None:
    ends: list[_End] = []
    longest = max((panel.offset(result) for result in panel.results), default=0.0)
    for result in _pretrainings(panel):
        curve = panel.curve(pretraining_rows, result, "val_loss", 0.0)
        if not len(curve.x):
            continue
        tint, start = colour(result.role, result.task), curve.mean[0]
        axes.plot(curve.x, curve.mean / start, color=tint, **_line(panel, result))
        axes.fill_between(curve.x, curve.low / start, curve.high / start, color=tint, alpha=0.18, lw=0)
        ends.append(_End(curve.mean[-1] / start, result, tint))
        floor = _floor(panel, result)
        if floor is not None:
            axes.plot([0, curve.x[-1]], [floor / start] * 2, color=tint, lw=0.9, ls=(0, (1, 1.5)))
    if not ends:
        axes.set_axis_off()  # no pretraining at all
    top = max([1.1, *(1.1 * end.height for end in ends)])
    shade(axes, longest)
    axes.set_ylim(0, top)
    axes.set_yticks([0, 1])
    for end, y in zip(ends, spread([end.height for end in ends], 0.25 * top), strict=True):
        _name(axes, (longest, y), "data", panel, end, 6.5)


def _pretrainings(panel: Panel) -> list[StrategyResult]:
    """One strategy for each pretraining that several may share, where possible one that is no variant."""
    found: dict[tuple[object, ...], StrategyResult] = {}
    for result in sorted(panel.results, key=lambda r: r.role == "variant"):
        if result.pretraining:
            found.setdefault((result.learned_from, *zip(result.parents, result.seeds, strict=True)), result)
    # The trials of two strategies may differ in the pretraining chosen; a name is then given once.
    return list({(r.task, r.role, r.strategy): r for r in found.values()}.values())


@dataclass(frozen=True)
class _End:
    """Where a curve ends, on the axis or as a fraction of it, and whose it is."""

    height: float
    result: StrategyResult
    tint: str


def _line(panel: Panel, result: StrategyResult) -> dict[str, Any]:
    """How a strategy's line is drawn."""
    return {"ls": panel.styles[result.strategy], "lw": 0.8 if result.role == "variant" else 1.3}


def _name(axes: Axes, place: tuple[float, float], coordinates: Any, panel: Panel, end: _End, size: float) -> None:
    """A stretch of its line and the name of a strategy, right of ``place``."""
    sample = DrawingArea(13, size)
    sample.add_artist(Line2D([0, 13], [size / 2, size / 2], color=end.tint, **_line(panel, end.result)))
    text = TextArea(end.result.strategy, textprops={"color": end.tint, "fontsize": size})
    box = HPacker(children=[sample, text], align="center", pad=0, sep=3)
    options = {"xycoords": coordinates, "boxcoords": "offset points", "box_alignment": (0, 0.5)}
    axes.add_artist(AnnotationBbox(box, place, (4, 0), frameon=False, pad=0, annotation_clip=False, **options))


def _floor(panel: Panel, result: StrategyResult) -> float | None:
    floors = pretraining_rows(panel.runs, result)["floor"].dropna()
    return float(floors.mean()) if len(floors) else None


def _draw_main(axes: Axes, panel: Panel, limits: tuple[float, float], last: bool) -> None:
    ends: list[_End] = []
    for result in panel.results:
        offset, tint = panel.offset(result), colour(result.role, result.task)
        curve = panel.curve(finetuning_rows, result, "val_force_rmse", offset, least=True)
        axes.plot(curve.x, curve.mean, color=tint, zorder=3, **_line(panel, result))
        if result.role != "variant":
            axes.fill_between(curve.x, curve.low, curve.high, color=tint, alpha=0.18, lw=0, zorder=2)
        for rows in curve.lost:
            axes.plot(rows["x"], rows["y"], color=tint, lw=0.5, ls=panel.styles[result.strategy])
            axes.plot(rows["x"].tail(1), rows["y"].tail(1), "x", color=tint, ms=4, zorder=4)
        if len(curve.mean):
            ends.append(_End(curve.mean[-1], result, tint))
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
        _direct_labels(axes, panel, ends, limits)


_ABOVE: dict[str, Any] = {
    "xytext": (0, 2),
    "textcoords": "offset points",
    "ha": "right",
    "color": GREY,
    "fontsize": 6.5,
}


def _direct_labels(axes: Axes, panel: Panel, ends: list[_End], limits: tuple[float, float]) -> None:
    """Names right of the panel, at the height where the curves end, moved apart where they would overlap."""
    heights = np.log([end.height / limits[0] for end in ends]) / np.log(limits[1] / limits[0])
    for end, y in zip(ends, spread(heights.tolist(), 0.085), strict=True):
        _name(axes, (1, y), "axes fraction", panel, end, 7.5)


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
