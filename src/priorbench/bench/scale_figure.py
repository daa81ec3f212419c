"""The figure of the suite ``scale``: what an atom costs against the atoms of a structure."""

import math
from itertools import cycle
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from priorbench.analysis.style import GREY, RC, colour, log_axis, new_figure, save, spread
from priorbench.bench.bounds import FLAT
from priorbench.bench.figure import MARKERS
from priorbench.bench.options import FINETUNING
from priorbench.bench.report import Report
from priorbench.bench.scale_tables import KINDS
from priorbench.bench.suite import Row

PANEL, HEIGHT = 2.15, 2.0  # inches, of a panel
LEFT, BETWEEN, RIGHT, TOP, BOTTOM = 0.74, 0.62, 0.62, 0.3, 0.8  # inches
TITLES = {"inference": "inference: energies and forces", "training": "training: a finetuning step"}
NAME = 0.13  # inches between the names at the ends of lines
BAND = 0.16  # opacity


def draw(report: Report, stem: Path) -> None:
    """Write ``stem``.pdf and ``stem``.png."""
    with mpl.rc_context(RC):
        save(scale_figure(report), stem)


def scale_figure(report: Report) -> Figure:
    """A panel for inference and one for training, a line a backbone."""
    rows = [row for row in report["suites"]["scale"] if row["best_ns_per_atom"]]
    kinds = [kind for kind in KINDS if any(row["kind"] == kind for row in rows)]
    width = LEFT + PANEL * len(kinds) + BETWEEN * (len(kinds) - 1) + RIGHT
    height = TOP + HEIGHT + BOTTOM
    figure = new_figure(width, height)
    space = {"left": LEFT / width, "right": 1 - RIGHT / width, "top": 1 - TOP / height, "bottom": BOTTOM / height}
    grid = figure.add_gridspec(1, max(len(kinds), 1), wspace=BETWEEN / PANEL, **space)
    costs = [_cost(row) for row in rows]
    limits = min(costs) / 1.5, max(costs) * 1.5
    for column, kind in enumerate(kinds):
        axes = figure.add_subplot(grid[0, column])
        _axes(axes, sorted({row["atoms"] for row in rows}), limits)
        axes.set_title(TITLES[kind], loc="left")
        _lines(axes, [row for row in rows if row["kind"] == kind])
        axes.set_xlabel("atoms of a structure")
        axes.set_ylabel("" if column else "cost of an atom / µs")
        axes.tick_params(labelleft=column == 0)
    figure.text(0.08 / width, 0.07 / height, _caption(report, rows), color=GREY, fontsize=6.5, va="bottom")
    return figure


def _axes(axes: Axes, sizes: list[int], limits: tuple[float, float]) -> None:
    axes.set(xscale="log", yscale="log", xlim=(sizes[0] / 1.4, sizes[-1] * 1.4), ylim=limits)
    axes.xaxis.set_major_locator(FixedLocator(sizes))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    log_axis(axes.yaxis, *limits)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))


def _lines(axes: Axes, rows: list[Row]) -> None:
    """Cost against size, named at the end, on a band as high as what counts as flat."""
    tint = colour("pretrained", FINETUNING)
    ends: dict[str, tuple[float, float]] = {}
    for backbone, marker in zip(dict.fromkeys(row["backbone"] for row in rows), cycle(MARKERS), strict=False):
        own = [row for row in rows if row["backbone"] == backbone]
        atoms, costs = [row["atoms"] for row in own], [_cost(row) for row in own]
        axes.fill_between(axes.get_xlim(), costs[0], costs[0] * FLAT, color=tint, alpha=BAND, lw=0, zorder=0)
        axes.plot(atoms, costs, marker=marker, ms=4, color=tint, lw=1.0, zorder=3)
        ends[backbone] = atoms[-1], math.log10(costs[-1])
    low, high = axes.get_ylim()
    heights = spread([height for _, height in ends.values()], NAME / HEIGHT * math.log10(high / low))
    where: dict[str, Any] = {"textcoords": "offset points", "va": "center", "annotation_clip": False}
    for (backbone, (atoms_at_end, _)), height in zip(ends.items(), heights, strict=True):
        axes.annotate(backbone, (atoms_at_end, 10**height), (6, 0), fontsize=7, **where)


def _cost(row: Row) -> float:
    """Microseconds an atom."""
    return float(row["best_ns_per_atom"]) / 1000


def _caption(report: Report, rows: list[Row]) -> str:
    machine = report["machine"]
    threads = f"{machine['threads']} thread{'s' * (machine['threads'] > 1)}"
    where = machine["gpu"] or f"{machine['cpu']}, {threads}"
    total = max(row["atoms"] * row["structures"] for row in rows)
    text = f"{where}; {total:,} atoms a step at every size.\nBands: up to {100 * (FLAT - 1):.0f} % above the smallest."
    if any(row["best_ns_per_atom"] is None for row in report["suites"]["scale"]):
        text += "  Lines end where a step needs more memory than there is."
    return text
