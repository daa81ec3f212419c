"""The figure of a report: what a step costs in matmul units, and how near it comes to the matrix product's rate."""

from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from priorbench.analysis.style import GREY, RC, colour, log_axis, new_figure, save
from priorbench.bench.report import Report
from priorbench.bench.steps_tables import CODES
from priorbench.bench.suite import Row

SHADES = {"forward": 1.0, "backward": 0.6, "data": 0.25, "optimiser": 0.25}  # opacity of a phase
MARKERS = ("o", "s", "^", "D", "v", "P")
ROW, BAR, GAP = 0.27, 0.4, 0.5  # inches a row; a bar and what is between backbones, in rows
NAMES, PANEL, RIGHT, BETWEEN = 1.0, 1.75, 2.25, 0.75  # inches
TOP, BOTTOM, LEAST = 0.3, 1.0, 2.2  # inches

Places = dict[tuple[str, str], float]  # ordinate of a backbone and task, in rows


def draw(report: Report, stem: Path) -> None:
    """Write ``stem``.pdf and ``stem``.png."""
    with mpl.rc_context(RC):
        save(steps_figure(report), stem)


def steps_figure(report: Report) -> Figure:
    """Bars of matmul units, a panel for each number of atoms; on the right the share of the rate."""
    rows = report["suites"]["steps"]
    sizes, places = sorted({row["atoms"] for row in rows}), _places(rows)
    end = NAMES + PANEL * len(sizes)
    width, height = end + BETWEEN + RIGHT + 0.12, max(ROW * (max(places.values()) + 1.2), LEAST) + TOP + BOTTOM
    figure = new_figure(width, height)
    vertical = {"top": 1 - TOP / height, "bottom": BOTTOM / height}
    grid = figure.add_gridspec(1, len(sizes), left=NAMES / width, right=end / width, wspace=0.1, **vertical)
    for column, atoms in enumerate(sizes):
        axes = figure.add_subplot(grid[0, column])
        _bars(axes, [row for row in rows if row["atoms"] == atoms], places, height - TOP - BOTTOM)
        axes.set_title(f"{atoms} atoms", loc="left")
        _row_names(axes, places if column == 0 else {})
    label = "matmul units of a structure / GFLOP"
    figure.text((NAMES + end) / 2 / width, (BOTTOM - 0.345) / height, label, ha="center")
    grid = figure.add_gridspec(1, 1, left=(end + BETWEEN) / width, right=1 - 0.12 / width, **vertical)
    _shares(figure.add_subplot(grid[0, 0]), rows, report["machine"])
    _legends(figure, rows)
    figure.text(0.08 / width, 0.07 / height, _caption(report, rows), color=GREY, fontsize=6.5, va="bottom")
    return figure


def _places(rows: list[Row]) -> Places:
    places: Places = {}
    last, y = None, -1.0
    for backbone, task in dict.fromkeys((row["backbone"], row["task"]) for row in rows):
        y += 1 + (GAP if last not in (None, backbone) else 0)
        places[backbone, task], last = y, backbone
    return places


def _tint(task: str) -> str:
    return colour("pretrained", task)


def _row_names(axes: Axes, places: Places) -> None:
    axes.tick_params(axis="y", length=0)
    axes.set_yticks(list(places.values()), [task for _, task in places])
    for label, (_, task) in zip(axes.get_yticklabels(), places, strict=True):
        label.set_color(_tint(task))
    for backbone in dict.fromkeys(name for name, _ in places):
        own = [y for (name, _), y in places.items() if name == backbone]
        centre, offset = (0, (min(own) + max(own)) / 2), (-62, 0)
        where: dict[str, Any] = {"xycoords": ("axes fraction", "data"), "textcoords": "offset points"}
        axes.annotate(backbone, centre, offset, rotation=90, ha="center", va="center", fontsize=8.5, **where)


def _bars(axes: Axes, rows: list[Row], places: Places, height: float) -> None:
    """Two bars a row, priorbench above the textbook version, whose end bears the ratio of the two."""
    for row in rows:
        y = places[row["backbone"], row["task"]]
        _stack(axes, row["priorbench"], y - BAR / 2, _tint(row["task"]))
        if other := row["textbook"]:
            _stack(axes, other, y + BAR / 2, GREY)
            where: dict[str, Any] = {"textcoords": "offset points", "va": "center", "fontsize": 6.5}
            axes.annotate(f"{row['ratio']:.1f}×", (other["matmul_units"], y + BAR / 2), (3, 0), color=GREY, **where)
    longest = max(row[code]["matmul_units"] for row in rows for code in CODES if row[code])
    axes.set(xlim=(0, 1.16 * longest), ylim=(height / ROW - 0.6, -0.6))


def _stack(axes: Axes, found: dict[str, Any], y: float, tint: str) -> None:
    start, scale = 0.0, found["matmul_units"] / found["ms"]
    for phase, shade in SHADES.items():
        length = found["phases_ms"][phase] * scale
        axes.barh(y, length, BAR, start, color=tint, alpha=shade, lw=0)
        start += length


def _shares(axes: Axes, rows: list[Row], machine: dict[str, Any]) -> None:
    """Share of the matrix product's rate against the edges of a step, a line for each backbone and task."""
    for (backbone, task), marker in _markers(rows).items():
        own = sorted((r for r in rows if (r["backbone"], r["task"]) == (backbone, task)), key=lambda r: r["atoms"])
        for code in CODES:
            measured = [r for r in own if r[code]]
            shares = [100 * r[code]["matmul_share"] for r in measured]
            style: dict[str, Any] = {"color": _tint(task), "lw": 1.0, "zorder": 3}
            if code == "textbook":
                style = {"color": GREY, "mfc": "white", "lw": 0.7, "ls": ":", "mew": 0.8}
            axes.plot([r["edges_per_step"] for r in measured], shares, marker=marker, ms=4, **style)
    axes.axhline(100, color="black", lw=0.9)
    where: dict[str, Any] = {"xycoords": ("axes fraction", "data"), "textcoords": "offset points"}
    text = f"a matrix product alone: {machine['matmul_gflops']:.0f} GFLOP/s"
    axes.annotate(text, (1, 100), (0, -3), ha="right", va="top", fontsize=6.5, **where)
    edges = [row["edges_per_step"] for row in rows]
    limits = min(edges) / 1.6, max(edges) * 1.6
    axes.set(xscale="log", xlim=limits, ylim=(0, 105))
    axes.set(xlabel="edges in a step", ylabel="share of the matrix product's rate / %")
    log_axis(axes.xaxis, *limits)


def _markers(rows: list[Row]) -> dict[tuple[str, str], str]:
    """The marker of each backbone, by backbone and task."""
    backbones = list(dict.fromkeys(row["backbone"] for row in rows))
    return {(row["backbone"], row["task"]): MARKERS[backbones.index(row["backbone"]) % len(MARKERS)] for row in rows}


def _legends(figure: Figure, rows: list[Row]) -> None:
    width, height = figure.get_size_inches()
    style: dict[str, Any] = {"frameon": False, "handlelength": 1, "handletextpad": 0.5, "columnspacing": 1.2}
    shades = {"forward": "forward", "backward": "backward", "data": "data, optimiser"}
    patches = [Patch(color="#404040", alpha=SHADES[phase], lw=0, label=text) for phase, text in shades.items()]
    at = (NAMES / width, (BOTTOM - 0.7) / height)
    figure.legend(handles=patches, loc="lower left", ncols=3, bbox_to_anchor=at, borderpad=0, **style)
    markers = {backbone: marker for (backbone, _), marker in _markers(rows).items()}
    marks = [Line2D([], [], color="#404040", marker=m, ls="", ms=4, label=name) for name, m in markers.items()]
    at = (1 - 0.12 / width, (BOTTOM - 0.7) / height)
    figure.legend(handles=marks, loc="lower right", ncols=len(marks), bbox_to_anchor=at, borderpad=0, **style)


def _caption(report: Report, rows: list[Row]) -> str:
    machine = report["machine"]
    threads = f"{machine['threads']} thread{'s' * (machine['threads'] > 1)}"
    where = machine["gpu"] or f"{machine['cpu']}, {threads}"
    text = f"{where}; {rows[0]['batch_size']} structures a step."
    if any(row["textbook"] for row in rows):
        text += "  Colours: priorbench; grey: textbook PyTorch Geometric, with its time over priorbench's."
    return text
