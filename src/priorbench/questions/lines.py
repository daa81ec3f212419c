"""Figures with what was set along the abscissa: a change or an error over a scan, a series for each strategy."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from priorbench.analysis.style import log_axis, spread
from priorbench.questions.draw import SMALL, Mark, aside, figure_of, limits, no_change

#: So many letters of names have room beneath the panels of a row.
_LETTERS = 60

Scale = Literal["names", "linear", "log"]


@dataclass(frozen=True)
class Series:
    """Marks over the abscissa in one colour, joined by a line unless the abscissa has names."""

    label: str
    colour: str
    marks: dict[float, Mark]
    line: str = "-"
    hollow: bool = False


@dataclass(frozen=True)
class Band:
    """A reference that does not depend on the abscissa: its mean as a line, its interval as ground."""

    label: str
    colour: str
    mark: Mark


@dataclass(frozen=True)
class Panel:
    """One pair of axes."""

    title: str
    series: Sequence[Series]
    bands: Sequence[Band] = field(default_factory=list)
    ylabel: str = ""


@dataclass(frozen=True)
class Abscissa:
    """What was set: ``names`` stand at 0, 1, …"""

    label: str
    scale: Scale
    names: Sequence[str] = field(default_factory=list)


def line_figure(rows: Sequence[Sequence[Panel]], abscissa: Abscissa, caption: str, change: bool = True) -> Figure:
    """Rows of panels; ``change``: the ordinate is a change in per cent, shared by a row, otherwise an error on logs."""
    columns = max(len(row) for row in rows)
    turned = abscissa.scale == "names" and columns * len("".join(abscissa.names)) > _LETTERS
    panel, gap = 1.45, 0.75 if turned else 0.42
    figure, foot = figure_of(columns, 0.3 + len(rows) * (panel + gap), caption)
    width, height = figure.get_size_inches()
    grid = figure.add_gridspec(
        len(rows), columns, hspace=gap / panel, wspace=0.12 if change else 0.3, left=(0.6 if change else 0.78) / width,
        right=1 - _margin(rows) / width, top=1 - 0.28 / height, bottom=(foot + gap) / height,
    )  # fmt: skip
    for i, row in enumerate(rows):
        shared = _range(row, change)
        for j, item in enumerate(row):
            axes = figure.add_subplot(grid[i, j])
            _draw(axes, item, abscissa, shared if change else _range([item], change), change)
            axes.set_ylabel(item.ylabel if j == 0 else "")
            axes.set_xlabel(abscissa.label if i == len(rows) - 1 else "")
            if turned:
                axes.tick_params(axis="x", rotation=30)
            if change and j:
                axes.set_yticklabels([])
            if j == len(row) - 1:
                _labels(axes, item, change)
    return figure


def _margin(rows: Sequence[Sequence[Panel]]) -> float:
    """Inches that the names right of the last panels take."""
    panels = [panel for row in rows for panel in row]
    names = [series.label for panel in panels for series in panel.series]
    names += [band.label for panel in panels for band in panel.bands]
    return max(0.95, 0.25 + 0.058 * max(map(len, names), default=0))


def _range(panels: Sequence[Panel], change: bool) -> tuple[float, float]:
    marks = [mark for p in panels for s in p.series for mark in s.marks.values()]
    marks += [replace(band.mark, seeds=[]) for p in panels for band in p.bands]
    return limits(marks, [0.0] if change else [], log=not change)


def _draw(axes: Axes, panel: Panel, abscissa: Abscissa, ordinate: tuple[float, float], change: bool) -> None:
    axes.set_title(panel.title, loc="left")
    if change:
        no_change(axes)
    for band in panel.bands:
        if band.mark.low is not None and band.mark.high is not None:
            axes.axhspan(band.mark.low, band.mark.high, color=band.colour, alpha=0.14, lw=0, zorder=1)
        axes.axhline(band.mark.mean, color=band.colour, lw=1.0, ls=(0, (4, 2)), zorder=2)
    many = len(panel.series)
    for k, series in enumerate(panel.series):
        _draw_series(axes, series, abscissa, 3.0 * (k - (many - 1) / 2))
    _scale_x(axes, abscissa, [x for series in panel.series for x in series.marks])
    axes.set_ylim(*ordinate)
    if not change:
        axes.set_yscale("log")
        log_axis(axes.yaxis, *ordinate)


def _draw_series(axes: Axes, series: Series, abscissa: Abscissa, shift: float) -> None:
    """One series, moved right by ``shift`` points so that intervals do not cover those of the others."""
    moved, seeds = aside(axes, shift), aside(axes, shift + 4.5)
    places = sorted(series.marks)
    if abscissa.scale != "names":
        means = [series.marks[x].mean for x in places]
        axes.plot(places, means, color=series.colour, ls=series.line, lw=1.0, zorder=3, transform=moved)
    face = "white" if series.hollow else series.colour
    for x in places:
        mark = series.marks[x]
        if mark.low is not None and mark.high is not None:
            axes.plot([x, x], [mark.low, mark.high], color=series.colour, lw=1.4, zorder=3, transform=moved)
        dots: dict[str, Any] = {"color": series.colour, "mew": 0, "ms": 1.9, "alpha": 0.5, "zorder": 2}
        axes.plot([x] * len(mark.seeds), mark.seeds, "o", transform=seeds, **dots)
        look: dict[str, Any] = {"mfc": face, "mec": series.colour, "mew": 0.9, "ms": 4.2, "zorder": 4}
        axes.plot([x], [mark.mean], "o", transform=moved, **look)


def _scale_x(axes: Axes, abscissa: Abscissa, values: Sequence[float]) -> None:
    if abscissa.scale == "names":
        axes.set_xlim(-0.6, len(abscissa.names) - 0.4)
        axes.set_xticks(range(len(abscissa.names)), list(abscissa.names))
        return
    ticks = sorted(set(values))
    if abscissa.scale == "log":
        low, high = (ticks[0], ticks[-1]) if ticks else (1.0, 10.0)
        edge = max((high / low) ** 0.08, 1.15)
        axes.set(xscale="log", xlim=(low / edge, high * edge))
        log_axis(axes.xaxis, low / edge, high * edge)
    elif ticks:
        edge = max(0.08 * (ticks[-1] - ticks[0]), 0.05)
        axes.set_xlim(ticks[0] - edge, ticks[-1] + edge)
    if ticks and len(ticks) <= 6:
        axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
        axes.minorticks_off()


def _labels(axes: Axes, panel: Panel, change: bool) -> None:
    """Names right of the last panel, at the height of what they name, moved apart where they would overlap."""
    named = [series for series in panel.series if series.label and series.marks]
    ends = [(s.marks[max(s.marks)].mean, f"{s.label} ○" if s.hollow else s.label, s.colour) for s in named]
    ends += [(band.mark.mean, band.label, band.colour) for band in panel.bands]
    low, high = axes.get_ylim()
    scaled = [(np.log([v, low, high]) if not change else np.array([v, low, high])) for v, _, _ in ends]
    heights = [min(max(float((v - a) / (b - a)), 0.03), 0.97) for v, a, b in scaled]
    for (_, text, tint), y in zip(ends, spread(heights, 0.1), strict=True):
        axes.annotate(
            text, (1.03, y), xycoords="axes fraction", color=tint, va="center", fontsize=SMALL, annotation_clip=False
        )
