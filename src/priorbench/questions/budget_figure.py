"""The figure of Q3: test force RMSE of scratch over its budget on log axes, masking as a point."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from priorbench.analysis.style import colour, log_axis, spread
from priorbench.questions.draw import SMALL, Mark, aside, error_mark, figure_of, limits
from priorbench.questions.experiment import Member, Place

_AXES = {"steps": ("optimiser steps", 1.0), "flops": ("counted TFLOP", 1e12)}
_CAPTION = (
    "Test force RMSE over the budget, pretraining included: geometric mean, 95 % interval, seeds as small dots. Every "
    "budget of scratch (joined by lines) is a run of its own with its own schedule."
)


def budget_figure(places: Sequence[tuple[Place, Sequence[Member], Sequence[Member]]]) -> Figure:
    """A row for each place: against steps, against FLOPs; ``places`` have their curve and their maskings."""
    panel, gap = 1.75, 0.62
    figure, foot = figure_of(2, 0.12 + len(places) * (panel + gap), _CAPTION)
    width, height = figure.get_size_inches()
    grid = figure.add_gridspec(
        len(places), 2, hspace=gap / panel, wspace=0.16, left=0.65 / width, right=1 - 0.95 / width,
        top=1 - 0.28 / height, bottom=(foot + 0.4) / height,
    )  # fmt: skip
    for i, (place, curve, masks) in enumerate(places):
        for j, unit in enumerate(_AXES):
            axes = figure.add_subplot(grid[i, j])
            ends = _draw(axes, curve, masks, unit)
            axes.set_title(f"{place[1]}, {place[0]}" if j == 0 else "", loc="left")
            axes.set_xlabel(_AXES[unit][0])
            axes.set_ylabel("" if j else "test force\nRMSE / (meV/Å)")
            if j:
                axes.set_yticklabels([])
                _labels(axes, ends)
    return figure


def _draw(axes: Axes, curve: Sequence[Member], masks: Sequence[Member], unit: str) -> list[tuple[float, str, str]]:
    """Draw one panel; what stands at its right end, with names and colours, is returned."""
    scale = _AXES[unit][1]
    shown: list[tuple[Member, float, Mark]] = []
    for member in [*curve, *masks]:
        mark = error_mark(member.result.errors["force_rmse"])
        if mark is not None:
            shown.append((member, member.budget(unit) / scale, mark))
    line = sorted((x, mark.mean) for member, x, mark in shown if member not in masks)
    axes.plot([x for x, _ in line], [y for _, y in line], color=colour("scratch", None), lw=1.0, zorder=2)
    for member, x, mark in shown:
        tint = colour(member.result.role, member.result.task)
        if mark.low is not None and mark.high is not None:
            axes.plot([x, x], [mark.low, mark.high], color=tint, lw=1.4, zorder=3)
        dots = {"color": tint, "ms": 1.9, "mew": 0, "alpha": 0.5, "transform": aside(axes, 4.5)}
        axes.plot([x] * len(mark.seeds), mark.seeds, "o", **dots)
        axes.plot([x], [mark.mean], "o", color=tint, ms=4.6, mec="white", mew=0.5, zorder=4)
    xs = [x for _, x, _ in shown]
    ordinate = limits([mark for _, _, mark in shown], [], log=True)
    edge = (max(xs) / min(xs)) ** 0.08
    axes.set(xscale="log", yscale="log", xlim=(min(xs) / edge, max(xs) * edge), ylim=ordinate)
    log_axis(axes.xaxis, min(xs) / edge, max(xs) * edge)
    log_axis(axes.yaxis, *ordinate)
    names = [(mark.mean, member.name, colour(member.result.role, member.result.task)) for member, _, mark in shown]
    return names


def _labels(axes: Axes, names: Sequence[tuple[float, str, str]]) -> None:
    low, high = np.log(axes.get_ylim())
    heights = [min(max(float((np.log(y) - low) / (high - low)), 0.03), 0.97) for y, _, _ in names]
    for (_, text, tint), y in zip(names, spread(heights, 0.075), strict=True):
        axes.annotate(text, (1.03, y), xycoords="axes fraction", color=tint, va="center", fontsize=SMALL)
