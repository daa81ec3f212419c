"""The one look of all figures: sizes, colours (Okabe–Ito, safe for colour-blind readers), ticks and saving.

A strategy's colour follows from what it is (its role and task), not from its name, so that it is the same in every
figure of every experiment; strategies that are the same in kind are told apart by line style.
"""

from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, MaxNLocator, NullLocator

from priorbench.io import atomic_path

if TYPE_CHECKING:
    from priorbench.analysis.results import StrategyResult

RC: dict[Any, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 7.5,
    "axes.titlesize": 8.5,
    "axes.labelsize": 7.5,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "lines.linewidth": 1.3,
    "lines.solid_capstyle": "round",
    "pdf.fonttype": 42,
    "savefig.dpi": 200,
}

GREY, SHADE = "#767676", "#EFEFEF"

_ROLE_COLOURS = {"scratch": "#000000", "longer-steps": "#E69F00", "longer-compute": "#CC79A7"}
_TASK_COLOURS = {"masking": "#009E73", "denoising": "#0072B2", "masking_denoising": "#56B4E9"}
_OTHER_TASK = "#D55E00"
_LINES = ("-", "--", "-.", ":")


def colour(role: str, task: str | None) -> str:
    """The colour of a strategy, by role and (pretrained ones) by task."""
    return _ROLE_COLOURS.get(role) or _TASK_COLOURS.get(task or "", _OTHER_TASK)


def line_styles(results: Sequence["StrategyResult"]) -> dict[str, str]:
    """A line style for each strategy name: solid, unless another of the same colour came before it."""
    styles: dict[str, str] = {}
    used: dict[str, list[str]] = {}
    for result in results:
        same = used.setdefault(colour(result.role, result.task), [])
        if result.strategy not in same:
            same.append(result.strategy)
        styles[result.strategy] = _LINES[same.index(result.strategy) % len(_LINES)]
    return styles


def new_figure(width: float, height: float) -> Figure:
    """An empty figure of ``width`` × ``height`` inches that needs no display."""
    figure = Figure(figsize=(width, height))
    FigureCanvasAgg(figure)
    return figure


def save(figure: Figure, stem: Path) -> None:
    """Write ``stem``.pdf and ``stem``.png without dates or versions: the same figure is the same file."""
    empty = {".pdf": {"Creator": None, "Producer": None, "CreationDate": None}, ".png": {"Software": None}}
    for suffix, metadata in empty.items():
        drawn = BytesIO()  # a disk that fails while it is written to ends matplotlib in an AttributeError
        with mpl.rc_context(RC):
            figure.savefig(drawn, format=suffix[1:], metadata=metadata)
        with atomic_path(stem.with_suffix(suffix)) as temporary:
            temporary.write_bytes(drawn.getvalue())


def log_axis(axis: Axis, low: float, high: float) -> None:
    """Plain numbers at round places of a log axis that runs from ``low`` to ``high``, a wide or a narrow range."""
    if high / low > 30:
        ticks = LogLocator(subs=(1.0,)).tick_values(low, high)
    elif high / low > 5:
        ticks = LogLocator(subs=(1.0, 2.0, 5.0)).tick_values(low, high)
    else:
        ticks = MaxNLocator(4, steps=[1, 2, 2.5, 5, 10]).tick_values(low, high)
    axis.set_major_locator(FixedLocator([tick for tick in ticks if low <= tick <= high]))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))


def spread(places: Sequence[float], gap: float) -> list[float]:
    """Move ``places`` apart until neighbours are ``gap`` away from each other, keeping order and centre of gravity."""
    order = sorted(range(len(places)), key=lambda i: (places[i], i))
    groups: list[list[int]] = []
    centres: list[float] = []
    for i in order:
        groups.append([i])
        centres.append(places[i])
        while len(groups) > 1 and centres[-1] - centres[-2] < gap * (len(groups[-1]) + len(groups[-2])) / 2:
            joined = groups[-2] + groups[-1]
            centre = (centres[-2] * len(groups[-2]) + centres[-1] * len(groups[-1])) / len(joined)
            groups[-2:], centres[-2:] = [joined], [centre]
    moved = list(places)
    for group, centre in zip(groups, centres, strict=True):
        for rank, i in enumerate(group):
            moved[i] = centre + gap * (rank - (len(group) - 1) / 2)
    return moved


def shade(axes: Axes, until: float) -> None:
    """Mark the pretraining: a grey ground from 0 to ``until``."""
    if until > 0:
        axes.axvspan(0, until, color=SHADE, lw=0, zorder=0)
