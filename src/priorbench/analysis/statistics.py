"""Means, intervals and paired comparisons over seeds: ``runs.csv`` → ``statistics.json``.

**What the intervals cover.**  All are 95 % Student t-intervals over seeds on the log of the error
(:mod:`priorbench.analysis.intervals`).  A seed draws the split (where the configuration resamples it), the initial
weights, the order of batches and the masks or noise, so an interval covers the variation over those, for this source
of data, these sizes and these settings.  It covers neither other simulations nor other hyper-parameters.

**What stands beside them.**  What the choice of test structures contributes, by a block bootstrap within each seed
(:mod:`priorbench.analysis.within`), where ``structures.csv`` is given.  p-values, corrected by Holm's method over a
*family*: all comparisons of one quantity with references of one role that the table or the scorecard shows
(:attr:`Comparison.shown`), over all datasets, backbones and strategies of the experiment.  The correction changes no
verdict; it says which ones survive it.

Diverged runs are counted, never dropped in silence: they are listed beside the number of completed ones, and a
comparison that lost a pair to one is undecided.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import pandas as pd

from priorbench.analysis.consistency import check_tables
from priorbench.analysis.guards import check_baselines
from priorbench.analysis.intervals import correct, estimate, paired, paired_logs
from priorbench.analysis.records import QUANTITIES, RUN_KEY, load_curves, load_runs, load_structures
from priorbench.analysis.results import (
    QUANTITY_NAMES,
    Comparison,
    PretrainingResult,
    Quantity,
    Statistics,
    StrategyResult,
    write_statistics,
)
from priorbench.analysis.within import Sums, Within, group_sums, within
from priorbench.errors import PriorbenchError

_ROLES = {"scratch": 0, "longer-steps": 1, "longer-compute": 2, "pretrained": 3}


#: Roles of what strategies are held against.
_BASELINES = ("scratch", "longer-steps", "longer-compute")


def statistics(runs_csv: Path, curves_csv: Path, output: Path, structures_csv: Path | None = None) -> None:
    """Write ``statistics.json``; without ``structures_csv`` nothing is bootstrapped within seeds.

    Raises:
        PriorbenchError: a baseline is missing, strategies have different seeds or were tested on different structures,
            a completed run has no curve, or the tables are not of one collection.
    """
    runs, curves = load_runs(runs_csv), load_curves(curves_csv)
    structures = load_structures(structures_csv) if structures_csv else None
    _check_curves(runs, curves)
    check_tables(runs, curves, structures)
    write_statistics(output, summarise(runs, None if structures is None else group_sums(structures)))


def summarise(runs: pd.DataFrame, sums: Sums | None = None) -> Statistics:
    """All statistics of the table of runs; ``sums`` are those of their test structures by group."""
    finetuned = runs[runs["stage"] == "finetune"]
    strategies: list[StrategyResult] = []
    comparisons: list[Comparison] = []
    for place, members in finetuned.groupby(["dataset", "backbone"], sort=True):
        check_baselines("/".join(map(str, place)), [{"role": role} for role in members["role"]])
        results = sorted((_strategy(group) for _, group in members.groupby("strategy", sort=True)), key=order)
        strategies += results
        comparisons += _comparisons(results, _Place(members, sums))
    return Statistics(strategies, corrected(comparisons), _pretraining(runs[runs["stage"] == "pretrain"]))


def corrected(comparisons: list[Comparison]) -> list[Comparison]:
    """The same comparisons, those that are shown with p-values corrected over their families."""
    families: dict[tuple[str, str], list[int]] = {}
    for i, c in enumerate(comparisons):
        if c.shown:
            families.setdefault((c.quantity, c.reference_role), []).append(i)
    found = list(comparisons)
    for members in families.values():
        for i, change in zip(members, correct([comparisons[i].change for i in members]), strict=True):
            found[i] = replace(comparisons[i], change=change)
    return found


def order(result: StrategyResult) -> tuple[int, str, str]:
    """Scratch first, then longer ones, then pretrained ones by task and name, then variants likewise."""
    return _ROLES.get(result.role, len(_ROLES)), result.task or "", result.strategy


def _check_curves(runs: pd.DataFrame, curves: pd.DataFrame) -> None:
    key = [*RUN_KEY, "trial"]
    present = set(curves[key].itertuples(index=False, name=None))
    for row in runs.loc[runs["status"] == "completed", key].itertuples(index=False, name=None):
        if row not in present:
            raise PriorbenchError(f"{'/'.join(map(str, row))}: completed, but not in curves.csv; collect again")


def _strategy(group: pd.DataFrame) -> StrategyResult:
    group = group.sort_values("seed")
    first = group.iloc[0]
    done = group[group["status"] == "completed"]
    budget = done if len(done) else group
    text = {name: first[name] for name in ("dataset", "backbone", "architecture", "readout", "strategy", "role")}
    text |= {name: first[name] for name in ("task", "pretraining", "source", "pretraining_dataset")}
    ratio = (done["val_force_rmse"] / done["trivial_val_force_rmse"]).dropna()
    return StrategyResult(
        **text,
        seeds=_integers(group["seed"]),
        diverged=_integers(group.loc[group["status"] != "completed", "seed"]),
        parameters=int(first["parameters"]),
        steps=float((budget["steps"] + budget["pretrain_steps"]).mean()),
        flops=float(budget["total_flops"].mean()),
        errors={quantity: estimate(list(done[f"test_{quantity}"])) for quantity in QUANTITIES},
        trivial={quantity: estimate(list(group[f"trivial_{quantity}"].dropna())).mean for quantity in QUANTITIES},
        worse_than_trivial={
            quantity: int((done[f"test_{quantity}"] >= done[f"trivial_{quantity}"]).sum()) for quantity in QUANTITIES
        },
        validation_ratio=estimate(list(ratio)),
        seconds=estimate([value for value in done["total_seconds"] if value > 0]),
        stuck=_integers(done.loc[done["test_force_rmse"] >= done["trivial_force_rmse"], "seed"]),
        parents=list(group["pretraining"]),
        learning_rate=float(group["learning_rate"].median()),
        trials=int(group["trials"].max()),
        tuning_flops=float(group["tuning_flops"].mean()),
    )


def _integers(values: Iterable[int]) -> list[int]:
    return sorted(int(value) for value in values)


@dataclass(frozen=True)
class _Place:
    """The finetuned runs of one dataset and backbone, and the sums over their test structures."""

    runs: pd.DataFrame
    sums: Sums | None

    @cached_property
    def by_strategy(self) -> dict[str, pd.DataFrame]:
        """The runs of each strategy."""
        return {str(name): own for name, own in self.runs.groupby("strategy", sort=False)}

    def errors(self, strategy: str, quantity: Quantity) -> dict[int, float | None]:
        """Test RMSE by seed (meV/Å or meV/atom); None for a diverged run."""
        own = self.by_strategy[strategy]
        return {
            int(seed): float(error) if status == "completed" else None
            for seed, status, error in zip(own["seed"], own["status"], own[f"test_{quantity}_rmse"], strict=True)
        }


def _comparisons(results: list[StrategyResult], place: _Place) -> list[Comparison]:
    """Every pretrained strategy and variant against scratch, every longer run, and masking against denoising."""
    found = []
    for result in (item for item in results if item.role not in _BASELINES):
        for reference in results:
            pretrained = result.role == reference.role == "pretrained"
            rival = pretrained and result.task == "masking" and reference.task == "denoising"
            if reference.role in _BASELINES or rival:
                matched = _is_nearest(result, reference, results)
                found += [_compare(result, reference, quantity, place, matched) for quantity in QUANTITY_NAMES]
    return found


def _is_nearest(result: StrategyResult, reference: StrategyResult, results: list[StrategyResult]) -> bool:
    """Whether no other reference of the same role spends a budget nearer to that of ``result``."""
    if not reference.role.startswith("longer-"):
        return True

    def distance(other: StrategyResult) -> float:
        if reference.role == "longer-compute":
            return abs(other.flops - result.flops)
        return abs(other.steps - result.steps)

    return distance(reference) <= min(distance(other) for other in results if other.role == reference.role)


def _compare(
    result: StrategyResult, reference: StrategyResult, quantity: Quantity, place: _Place, matched: bool
) -> Comparison:
    own, other = (place.errors(item.strategy, quantity) for item in (result, reference))
    pair = result.strategy, reference.strategy
    inside: Within | None = None
    try:
        change = paired(own, other, result.stuck_with(reference))
        if place.sums is not None:
            inside = within(place.sums, result.place, pair, quantity, paired_logs(own, other))
    except PriorbenchError as error:
        raise PriorbenchError(f"{'/'.join(result.place)}: {' against '.join(pair)}: {error}") from None
    return Comparison(
        dataset=result.dataset,
        backbone=result.backbone,
        strategy=result.strategy,
        reference=reference.strategy,
        reference_role=reference.role,
        task=result.task,
        reference_task=reference.task,
        quantity=quantity,
        matched=matched,
        step_ratio=reference.steps / max(result.steps, 1),
        flop_ratio=reference.flops / max(result.flops, 1),
        change=change,
        role=result.role,
        within=inside,
    )


def _pretraining(runs: pd.DataFrame) -> list[PretrainingResult]:
    found = []
    for row in runs.sort_values(["dataset", "backbone", "strategy", "seed"]).to_dict("records"):
        start, best, floor = (None if pd.isna(row[name]) else float(row[name]) for name in _LOSSES)
        found.append(
            PretrainingResult(
                dataset=row["dataset"],
                backbone=row["backbone"],
                pretraining=row["strategy"],
                task=row["task"],
                seed=int(row["seed"]),
                diverged=row["status"] != "completed",
                loss_start=start,
                loss_best=best,
                floor=floor,
                below_start=best is not None and start is not None and best < start,
                below_floor=None if floor is None else best is not None and best < floor,
            )
        )
    return found


_LOSSES = ("loss_start", "loss_best", "floor")
