"""The figure of Q7: gradient norms over epochs, and beneath them how many runs failed, a column a learning rate."""

from collections.abc import Sequence

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from priorbench.analysis.style import GREY, colour, log_axis
from priorbench.questions.compare import Entry, unique
from priorbench.questions.draw import SMALL, Mark, figure_of, limits

Drawn = tuple[Entry, pd.DataFrame]
_CAPTION = (
    "Above: largest gradient norm of every epoch of finetuning, before clipping, a line for each run; one that ends in "
    "× diverged. Below: runs that diverged (full), got stuck at the trivial error (half) or trained (outline)."
)


def stability_figure(drawn: Sequence[Drawn]) -> Figure:
    """A column for each backbone entry, rows for the datasets; ``drawn`` are entries with their norms."""
    datasets = unique(entry.member.place[0] for entry, _ in drawn)
    columns = max(len(_entries(drawn, dataset)) for dataset in datasets)
    panel, strip, gap = 1.5, 0.42, 0.9
    figure, foot = figure_of(columns, 0.3 + len(datasets) * (panel + strip + gap), _CAPTION)
    width, height = figure.get_size_inches()
    grid = figure.add_gridspec(
        len(datasets), columns, hspace=gap / (panel + strip), wspace=0.12, left=0.62 / width, right=1 - 0.12 / width,
        top=1 - 0.3 / height, bottom=(foot + 0.1) / height,
    )  # fmt: skip
    for i, dataset in enumerate(datasets):
        own = [item for item in drawn if item[0].member.place[0] == dataset]
        ordinate = _range(own)
        for j, backbone in enumerate(_entries(drawn, dataset)):
            cell = grid[i, j].subgridspec(2, 1, height_ratios=(panel, strip), hspace=0.52)
            above, below = (figure.add_subplot(cell[k]) for k in (0, 1))
            here = [item for item in own if item[0].member.place[1] == backbone]
            _draw_norms(above, here, ordinate, first=j == 0)
            _draw_failures(below, here, first=j == 0)
            where = f"{dataset}, " if len(datasets) > 1 and j == 0 else ""
            above.set_title(f"{where}rate {here[0][0].x}", loc="left")
    return figure


def _entries(drawn: Sequence[Drawn], dataset: str) -> list[str]:
    return unique(entry.member.place[1] for entry, _ in drawn if entry.member.place[0] == dataset)


def _range(drawn: Sequence[Drawn]) -> tuple[float, float]:
    shown = [Mark(float(value)) for _, norms in drawn for value in norms["grad_norm"] if value > 0]
    return limits(shown, [], log=True)


def _draw_norms(axes: Axes, drawn: Sequence[Drawn], ordinate: tuple[float, float], first: bool) -> None:
    for entry, norms in drawn:
        result = entry.member.result
        tint = colour(result.role, result.task)
        for seed, run in norms.groupby("seed"):
            run = run.sort_values("epoch")
            axes.plot(run["epoch"], run["grad_norm"], color=tint, lw=0.8, alpha=0.8)
            if seed in result.diverged:
                axes.plot(run["epoch"].tail(1), run["grad_norm"].tail(1), "x", color=tint, ms=4.5, mew=1.2, zorder=4)
    axes.set(yscale="log", ylim=ordinate, xlabel="epoch of finetuning")
    log_axis(axes.yaxis, *ordinate)
    axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))
    if first:
        axes.set_ylabel("gradient norm")
    else:
        axes.set_yticklabels([])


def _draw_failures(axes: Axes, drawn: Sequence[Drawn], first: bool) -> None:
    for y, (entry, _) in enumerate(drawn):
        result = entry.member.result
        tint, runs = colour(result.role, result.task), len(result.seeds)
        axes.barh(y, runs, color="none", edgecolor=tint, lw=0.8, height=0.62)
        axes.barh(y, len(result.diverged), color=tint, height=0.62)
        axes.barh(y, len(result.stuck), left=len(result.diverged), color=tint, alpha=0.4, height=0.62, lw=0)
        many = len(result.diverged) + len(result.stuck)
        text = f" {many} of {runs} failed"
        axes.annotate(text, (runs, y), va="center", color=GREY, fontsize=SMALL, annotation_clip=False)
    most = max(len(entry.member.result.seeds) for entry, _ in drawn)
    axes.set(xlim=(0, 1.6 * most), ylim=(len(drawn) - 0.4, -0.6), xticks=[])
    axes.set_yticks(range(len(drawn)), [entry.member.name for entry, _ in drawn] if first else [""] * len(drawn))
    for label, (entry, _) in zip(axes.get_yticklabels(), drawn, strict=True):
        label.set_color(colour(entry.member.result.role, entry.member.result.task))
    axes.tick_params(axis="y", length=0)
    for side in ("left", "bottom"):
        axes.spines[side].set_visible(False)
