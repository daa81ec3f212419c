"""The rules by which the paper's claims are judged, fixed before the first headline run.

They are pure functions from statistics to *cases*: one claim, dataset, backbone, quantity and pair of strategies, with
a verdict and the numbers which led to it.  Changing a rule after seeing results would be choosing the verdict.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace

import pandas as pd

from priorbench.analysis.convergence import compare_epochs, describe, epochs_to_threshold
from priorbench.analysis.intervals import MARGIN, Paired, Verdict, divergence_p, spread_ratio, verdict
from priorbench.analysis.results import Comparison, Quantity, Statistics, StrategyResult

#: C1: the published reduction of the error against training from scratch.
CLAIMED_REDUCTION = (0.25, 0.38)
#: A longer reference must have spent at least this share of the compared strategy's budget.
LEAST_BUDGET = 0.98
#: Said beside every comparison with denoising, as long as nothing scans its noise.
ONE_SIGMA = "denoising at one σ, not scanned"
#: Level below which a difference in the frequency of divergence counts.
DIVERGENCE_P = 0.05


@dataclass(frozen=True)
class Case:
    """One judged comparison; ``value``, ``low`` and ``high`` are relative changes (−0.1 is 10 % less)."""

    dataset: str
    backbone: str
    strategy: str
    reference: str
    quantity: Quantity
    part: str
    verdict: Verdict
    value: float | None = None
    low: float | None = None
    high: float | None = None
    pairs: int | None = None
    note: str = ""
    decisive: bool = True


def judge_gain(statistics: Statistics) -> list[Case]:
    """C1: masking against scratch."""
    return [
        replace(_case(c, "test RMSE"), note=_join(_diverged(c.change), _overlap(c.change), _read(statistics, c)))
        for c in statistics.comparisons
        if c.task == "masking" and c.reference_role == "scratch"
    ]


def judge_longer(statistics: Statistics) -> list[Case]:
    """C2: masking against the longer run matched to it, by steps and, where there is one, by counted FLOPs."""
    cases = []
    for c in statistics.comparisons:
        if c.task == "masking" and c.reference_role.startswith("longer-") and c.matched:
            unit, share = ("FLOPs", c.flop_ratio) if c.reference_role == "longer-compute" else ("steps", c.step_ratio)
            case = replace(_case(c, c.reference_role), note=_join(_diverged(c.change), f"{share:.2f} × its {unit}"))
            cases.append(case if share >= LEAST_BUDGET else replace(case, verdict="undecided"))
    return cases


def judge_denoising(statistics: Statistics) -> list[Case]:
    """C3: masking against denoising, in accuracy and in stability."""
    cases = []
    for c in statistics.comparisons:
        if c.task == "masking" and c.reference_task == "denoising":
            named = {result.strategy: result for result in statistics.of(c.dataset, c.backbone)}
            cases.append(replace(_case(c, "accuracy"), note=_join(_diverged(c.change), ONE_SIGMA)))
            cases.append(_stability(c, named[c.strategy], named[c.reference]))
    return cases


def judge_every_backbone(statistics: Statistics) -> list[Case]:
    """C4: the verdicts of C1 joined over the backbones of a dataset that has readouts of both kinds."""
    readouts = {result.place: result.readout for result in statistics.strategies}
    gains = judge_gain(statistics)
    cases = []
    for dataset, strategy, quantity in sorted({(c.dataset, c.strategy, c.quantity) for c in gains}):
        own = [c for c in gains if (c.dataset, c.strategy, c.quantity) == (dataset, strategy, quantity)]
        if {readouts[c.dataset, c.backbone] for c in own} >= {"vector", "gradient"}:
            note = ", ".join(f"{c.backbone} ({readouts[c.dataset, c.backbone]}) {c.verdict}" for c in own)
            joined = join_verdicts(c.verdict for c in own)
            cases.append(Case(dataset, "all", strategy, own[0].reference, quantity, "test RMSE", joined, note=note))
    return cases


def judge_convergence(statistics: Statistics, runs: pd.DataFrame, curves: pd.DataFrame) -> list[Case]:
    """C5: epochs to the validation force RMSE that scratch ends with, pretraining left out (decisive) and counted."""
    cases = []
    for c in statistics.comparisons:
        if c.task == "masking" and c.reference_role == "scratch" and c.quantity == "force":
            own_runs, own_curves = (
                table[(table["dataset"] == c.dataset) & (table["backbone"] == c.backbone)] for table in (runs, curves)
            )
            epochs = epochs_to_threshold(own_runs, own_curves, c.strategy, c.reference)
            for counted, part in ((False, "finetuning epochs"), (True, "with pretraining epochs")):
                case = _case(replace(c, change=compare_epochs(epochs, counted)), part)
                cases.append(replace(case, note=describe(epochs), decisive=not counted))
    return cases


def judge_stability(
    values: tuple[list[float], list[float]], diverged: tuple[int, int], runs: tuple[int, int]
) -> tuple[Verdict, tuple[float, float, float] | None]:
    """Stability of the first against the second: divergence decides where it differs, else the spread over seeds.

    Returns the verdict and the ratio of spreads with its interval, each minus one.
    """
    ratio = spread_ratio(*values)
    change = None if ratio is None else (ratio[0] - 1, ratio[1] - 1, ratio[2] - 1)
    if divergence_p(diverged[0], runs[0], diverged[1], runs[1]) < DIVERGENCE_P:
        return ("reproduced" if diverged[0] / runs[0] < diverged[1] / runs[1] else "contradicted"), change
    if change is None or any(diverged):
        return "undecided", change
    return verdict(change[1], change[2]), change


def join_verdicts(verdicts: Iterable[Verdict]) -> Verdict:
    """Reproduced if all are, contradicted if any is, undecided otherwise."""
    found = list(verdicts)
    if "contradicted" in found:
        return "contradicted"
    return "reproduced" if found and set(found) == {"reproduced"} else "undecided"


def _stability(c: Comparison, own: StrategyResult, other: StrategyResult) -> Case:
    name = f"{c.quantity}_rmse"
    lost, runs = (len(own.diverged), len(other.diverged)), (len(own.seeds), len(other.seeds))
    judged, change = judge_stability((own.errors[name].values, other.errors[name].values), lost, runs)
    value, low, high = change or (None, None, None)
    note = f"diverged {lost[0]} of {runs[0]} against {lost[1]} of {runs[1]}"
    pairs = min(own.completed, other.completed)
    return Case(
        c.dataset,
        c.backbone,
        c.strategy,
        c.reference,
        c.quantity,
        "stability: spread",
        judged,
        value,
        low,
        high,
        pairs,
        note,
    )


def _case(c: Comparison, part: str) -> Case:
    p = c.change
    return Case(
        c.dataset, c.backbone, c.strategy, c.reference, c.quantity, part, p.verdict, p.delta, p.low, p.high, p.pairs
    )


def _overlap(change: Paired) -> str:
    if change.low is None or change.high is None:
        return ""
    least, most = CLAIMED_REDUCTION
    overlaps = change.low <= -least and change.high >= -most
    return f"interval {'overlaps' if overlaps else 'misses'} the claimed {100 * least:.0f}–{100 * most:.0f} %"


def _read(statistics: Statistics, c: Comparison) -> str:
    """Of how many seeds the pretraining learned: a loss below its start and below its context-free floor."""
    own = [p for p in statistics.pretraining if (p.dataset, p.backbone, p.task) == (c.dataset, c.backbone, c.task)]
    learned = sum(p.below_start and bool(p.below_floor) for p in own)
    return f"masking learned below its floor in {learned} of {len(own)}" if own else ""


def _diverged(change: Paired) -> str:
    return f"{len(change.diverged)} of {change.pairs + len(change.diverged)} pairs diverged" if change.diverged else ""


def _join(*parts: str) -> str:
    return "; ".join(part for part in parts if part)


RULES = [
    f"Δ is the relative change of test RMSE, force and energy judged separately; margin m = {100 * MARGIN:.0f} %.",
    "*Reproduced*: the 95 % interval of Δ (paired t-interval of log RMSE over seeds) lies wholly below −m. "
    "*Contradicted*: it lies wholly above −m, practical equivalence included. *Undecided*: it holds −m, there are "
    "fewer than two pairs, or a run of a pair diverged (counted in the note).",
    "C1: masking against scratch; the note says whether the interval overlaps the claimed reduction.",
    "C2: masking against longer-steps and, where run, longer-compute, each the nearest in budget; undecided where that "
    f"spent less than {LEAST_BUDGET:g} of masking's budget.",
    "C3: masking against each denoising strategy; accuracy by Δ; stability by the number of diverged runs where "
    f"Fisher's exact test tells them apart (p < {DIVERGENCE_P:g}), otherwise, if none diverged, by the ratio of the "
    "standard deviations of log RMSE over seeds with its F-interval, margin as above.",
    "C4: the verdicts of C1 joined over the backbones of a dataset; at least one vector and one gradient readout.",
    "C5: first finetuning epoch at or below the validation force RMSE of scratch's kept weights, ratio to scratch's "
    "own first such epoch, per seed, on logs, by the rule for Δ. A seed that never gets there enters with a lower "
    "bound; with any such seed nothing is reproduced, with only such seeds it is contradicted. The count with "
    "pretraining epochs is given beside and does not decide.",
    "Over datasets, backbones and parts: reproduced if every deciding case is; contradicted if any is, since a claim "
    "made in general falls with one counterexample; undecided otherwise. The counts stand beside it.",
]
