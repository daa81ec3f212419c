"""``figures/dynamics``: what molecular dynamics with every chosen potential found, from its two tables."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd
from ase.data import chemical_symbols
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from priorbench.analysis.records import read_table
from priorbench.analysis.results import Statistics, StrategyResult, load_statistics
from priorbench.analysis.style import GREY, RC, colour, line_styles, log_axis, new_figure, save


def draw_dynamics(table: Path, distributions: Path, statistics_json: Path, output_dir: Path) -> None:
    """Write ``dynamics.{pdf,png}`` into ``output_dir``."""
    frames = read_table(table, "collect it again"), read_table(distributions, "collect it again")
    with mpl.rc_context(RC):
        save(dynamics_figure(*frames, load_statistics(statistics_json)), output_dir / "dynamics")


def dynamics_figure(table: pd.DataFrame, distributions: pd.DataFrame, statistics: Statistics) -> Figure:
    """A row a dataset and backbone: first distribution beside the data's, stability, its error, and drift in NVE."""
    known = set(zip(table["dataset"], table["backbone"], strict=True))
    places = [place for place in statistics.places if place in known]
    styles = line_styles(statistics.strategies)
    heights = [max(1.35, 0.3 + 0.17 * len(statistics.of(*place))) for place in places] or [1.35]
    height = sum(heights) + 0.62 * len(heights) + 0.55
    figure = new_figure(7.1, height)
    if not places:
        figure.text(0.5, 0.5, "no network could be run", ha="center", color=GREY)
        return figure
    grid = figure.add_gridspec(
        len(places), 5, height_ratios=heights, width_ratios=[1.5, 0.45, 1, 1, 1], wspace=0.2, left=0.065, right=0.99,
        top=1 - 0.32 / height, bottom=0.95 / height, hspace=0.62 * len(places) / sum(heights),
    )  # fmt: skip
    for row, place in enumerate(places):
        own, curves = (_of(frame, *place) for frame in (table, distributions))
        axes = [figure.add_subplot(grid[row, column]) for column in (0, 2, 3, 4)]  # between: names
        _draw_distribution(axes[0], curves, statistics.of(*place), styles)
        axes[0].set_title(f"{place[1]}, {place[0]}", loc="left")
        for k, (title, values, log) in enumerate(_measures(own)):
            _draw_dots(axes[k + 1], statistics.of(*place), values, log, named=k == 0)
            axes[k + 1].set_xlabel(title)
    figure.text(0.01, 0.1 / height, _CAPTION, color=GREY, fontsize=6.5, va="bottom")
    return figure


_CAPTION = (
    "Left: distribution of the heaviest pair in NVT, mean over seeds that ran (grey: the data).  Right: a dot a seed, "
    "bars at the geometric mean;\ncrosses: diverged in training or broke before anything was measured.  Drift is that "
    "of the predicted energy, the table has the heating beside it."
)


def _of(frame: pd.DataFrame, dataset: str, backbone: str) -> pd.DataFrame:
    return frame[(frame["dataset"] == dataset) & (frame["backbone"] == backbone)]


Values = dict[str, list[float | None]]


def _measures(table: pd.DataFrame) -> list[tuple[str, Values, bool]]:
    """Title, values by strategy, and whether they spread over decades."""
    errors = [name for name in table.columns if name.startswith("rdf_error_") and table[name].notna().any()]
    first = _heaviest(errors)
    asked = table["asked_ps"].max()

    def by_strategy(name: str | None) -> Values:
        found: Values = {}
        for row in table.to_dict("records"):
            value = row.get(name) if name else None
            found.setdefault(row["strategy"], []).append(None if value is None or np.isnan(value) else abs(value))
        return found

    of = f", {first.removeprefix('rdf_error_').replace('-', '–')}" if first else ""
    return [
        (
            "stable / ps" if np.isnan(asked) else f"stable / ps, of {asked:g}",
            by_strategy("stability_ps"),
            False,
        ),
        (f"RDF error{of}", by_strategy(first), False),
        ("NVE drift / (meV/atom/ps)", by_strategy("drift_mev_per_atom_per_ps"), True),
    ]


def _heaviest(names: Sequence[str]) -> str | None:
    """Of names that end in a pair of elements that of the heaviest pair; None of none."""
    return max(
        names, key=lambda name: [chemical_symbols.index(e) for e in name.split("_")[-1].split("-")], default=None
    )


def _draw_distribution(
    axes: Axes, curves: pd.DataFrame, results: Sequence[StrategyResult], styles: dict[str, str]
) -> None:
    axes.set(xlabel="r / Å")
    pair = _heaviest(sorted(set(curves["pair"])))
    if pair is None:
        return
    own = curves[curves["pair"] == pair]
    reference = own.groupby("r")["reference"].mean()
    axes.fill_between(reference.index, 0, reference, color="#D9D9D9", lw=0)
    for result in results:
        mean = own[own["strategy"] == result.strategy].groupby("r")["value"].mean()
        if len(mean):
            axes.plot(mean.index, mean, color=colour(result.role, result.task), ls=styles[result.strategy], lw=1.0)
    axes.set_ylabel(f"{'g' if own['periodic'].iloc[0] else 'h'}(r), {pair.replace('-', '–')}")
    shown = reference.index[reference > 0]
    axes.set_xlim(max(float(shown.min()) - 0.4, 0) if len(shown) else 0, float(reference.index.max()))
    axes.set_ylim(0, max(float(reference.max()) * 1.5, 1e-9))


def _draw_dots(axes: Axes, results: Sequence[StrategyResult], values: Values, log: bool, named: bool) -> None:
    every = [v for found in values.values() for v in found if v is not None and (v > 0 or not log)]
    for y, result in enumerate(results):
        tint = colour(result.role, result.task)
        own = values.get(result.strategy, [])
        good = [v for v in own if v is not None and (v > 0 or not log)]
        axes.plot(good, [y] * len(good), "o", color=tint, ms=2.6, alpha=0.6, mew=0)
        if good:
            mean = float(np.exp(np.mean(np.log(good)))) if min(good) > 0 else float(np.mean(good))
            axes.plot([mean], [y], "|", color=tint, ms=9, mew=1.6)
        missing = len(own) - len(good)
        if missing:
            axes.plot([0.02] * missing, [y] * missing, "x", color=tint, ms=3.5, transform=axes.get_yaxis_transform())
    axes.set_ylim(len(results) - 0.5, -0.5)
    axes.set_yticks(range(len(results)), [result.strategy if named else "" for result in results])
    axes.tick_params(axis="y", length=0)
    if log and every:
        limits = min(every) / 1.6, max(every) * 1.6
        axes.set(xscale="log", xlim=limits)
        log_axis(axes.xaxis, *limits)
    elif every:
        axes.set_xlim(0, max(every) * 1.08)
