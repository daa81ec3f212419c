"""Where the errors lie: predicted against reference, and by element, part of the motion and hydrogen bonds."""

from typing import Any

import pandas as pd

from priorbench.analysis.intervals import Estimate, estimate
from priorbench.analysis.results import StrategyResult
from priorbench.analysis.style import colour
from priorbench.analysis.text import MISSING, number, with_interval
from priorbench.report.curves import rounded, series
from priorbench.report.parts import Part, columns, diverged
from priorbench.report.tables import Row, Table, quantity, text

DETAILS, PARITY = "details.csv", "parity.csv"
KINDS = {"element": "element", "part": "part of the motion", "hydrogen_bonds": "hydrogen bonds of the molecule"}
#: Points of a parity plot of one strategy, and of all of a report, at most.
POINTS, ALL_POINTS = 1500, 120_000

_RUN = ("dataset", "backbone", "strategy", "seed")


def parity(parts: list[Part]) -> list[dict[str, Any]]:
    """One entry a place with the points of its strategies, a regular sample where there are too many."""
    tables = [(part, _read(part, PARITY, (*_RUN, "quantity", "reference", "predicted"))) for part in parts]
    present = [(part, table) for part, table in tables if table is not None]
    cells = sum(2 * len(part.statistics.strategies) for part, _ in present)
    most = min(POINTS, ALL_POINTS // max(cells, 1))
    return [
        {"label": part.label(*place), "series": [_points(table, result, most) for result in part.statistics.of(*place)]}
        for part, table in present
        for place in part.statistics.places
    ]


def _points(table: pd.DataFrame, result: StrategyResult, most: int) -> dict[str, Any]:
    own = _of(table, result)
    found: dict[str, Any] = {"name": result.strategy, "tint": colour(result.role, result.task)}
    for name in ("force", "energy"):
        rows = own[own["quantity"] == name].dropna(subset=["reference", "predicted"])
        rows = rows.iloc[:: max(1, -(-len(rows) // max(most, 1)))]
        found[name] = {key: series(rows[key], 5) for key in ("reference", "predicted")}
    found["missing"] = sorted(set(result.seeds) - set(own["seed"]))
    return found


def breakdown(parts: list[Part]) -> list[dict[str, Any]]:
    """One entry a place: by kind the keys, and for every strategy its RMSE with interval at each of them."""
    found = []
    for part in parts:
        table = _read(part, DETAILS, (*_RUN, "kind", "key", "count", "rmse", "mae"))
        if table is not None:
            found += [_place(part, place, table) for place in part.statistics.places]
    return found


def _place(part: Part, place: tuple[str, str], table: pd.DataFrame) -> dict[str, Any]:
    here = table[(table["dataset"] == place[0]) & (table["backbone"] == place[1])]
    kinds = []
    for kind, label in KINDS.items():
        rows = here[(here["kind"] == kind) & (here["count"] > 0)]
        keys = list(dict.fromkeys(rows["key"]))
        lines = [_line(rows, result, keys) for result in part.statistics.of(*place)]
        if keys:
            kinds.append({"kind": label, "keys": keys, "series": lines})
    return {"label": part.label(*place), "kinds": kinds}


def _line(rows: pd.DataFrame, result: StrategyResult, keys: list[str]) -> dict[str, Any]:
    own = _of(rows, result)
    found = [_estimate(own, key, "rmse") for key in keys]
    note = f" ({words})" if (words := diverged(result)) else ""
    return {
        "name": result.strategy,
        "tint": _tint(result),
        "thin": result.role == "variant",
        "text": [with_interval(e) + note for e in found],
        **{name: [rounded(getattr(e, name), 5) for e in found] for name in ("mean", "low", "high")},
    }


def breakdown_table(parts: list[Part]) -> Table | None:
    """The same in numbers, with MAE and how much was counted; None where nothing was divided."""
    header = ["place", "by", "key", "strategy", "force RMSE meV/Å", "force MAE meV/Å", "components' atoms", "seeds"]
    rows = []
    for part in parts:
        table = _read(part, DETAILS, (*_RUN, "kind", "key", "count", "rmse", "mae"))
        for result in part.statistics.strategies if table is not None else ():
            rows += _rows(part, result, _of(table, result)) if table is not None else []
    caption = (
        "Force errors on the test structures by element, by part of the motion of molecules and by the number of "
        "hydrogen bonds: geometric mean [95 % interval] over the seeds that did not diverge."
    )
    return Table("details", caption, header, rows, [False] * 4 + [True] * 4, 3) if rows else None


def _rows(part: Part, result: StrategyResult, own: pd.DataFrame) -> list[Row]:
    found = []
    if len(result.diverged) == len(result.seeds):  # still a row
        cells = [text(part.label(*result.place)), *[text(MISSING)] * 2, text(result.strategy, _tint(result))]
        found.append(Row([*cells, *[text(MISSING, kind="number")] * 3, quantity(f"0 of {len(result.seeds)}", 0.0)]))
    for (kind, key), group in own.groupby(["kind", "key"], sort=False):
        errors = {name: _estimate(group, str(key), name) for name in ("rmse", "mae")}
        counted = float(group["count"].mean())
        cells = [
            *(text(word) for word in (part.label(*result.place), KINDS.get(str(kind), kind), key)),
            text(result.strategy, _tint(result)),
            *(quantity(with_interval(e), e.mean) for e in errors.values()),
            quantity(number(counted), counted),
            quantity(f"{group['seed'].nunique()} of {len(result.seeds)}", float(group["seed"].nunique())),
        ]
        found.append(Row(cells))
    return found


def _tint(result: StrategyResult) -> str:
    return colour(result.role, result.task)


def _estimate(rows: pd.DataFrame, key: str, column: str) -> Estimate:
    values = rows[(rows["key"] == key) & (rows["count"] > 0)].sort_values("seed")[column].dropna()
    return estimate([float(value) for value in values if value > 0])


def _of(table: pd.DataFrame, result: StrategyResult) -> pd.DataFrame:
    place = (table["dataset"] == result.dataset) & (table["backbone"] == result.backbone)
    return table[place & (table["strategy"] == result.strategy)]


def _read(part: Part, name: str, needed: tuple[str, ...]) -> pd.DataFrame | None:
    table = part.table(name)
    return None if table is None else columns(table, part.folder / name, needed)
