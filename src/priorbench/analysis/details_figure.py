"""``figures/details``: test force RMSE by part of the motion and by element, drawn from ``details.csv``.

Colours and the order of strategies come from ``statistics.json``.
"""

import textwrap
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from priorbench.analysis.intervals import estimate
from priorbench.analysis.records import load_details
from priorbench.analysis.results import Statistics, StrategyResult, load_statistics, lost
from priorbench.analysis.style import GREY, RC, colour, line_styles, log_axis, new_figure, save
from priorbench.errors import PriorbenchError

_KINDS = ("part", "element")
_STEP, _GAP, _BETWEEN = 0.13, 0.12, 0.14  # inches: a strategy, after a key, after a kind as well
_LETTERS_PER_INCH, _LINE = 21, 0.115  # of the caption; inches

Keys = list[tuple[str, str]]


def draw_details(details_csv: Path, statistics_json: Path, output_dir: Path) -> None:
    """Write ``details.{pdf,png}`` into ``output_dir``."""
    table, statistics = load_details(details_csv), load_statistics(statistics_json)
    places = set(zip(table["dataset"], table["backbone"], table["strategy"], strict=True))
    unknown = places - {(*result.place, result.strategy) for result in statistics.strategies}
    if unknown:
        raise PriorbenchError(f"{details_csv}: {'/'.join(min(unknown))} is not in {statistics_json}; collect it again")
    with mpl.rc_context(RC):
        save(details_figure(table, statistics), output_dir / "details")


def details_figure(table: pd.DataFrame, statistics: Statistics) -> Figure:
    """Mean and 95 % interval of every part and element, seeds as dots; a row a dataset, a column a backbone."""
    datasets = list(dict.fromkeys(dataset for dataset, _ in statistics.places))
    backbones = list(dict.fromkeys(backbone for _, backbone in statistics.places))
    shown = table[table["kind"].isin(_KINDS) & (table["rmse"] > 0)]
    keys = {dataset: _keys(shown[shown["dataset"] == dataset]) for dataset in datasets}
    strategies = {d: max(len(statistics.of(d, b)) for b in backbones) for d in datasets}
    heights = [_height(keys[dataset], strategies[dataset]) for dataset in datasets]
    styles, legend = line_styles(statistics.strategies), _legend(statistics)
    width = max(5.2, 1.1 + 2.15 * len(backbones))
    columns = int(width / 1.25)  # of the legend
    note = textwrap.wrap(lost(statistics.strategies), int(width * _LETTERS_PER_INCH))
    foot = 0.82 + 0.16 * -(-len(legend) // columns) + _LINE * len(note)
    height = 0.3 + sum(heights) + 0.75 * (len(datasets) - 1) + foot
    figure = new_figure(width, height)
    grid = figure.add_gridspec(
        len(datasets), len(backbones), height_ratios=heights, wspace=0.1,
        hspace=0.75 * len(datasets) / sum(heights), left=0.8 / width, right=1 - 0.1 / width, top=1 - 0.3 / height,
        bottom=foot / height,
    )  # fmt: skip
    for row, dataset in enumerate(datasets):
        for column, backbone in enumerate(backbones):
            if results := statistics.of(dataset, backbone):
                axes = figure.add_subplot(grid[row, column])
                own = shown[(shown["dataset"] == dataset) & (shown["backbone"] == backbone)]
                _draw(axes, own, results, keys[dataset], styles)
                axes.set_title(f"{backbone}, {dataset}", loc="left")
                if column:
                    axes.set_yticklabels([])
    handles = [_handle(result, styles) for result in legend]
    figure.legend(
        handles=handles,
        loc="lower left",
        bbox_to_anchor=(0.01, (0.38 + _LINE * len(note)) / height),
        ncols=columns,
        **_LEGEND,
    )
    figure.text(0.01, 0.1 / height, "\n".join([_CAPTION, *note]), color=GREY, fontsize=6.5, va="bottom")
    return figure


_CAPTION = (
    "Large dots, bars: geometric mean, 95 % t-interval over completed seeds; small dots: seeds.\n"
    "Parts: the error on intact molecules as what moves, turns and deforms them; elements: all atoms."
)
_LEGEND: dict[str, Any] = {
    **{"frameon": False, "fontsize": 7, "handlelength": 1.6, "columnspacing": 1.4},
    **{"borderpad": 0, "borderaxespad": 0, "labelcolor": "linecolor"},
}


def _keys(table: pd.DataFrame) -> Keys:
    """Every kind and key of a dataset, in the order of the table."""
    pairs = list(dict.fromkeys(zip(table["kind"], table["key"], strict=True)))
    return [pair for kind in _KINDS for pair in pairs if pair[0] == kind]


def _places(keys: Keys, strategies: int) -> list[float]:
    """Where each key begins, inches from the top; last where everything ends."""
    places, y = [], 0.0
    for i, (kind, _) in enumerate(keys):
        y += _BETWEEN if i and keys[i - 1][0] != kind else 0.0
        places.append(y)
        y += _STEP * strategies + _GAP
    return [*places, max(y - _GAP, 0.5)]


def _height(keys: Keys, strategies: int) -> float:
    return _places(keys, strategies)[-1] + _STEP


def _draw(axes: Axes, table: pd.DataFrame, results: list[StrategyResult], keys: Keys, styles: dict[str, str]) -> None:
    *places, end = _places(keys, len(results))
    for place, (kind, key) in zip(places, keys, strict=True):
        rows = table[(table["kind"] == kind) & (table["key"] == key)]
        for i, result in enumerate(results):
            values = rows[rows["strategy"] == result.strategy].sort_values("seed")["rmse"].tolist()
            _draw_estimate(axes, place + _STEP * i, values, colour(result.role, result.task), styles[result.strategy])
    axes.set_ylim(end, -_STEP)
    middle = _STEP * (len(results) - 1) / 2
    axes.set_yticks([place + middle for place in places], [key for _, key in keys])
    axes.tick_params(axis="y", length=0)
    axes.set_xlabel("test force RMSE / (meV/Å)")
    drawn = [float(value) for line in axes.lines for value in np.asarray(line.get_xdata(), float)]
    if drawn:
        limits = min(drawn) / 1.1, max(drawn) * 1.1
        axes.set(xscale="log", xlim=limits)
        log_axis(axes.xaxis, *limits)


def _draw_estimate(axes: Axes, y: float, values: list[float], tint: str, style: str) -> None:
    found = estimate(values)
    axes.plot(values, [y + 0.3 * _STEP] * len(values), "o", color=tint, ms=1.8, alpha=0.55, mew=0)
    if found.low is not None and found.high is not None:
        axes.plot([found.low, found.high], [y, y], color=tint, lw=1.2, ls=style)
    if found.mean is not None:
        axes.plot([found.mean], [y], "o", color=tint, ms=3.6, mec="white", mew=0.4, zorder=3)


def _legend(statistics: Statistics) -> list[StrategyResult]:
    """Every strategy once."""
    return list({result.strategy: result for result in reversed(statistics.strategies)}.values())[::-1]


def _handle(result: StrategyResult, styles: dict[str, str]) -> Line2D:
    look: dict[str, Any] = {
        "color": colour(result.role, result.task),
        "ls": styles[result.strategy],
        "marker": "o",
        "ms": 4,
    }
    return Line2D([], [], label=result.strategy, lw=1.2, mec="white", mew=0.5, **look)
