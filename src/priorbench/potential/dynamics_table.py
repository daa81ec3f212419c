"""``dynamics.csv`` and its figure: what the dynamics of every chosen potential found.

Columns: whose it is (dataset, backbone, strategy, seed); status; whether forces are a gradient and molecules rigid; in
NVE the drift of the predicted total energy (meV/atom/ps), its fluctuation (meV/atom) and the heating (K/ps); in NVT the
time until it broke (ps) of that asked for, what broke, mean temperature (K), the mean absolute error of each pair's
distribution, of the angles between heavy neighbours, and the diffusion coefficient (Å²/ps).
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from priorbench.analysis.results import Statistics, StrategyResult, load_statistics
from priorbench.analysis.style import GREY, RC, colour, line_styles, new_figure, save
from priorbench.errors import PriorbenchError
from priorbench.io import read_json, write_rows

RUN = ("dataset", "backbone", "strategy", "seed")
COLUMNS = (
    *RUN,
    "status",
    "conservative",
    "rigid",
    "atoms",
    "nve_ps",
    "nve_broken",
    "drift_mev_per_atom_per_ps",
    "fluctuation_mev_per_atom",
    "heating_K_per_ps",
    "stability_ps",
    "asked_ps",
    "broken",
    "temperature_K",
)
Record = Mapping[str, Any]


def collect_dynamics(paths: Sequence[Path], statistics_json: Path, table: Path, figure: Path) -> None:
    """Write the table of all records and the figure ``figure``.{pdf,png}."""
    records = [record for path in sorted(paths) if (record := _read(path))["status"] != "not chosen"]
    rows = sorted(map(row_of, records), key=lambda row: tuple(row[name] for name in RUN))
    measured = sorted({name for row in rows for name in row} - set(COLUMNS))
    write_rows(table, [{name: row.get(name) for name in (*COLUMNS, *measured)} for row in rows], [*COLUMNS, *measured])
    with mpl.rc_context(RC):
        save(dynamics_figure(records, load_statistics(statistics_json)), figure)


def row_of(record: Record) -> dict[str, Any]:
    """One row; what a run that diverged or broke at once has not is absent."""
    nve, nvt = record.get("nve") or {}, record.get("nvt") or {}
    row = {name: record.get(name) for name in (*RUN, "status", "conservative", "rigid", "atoms")}
    row |= {"nve_ps": nve.get("ps"), "nve_broken": nve.get("broken"), "stability_ps": nvt.get("ps")}
    row |= {name: nve.get(name) for name in COLUMNS[10:13]}
    row |= {name: nvt.get(name) for name in ("asked_ps", "broken", "temperature_K")}
    found = {name: value for name, value in nvt.items() if "_error" in name or name.startswith("diffusion")}
    return {**row, **found}


def _read(path: Path) -> Record:
    content = read_json(path)
    if not isinstance(content, Mapping) or not {*RUN, "status"} <= set(content):
        raise PriorbenchError(f"{path}: not written by `priorbench dynamics`; make it again")
    return content


def dynamics_figure(records: Sequence[Record], statistics: Statistics) -> Figure:
    """A row a dataset and backbone: first distribution beside the data's, stability, its error, and drift in NVE."""
    places = [place for place in statistics.places if any(_place(r) == place for r in records)]
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
        own = [record for record in records if _place(record) == place]
        axes = [figure.add_subplot(grid[row, column]) for column in (0, 2, 3, 4)]  # between: names
        _draw_distribution(axes[0], own, statistics.of(*place), styles)
        axes[0].set_title(f"{place[1]}, {place[0]}", loc="left")
        for k, (title, values, log) in enumerate(_measures(own)):
            _draw_dots(axes[k + 1], statistics.of(*place), values, log, named=k == 0)
            axes[k + 1].set_xlabel(title)
    figure.text(0.01, 0.1 / height, _CAPTION, color=GREY, fontsize=6.5, va="bottom")
    return figure


_CAPTION = (
    "Left: distribution of the heaviest pair in NVT, mean over seeds that ran (grey: the data).  Right: a dot a seed, "
    "bars at the geometric mean;\ncrosses: diverged in training or broke before anything was measured.  Drift is that "
    "of the predicted energy, beside what the network heats up in NVE."
)


def _place(record: Record) -> tuple[str, str]:
    return record["dataset"], record["backbone"]


Values = dict[str, list[float | None]]


def _measures(records: Sequence[Record]) -> list[tuple[str, Values, bool]]:
    """Title, values by strategy, and whether they spread over decades."""
    rows = [row_of(record) for record in records]
    errors = [name for name in (rows[0] if rows else {}) if name.startswith("rdf_error_")]
    first = next((n for r in rows for n in r if n.startswith("rdf_error_")), errors[0] if errors else "rdf_error_")
    asked = next((row["asked_ps"] for row in rows if row["asked_ps"]), None)

    def by_strategy(name: str, size: bool = False) -> Values:
        found: Values = {}
        for row in rows:
            value = row.get(name)
            found.setdefault(row["strategy"], []).append(abs(value) if size and value is not None else value)
        return found

    return [
        (f"stable for / ps (of {asked:g})" if asked else "stable for / ps", by_strategy("stability_ps"), False),
        (f"error of g(r), {first.removeprefix('rdf_error_')}", by_strategy(first), True),
        ("|drift| in NVE / (meV/atom/ps)", by_strategy("drift_mev_per_atom_per_ps", size=True), True),
    ]


def _draw_distribution(
    axes: Axes, records: Sequence[Record], results: Sequence[StrategyResult], styles: dict[str, str]
) -> None:
    ran = [record for record in records if (record.get("nvt") or {}).get("frames")]
    axes.set(xlabel="r / Å")
    if not ran:
        return
    pair = next(iter(ran[0]["nvt"]["distributions"]))
    reference = np.mean([record["nvt"]["reference"][pair] for record in ran], axis=0)
    r = np.array(ran[0]["nvt"]["r"])
    axes.fill_between(r, 0, reference, color="#D9D9D9", lw=0)
    for result in results:
        curves = [record["nvt"]["distributions"][pair] for record in ran if record["strategy"] == result.strategy]
        if curves:
            tint = colour(result.role, result.task)
            axes.plot(r, np.mean(curves, axis=0), color=tint, ls=styles[result.strategy], lw=1.0)
    name = "g" if ran[0]["nvt"]["periodic"] else "h"
    axes.set_ylabel(f"{name}(r), {pair.replace('-', '–')}")
    shown = r[reference > 0]
    axes.set_xlim(max(float(shown.min()) - 0.4, 0) if len(shown) else 0, float(r.max()))
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
        axes.set_xscale("log")
        axes.set_xlim(min(every) / 1.6, max(every) * 1.6)
    elif every:
        axes.set_xlim(0, max(every) * 1.08)
