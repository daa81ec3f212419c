"""Convergence for the page: mean and band of every strategy against epochs, steps, seconds and FLOPs."""

import math
from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd

from priorbench.analysis.convergence_figure import Curve, Panel, finetuning_rows
from priorbench.analysis.results import StrategyResult
from priorbench.analysis.style import colour, line_styles
from priorbench.report.parts import Part, diverged

ABSCISSAE = {"epoch": "epochs", "step": "optimiser steps", "seconds": "training time / s", "flops": "FLOPs"}
DASHES = {"-": "solid", "--": "dash", "-.": "dashdot", ":": "dot"}
#: Points of a curve at most: more than a screen has.
POINTS = 400


def convergence(parts: list[Part]) -> list[dict[str, Any]]:
    """One entry a place, with the curves of its strategies; pretraining is what each starts after."""
    return [_place(part, place) for part in parts for place in part.statistics.places]


def rounded(value: float | None, digits: int = 4) -> float | None:
    """``value`` with so many significant digits; None for what JSON cannot hold."""
    return None if value is None or not math.isfinite(value) else float(f"{value:.{digits}g}")


def series(values: Iterable[float], digits: int = 4) -> list[float | None]:
    """The same of many."""
    return [rounded(float(value), digits) for value in values]


def _place(part: Part, place: tuple[str, str]) -> dict[str, Any]:
    results, styles = part.statistics.of(*place), line_styles(part.statistics.strategies)
    runs = part.runs[part.runs["backbone"] == place[1]]
    curves = _with_flops(runs, part.curves[part.curves["backbone"] == place[1]])
    panels = [Panel(results, runs, curves, name, styles) for name in ABSCISSAE]
    trivial = runs.loc[runs["dataset"] == place[0], "trivial_val_force_rmse"].dropna()
    return {
        "label": part.label(*place),
        "trivial": rounded(float(trivial.mean())) if len(trivial) else None,
        "shade": {panel.abscissa: rounded(max(map(panel.offset, results)), 6) for panel in panels},
        "series": [_series(panels, result) for result in results],
    }


def _with_flops(runs: pd.DataFrame, curves: pd.DataFrame) -> pd.DataFrame:
    """The curves with FLOPs spent by the end of each epoch: every step of a run costs the same."""
    key = ["dataset", "stage", "strategy", "seed"]
    rates = runs.assign(rate=runs["flops"] / runs["steps"].clip(lower=1))[[*key, "rate"]]
    joined = curves.merge(rates, on=key, how="left", validate="many_to_one")
    return joined.assign(flops=joined["step"] * joined["rate"])


def _series(panels: list[Panel], result: StrategyResult) -> dict[str, Any]:
    found = {p.abscissa: p.curve(finetuning_rows, result, "val_force_rmse", p.offset(result), True) for p in panels}
    first = found["epoch"]
    keep = _kept(len(first.x))
    return {
        "name": result.strategy,
        "note": diverged(result),
        "tint": colour(result.role, result.task),
        "dash": DASHES[panels[0].styles[result.strategy]],
        "thin": result.role == "variant",
        "x": {name: series(curve.x[keep], 6) for name, curve in found.items()},
        **{name: series(getattr(first, name)[keep]) for name in ("mean", "low", "high")},
        "lost": [_lost(found, i) for i in range(len(first.lost))],
    }


def _lost(found: dict[str, Curve], run: int) -> dict[str, Any]:
    """One diverged run as far as it came."""
    rows = found["epoch"].lost[run]
    keep = _kept(len(rows))
    return {
        "seed": int(rows["seed"].iloc[0]) if len(rows) else None,
        "x": {name: series(curve.lost[run]["x"].to_numpy()[keep], 6) for name, curve in found.items()},
        "y": series(rows["y"].to_numpy()[keep]),
    }


def _kept(count: int) -> "np.ndarray[tuple[int], np.dtype[np.int64]]":
    return np.unique(np.linspace(0, max(count - 1, 0), min(count, POINTS)).astype(np.int64))[:count]
