"""What the figures of all answers share: sizes for one or two columns of a paper, marks, limits, labels, captions."""

import textwrap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.transforms import ScaledTranslation

from priorbench.analysis.intervals import MARGIN, Estimate, Paired
from priorbench.analysis.style import GREY, SHADE, new_figure
from priorbench.questions.experiment import Member

#: Widths in inches of one and of two columns of a paper.
ONE_COLUMN, TWO_COLUMNS = 3.4, 7.0
SMALL = 6.5
_LETTERS_PER_INCH = 21.5
_LINE = 0.115  # inches

NOTE: dict[str, Any] = {"color": GREY, "fontsize": SMALL}


@dataclass(frozen=True)
class Mark:
    """A value with its interval (None: there is none) and those of the seeds."""

    mean: float
    low: float | None = None
    high: float | None = None
    seeds: Sequence[float] = field(default_factory=list)

    @property
    def extent(self) -> list[float]:
        """All numbers of it."""
        return [v for v in (self.mean, self.low, self.high, *self.seeds) if v is not None]


def change_mark(found: Paired | None, own: Member, other: Member | None, quantity: Any = "force") -> Mark | None:
    """A change in per cent with those of the seeds; None where nothing was measured."""
    if found is None or found.delta is None or other is None:
        return None
    pairs = {seed: (value, other.errors(quantity)[seed]) for seed, value in own.errors(quantity).items()}
    seeds = [100 * (a / b - 1) for a, b in pairs.values() if a is not None and b is not None]
    low, high = (None if v is None else 100 * v for v in (found.low, found.high))
    return Mark(100 * found.delta, low, high, seeds)


def error_mark(found: Estimate) -> Mark | None:
    """A mean with its interval; None where nothing was measured."""
    return None if found.mean is None else Mark(found.mean, found.low, found.high, found.values)


def limits(
    marks: Sequence[Mark], include: Sequence[float] = (0.0,), log: bool = False, least: float = 4.0
) -> tuple[float, float]:
    """A range that holds all means and seeds, and of the intervals as much as does not squeeze these.

    It is at least ``least`` wide, on logs a factor of 1.05.
    """
    inner = np.array([v for m in marks for v in (m.mean, *m.seeds)] + list(include))
    outer = np.array([v for m in marks for v in m.extent] + list(include))
    if log:
        inner, outer = np.log(inner[inner > 0]), np.log(outer[outer > 0])
    if not len(inner):
        return (0.1, 1.0) if log else (-1.0, 1.0)
    span = max(float(np.ptp(inner)), 0.05 if log else least)
    low = max(float(outer.min()), float(inner.min()) - 0.6 * span) - 0.08 * span
    high = min(float(outer.max()), float(inner.max()) + 0.6 * span) + 0.08 * span
    return (float(np.exp(low)), float(np.exp(high))) if log else (low, high)


def no_change(axes: Axes, horizontal: bool = True) -> None:
    """A line at no change, on the ground of changes too small to count."""
    span, line = (axes.axhspan, axes.axhline) if horizontal else (axes.axvspan, axes.axvline)
    span(-100 * MARGIN, 100 * MARGIN, color=SHADE, lw=0, zorder=0)
    line(0, color=GREY, lw=0.7, zorder=1)


_note: ContextVar[str] = ContextVar("note", default="")


@contextmanager
def noting(text: str) -> Iterator[None]:
    """End the caption of every figure made inside with ``text``."""
    before = _note.set(text)
    try:
        yield
    finally:
        _note.reset(before)


def figure_of(columns: int, height: float, caption: str) -> tuple[Figure, float]:
    """A figure of one or two columns with its caption beneath; the caption's height in inches comes with it."""
    width = ONE_COLUMN if columns < 2 else TWO_COLUMNS
    caption = f"{caption} {_note.get()}".rstrip().replace(" %", "\u00a0%")  # which no line may begin with
    lines = [line for part in caption.split("\n") for line in textwrap.wrap(part, int(width * _LETTERS_PER_INCH))]
    foot = _LINE * len(lines) + 0.06
    figure = new_figure(width, height + foot)
    figure.text(0.04 / width, 0.04 / (height + foot), "\n".join(lines), va="bottom", linespacing=1.2, **NOTE)
    return figure, foot


def aside(axes: Axes, points: float) -> Any:
    """Data coordinates moved right by so many points, on any scale."""
    figure = axes.get_figure()
    assert figure is not None
    return axes.transData + ScaledTranslation(points / 72, 0, figure.dpi_scale_trans)


def nothing_to_draw(missing: Sequence[str]) -> Figure:
    """A figure that says what was not run."""
    figure, _ = figure_of(1, 0.6, f"Not in this experiment: {', '.join(missing)}.")
    figure.text(0.5, 0.75, "nothing to draw", ha="center", va="center", color=GREY)
    return figure
