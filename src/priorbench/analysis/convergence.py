"""What masking spends to reach the error that scratch ends with: epochs, optimiser steps, seconds and FLOPs."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import pandas as pd

from priorbench.analysis.intervals import Paired, Verdict, paired
from priorbench.analysis.text import number

Unit = Literal["epochs", "steps", "seconds", "FLOPs"]
UNITS: tuple[Unit, ...] = ("epochs", "steps", "seconds", "FLOPs")

_Row = dict[Hashable, Any]


@dataclass(frozen=True)
class Reach:
    """One seed: what was spent until validation force RMSE is first at or below ``threshold`` (meV/Å).

    ``scratch`` or ``strategy`` is None where that run diverged; ``censored`` marks a strategy that never got there, its
    number then being what the first epoch that was not run would have ended at, a lower bound.  ``pretrain`` is what
    the pretraining before it cost.
    """

    seed: int
    threshold: float | None
    scratch: float | None
    strategy: float | None
    censored: bool
    pretrain: float

    def total(self, with_pretraining: bool) -> float | None:
        """What the strategy spent."""
        return None if self.strategy is None else self.strategy + with_pretraining * self.pretrain


def reaches(runs: pd.DataFrame, curves: pd.DataFrame, strategy: str, scratch: str) -> dict[Unit, list[Reach]]:
    """What each seed spent, in every unit; ``runs`` and ``curves`` hold one dataset and backbone.

    The threshold is scratch's validation force RMSE at the epoch whose weights were kept.  Both strategies are held
    against it by the same rule, at the end of each epoch of finetuning.
    """
    own, base = (_by_seed(runs, name) for name in (strategy, scratch))
    found: dict[Unit, list[Reach]] = {unit: [] for unit in UNITS}
    for seed, row in own.items():
        curve, base_curve = (_curve(curves, name, seed) for name in (strategy, scratch))
        base_row = base[seed]
        threshold = _kept(base_curve, base_row["best_epoch"]) if base_row["status"] == "completed" else None
        reached = None if threshold is None else _first(curve, threshold)
        done = row["status"] == "completed" and threshold is not None
        at = None if threshold is None else _first(base_curve, threshold)
        for unit, seeds in found.items():
            seeds.append(
                Reach(
                    seed=seed,
                    threshold=threshold,
                    scratch=None if at is None else _spent(base_row, base_curve, at, unit),
                    strategy=_spent(row, curve, reached, unit) if done else None,
                    censored=done and reached is None,
                    pretrain=float(row[f"pretrain_{unit.lower()}"]),
                )
            )
    return found


def compare(found: Sequence[Reach], with_pretraining: bool) -> Paired:
    """Relative change of what is spent against scratch, paired on the log.

    Censored seeds enter with their lower bound, which flatters the strategy; therefore such a comparison is never
    *reproduced*, is not called equivalent and has no p-value.  It is *contradicted* where no seed of two or more ever
    reached the threshold, else *undecided*.
    """
    change = paired({r.seed: r.total(with_pretraining) for r in found}, {r.seed: r.scratch for r in found})
    censored = sum(r.censored for r in found)
    if not censored:
        return change
    never = censored == len(found) >= 2
    verdict: Verdict = "contradicted" if never else "undecided"
    return replace(change, verdict=verdict, equivalent=False, p=None, p_margin=None)


def measurable(found: Sequence[Reach]) -> bool:
    """Whether everything that was spent is a positive number (a clock may not have run)."""
    return all(value is None or value > 0 for r in found for value in (r.scratch, r.strategy))


def describe(found: Sequence[Reach]) -> str:
    """The epochs that the comparison rests on, by seed: ``> 12`` for a seed that had not got there after 12."""
    own = ", ".join(f"> {r.strategy - 1:.0f}" if r.censored and r.strategy else _text(r.strategy) for r in found)
    base = ", ".join(_text(r.scratch) for r in found)
    return f"epochs {own} against {base}; {reached(found)}"


def summarise(found: Sequence[Reach], unit: Unit, with_pretraining: bool) -> str:
    """Medians over the seeds, at least so much where one enters with a lower bound."""
    scale, symbol = {"epochs": (1.0, "epochs"), "steps": (1.0, "steps"), "seconds": (1.0, "s")}.get(
        unit, (1e12, "TFLOP")
    )
    totals, base = [r.total(with_pretraining) for r in found], [r.scratch for r in found]
    own, other = (_median(values, scale) for values in (totals, base))
    least = "≥ " if any(r.censored for r in found) else ""
    return f"median {least}{own} against {other} {symbol}"


def reached(found: Sequence[Reach]) -> str:
    """How many seeds got to the threshold, and what the change is where not all did."""
    count = sum(r.strategy is not None and not r.censored for r in found)
    bound = "; the change is a lower bound" if any(r.censored for r in found) else ""
    return f"reached in {count} of {len(found)}{bound}"


def _median(values: Sequence[float | None], scale: float) -> str:
    known = [value / scale for value in values if value is not None]
    return number(float(np.median(known)) if known else None)


def _text(epoch: float | None) -> str:
    return "diverged" if epoch is None else f"{epoch:.0f}"


def _by_seed(runs: pd.DataFrame, strategy: str) -> dict[int, _Row]:
    own = runs[(runs["strategy"] == strategy) & (runs["stage"] == "finetune")].sort_values("seed")
    return {int(row["seed"]): row for row in own.to_dict("records")}


def _curve(curves: pd.DataFrame, strategy: str, seed: int) -> pd.DataFrame:
    """Validation force RMSE (meV/Å), steps and seconds by epoch, training epochs only."""
    chosen = (curves["strategy"] == strategy) & (curves["stage"] == "finetune") & (curves["seed"] == seed)
    rows = curves[chosen & (curves["epoch"] >= 1)].dropna(subset=["val_force_rmse"])
    return rows.set_index("epoch").sort_index()


def _kept(curve: pd.DataFrame, best_epoch: float) -> float:
    errors = curve["val_force_rmse"]
    return float(errors.iloc[-1] if pd.isna(best_epoch) else errors.loc[int(best_epoch)])


def _first(curve: pd.DataFrame, threshold: float) -> int | None:
    found = curve.index[curve["val_force_rmse"] <= threshold]
    return int(found[0]) if len(found) else None


def _spent(run: _Row, curve: pd.DataFrame, epoch: int | None, unit: Unit) -> float:
    """What a run had spent by the end of ``epoch``; for None, by the end of the first one that was not run."""
    last = int(curve.index.max())
    at = last if epoch is None else epoch
    if unit == "epochs":
        cost = float(at)
    elif unit == "FLOPs":
        cost = float(curve["step"].loc[at]) * float(run["flops"]) / max(float(run["steps"]), 1.0)
    else:
        cost = float(curve["seconds" if unit == "seconds" else "step"].loc[at])
    return cost if epoch is not None else cost + cost / last
