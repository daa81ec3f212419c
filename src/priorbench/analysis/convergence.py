"""How many finetuning epochs masking needs to reach the error that scratch ends with."""

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any

import pandas as pd

from priorbench.analysis.intervals import Paired, Verdict, paired


@dataclass(frozen=True)
class Epochs:
    """One seed: epochs until validation force RMSE is first at or below ``threshold`` (meV/Å).

    ``scratch`` or ``strategy`` is None where that run diverged; ``censored`` marks a strategy that never got there,
    its number then being the first epoch that was not run, a lower bound.
    """

    seed: int
    threshold: float | None
    scratch: int | None
    strategy: int | None
    censored: bool
    pretrain: int


def epochs_to_threshold(runs: pd.DataFrame, curves: pd.DataFrame, strategy: str, scratch: str) -> list[Epochs]:
    """Epochs by seed; ``runs`` and ``curves`` hold one dataset and backbone.

    The threshold is scratch's validation force RMSE at the epoch whose weights were kept.  Both strategies are held
    against it by the same rule, epochs counting from 1.
    """
    own, base = (_by_seed(runs, name) for name in (strategy, scratch))
    found = []
    for seed, row in own.items():
        curve, base_curve = (_curve(curves, name, seed) for name in (strategy, scratch))
        base_row = base[seed]
        threshold = _kept(base_curve, base_row["best_epoch"]) if base_row["status"] == "completed" else None
        reached = None if threshold is None else _first(curve, threshold)
        done = row["status"] == "completed" and threshold is not None
        found.append(
            Epochs(
                seed=seed,
                threshold=threshold,
                scratch=None if threshold is None else _first(base_curve, threshold),
                strategy=(int(curve.index.max()) + 1 if reached is None else reached) if done else None,
                censored=done and reached is None,
                pretrain=int(row["pretrain_epochs"]),
            )
        )
    return found


def compare_epochs(epochs: list[Epochs], with_pretraining: bool) -> Paired:
    """Relative change of the number of epochs against scratch, paired on the log.

    Censored seeds enter with their lower bound, which flatters the strategy; therefore such a comparison is never
    *reproduced*.  It is *contradicted* where no seed of two or more ever reached the threshold, else *undecided*.
    """
    change = paired(
        {e.seed: None if e.strategy is None else e.strategy + with_pretraining * e.pretrain for e in epochs},
        {e.seed: e.scratch for e in epochs},
    )
    censored = sum(e.censored for e in epochs)
    if not censored:
        return change
    never = censored == len(epochs) >= 2
    verdict: Verdict = "contradicted" if never else "undecided"
    return Paired(change.pairs, change.diverged, change.delta, change.low, change.high, change.half_width, verdict)


def describe(epochs: list[Epochs]) -> str:
    """The epochs that the comparison rests on, by seed."""
    own = ", ".join(f"> {e.strategy - 1}" if e.censored and e.strategy else _text(e.strategy) for e in epochs)
    base = ", ".join(_text(e.scratch) for e in epochs)
    return f"epochs {own} against {base}; {sum(e.censored for e in epochs)} never got there"


def _text(epoch: int | None) -> str:
    return "diverged" if epoch is None else str(epoch)


def _by_seed(runs: pd.DataFrame, strategy: str) -> dict[int, dict[Hashable, Any]]:
    own = runs[(runs["strategy"] == strategy) & (runs["stage"] == "finetune")].sort_values("seed")
    return {int(row["seed"]): row for row in own.to_dict("records")}


def _curve(curves: pd.DataFrame, strategy: str, seed: int) -> "pd.Series[float]":
    """Validation force RMSE (meV/Å) by epoch, training epochs only."""
    chosen = (curves["strategy"] == strategy) & (curves["stage"] == "finetune") & (curves["seed"] == seed)
    rows = curves[chosen & (curves["epoch"] >= 1)]
    return rows.set_index("epoch")["val_force_rmse"].dropna().sort_index()


def _kept(curve: "pd.Series[float]", best_epoch: float) -> float:
    return float(curve.iloc[-1] if pd.isna(best_epoch) else curve.loc[int(best_epoch)])


def _first(curve: "pd.Series[float]", threshold: float) -> int | None:
    reached = curve.index[curve <= threshold]
    return int(reached[0]) if len(reached) else None
