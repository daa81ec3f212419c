"""Forest plots: a line for each strategy, a panel for each reference or quantity."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from priorbench.analysis.style import GREY
from priorbench.questions.draw import Mark, figure_of, limits, no_change


@dataclass(frozen=True)
class Line:
    """A name with one mark a panel; a second, hollow one below it where ``hollow`` has it.  None: not measured."""

    label: str
    colour: str
    marks: Sequence[Mark | None]
    hollow: Sequence[Mark | None] = field(default_factory=list)


@dataclass(frozen=True)
class Heading:
    """What stands beneath a column of panels; ``change``: in per cent, with a line at none; ``at``: another line."""

    label: str
    change: bool = True
    at: float | None = None


@dataclass(frozen=True)
class Block:
    """Lines under one title, usually those of a dataset and backbone."""

    title: str
    lines: Sequence[Line]


_LETTER, _LEAST = 0.063, 1.15  # inches of a letter at most, and of a column of labels at least


def forest_figure(blocks: Sequence[Block], headings: Sequence[Heading], caption: str) -> Figure:
    """Blocks beneath each other, a column of panels for each heading; labels have the room that the longest needs."""
    longest = max((len(line.label) for block in blocks for line in block.lines), default=0)
    label_width = max(_LEAST, 0.12 + _LETTER * longest)
    step, gap = 0.23, 0.34
    inches = [gap + step * max(len(block.lines), 1) for block in blocks]
    columns = 1 if len(headings) == 1 else 2
    figure, _ = figure_of(columns, sum(inches) + 0.45, caption)
    width, height = figure.get_size_inches()
    right, between = 0.14, 0.18
    panel = (width - label_width - right - between * (len(headings) - 1)) / len(headings)
    top = height
    for block, tall in zip(blocks, inches, strict=True):
        top -= tall
        for k, heading in enumerate(headings):
            left = label_width + k * (panel + between)
            axes = figure.add_axes((left / width, top / height, panel / width, (tall - gap) / height))
            _draw(axes, block, heading, k, _range(blocks, k, heading))
            if k:
                axes.set_yticklabels([])
            if block is blocks[-1]:
                axes.set_xlabel(heading.label)
            else:
                axes.set_xticklabels([])
        figure.text(0.06 / width, (top + tall - 0.12) / height, block.title, va="top", fontsize=8.5)
    return figure


def _range(blocks: Sequence[Block], k: int, heading: Heading) -> tuple[float, float]:
    shown = [line.marks[k] for block in blocks for line in block.lines]
    shown += [line.hollow[k] for block in blocks for line in block.lines if line.hollow]
    include = [0.0] if heading.change else [] if heading.at is None else [heading.at]
    return limits([mark for mark in shown if mark], include, least=4.0 if heading.change else 0.05)


def _draw(axes: Axes, block: Block, heading: Heading, k: int, abscissa: tuple[float, float]) -> None:
    if heading.change:
        no_change(axes, horizontal=False)
    if heading.at is not None:
        axes.axvline(heading.at, color=GREY, lw=0.9, ls=(0, (4, 2)), zorder=1)
    for y, line in enumerate(block.lines):
        both = bool(line.hollow)
        _mark(axes, line.marks[k], y - 0.16 * both, line.colour, hollow=False)
        _mark(axes, line.hollow[k] if both else None, y + 0.2, line.colour, hollow=True)
    axes.set_ylim(len(block.lines) - 0.45, -0.55)
    axes.set_yticks(range(len(block.lines)), [line.label for line in block.lines])
    for label, line in zip(axes.get_yticklabels(), block.lines, strict=True):
        label.set_color(line.colour)
    axes.tick_params(axis="y", length=0)
    axes.set_xlim(*abscissa)


def _mark(axes: Axes, mark: Mark | None, y: float, tint: str, hollow: bool) -> None:
    if mark is None:
        return
    if mark.low is not None and mark.high is not None:
        axes.plot([mark.low, mark.high], [y, y], color=tint, lw=1.0 if hollow else 1.5, zorder=3)
    axes.plot(mark.seeds, [y + 0.15] * len(mark.seeds), "o", color=tint, ms=1.6, alpha=0.45, mew=0, zorder=2)
    face = "white" if hollow else tint
    axes.plot([mark.mean], [y], "o", color=tint, ms=3.4 if hollow else 4.2, mfc=face, mec=tint, mew=0.9, zorder=4)
