"""The rules by which the paper's claims are judged, fixed before the first headline run.

They are pure functions from statistics to *cases* (:mod:`priorbench.analysis.cases`): one claim, dataset, backbone,
quantity and pair of strategies, with a verdict and the numbers which led to it.  Changing a rule after seeing results
would be choosing the verdict.  Variants (controls, values of a scan) are shown in tables and judge no claim.
"""

from dataclasses import replace

import pandas as pd

from priorbench.analysis import convergence
from priorbench.analysis.cases import Case, case_of, inside, join_verdicts
from priorbench.analysis.intervals import MARGIN, Paired, correct
from priorbench.analysis.results import Comparison, Statistics
from priorbench.analysis.stability import DIVERGENCE_P, LEAST_RATES, LEAST_SEEDS, stability_case

#: C1: the published reduction of the error against training from scratch.
CLAIMED_REDUCTION = (0.25, 0.38)
#: A longer reference must have spent at least this share of the compared strategy's budget.
LEAST_BUDGET = 0.98
#: Said beside a comparison with denoising whose noise was not tuned.
ONE_SIGMA = "denoising at one σ, not scanned"
#: The source of C7's molecules.
MOLECULES = "rmd17"


def judge_gain(statistics: Statistics) -> list[Case]:
    """C1: masking against scratch."""
    return [
        case_of(c, "test RMSE", _overlap(c.change), _read(statistics, c), inside(c))
        for c in _of_masking(statistics)
        if c.reference_role == "scratch"
    ]


def judge_longer(statistics: Statistics) -> list[Case]:
    """C2: masking against the longer run matched to it, by steps and, where there is one, by counted FLOPs."""
    cases = []
    for c in _of_masking(statistics):
        if c.reference_role.startswith("longer-") and c.matched:
            unit, share = ("FLOPs", c.flop_ratio) if c.reference_role == "longer-compute" else ("steps", c.step_ratio)
            if share < LEAST_BUDGET:
                c = replace(c, change=replace(c.change, verdict="undecided"))
            cases.append(case_of(c, c.reference_role, f"{share:.2f} × its {unit}", inside(c)))
    return cases


def judge_denoising(statistics: Statistics) -> list[Case]:
    """C3: masking against denoising, in accuracy and in stability."""
    cases = []
    for c in _of_masking(statistics):
        if c.reference_role == "pretrained" and c.reference_task == "denoising":
            named = {result.strategy: result for result in statistics.of(c.dataset, c.backbone)}
            trials = named[c.reference].trials
            tuned = ONE_SIGMA if trials == 1 else f"denoising chosen on validation among {trials} trials"
            cases.append(case_of(c, "accuracy", tuned, inside(c)))
            cases.append(stability_case(c, named[c.strategy], named[c.reference]))
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
            verdict, corrected = join_verdicts(c.verdict for c in own), join_verdicts(c.corrected for c in own)
            if verdict != "undecided":
                note += f"; {'survives' if corrected == verdict else 'does not survive'} Holm"
            case = Case(dataset, "all", strategy, own[0].reference, quantity, "test RMSE", verdict, note=note)
            cases.append(replace(case, survives=None if verdict == "undecided" else corrected == verdict))
    return cases


def judge_convergence(statistics: Statistics, runs: pd.DataFrame, curves: pd.DataFrame) -> list[Case]:
    """C5: what is spent until the validation force RMSE that scratch ends with, in four units.

    Epochs without those of the pretraining decide; all else is shown beside.
    """
    compared = [c for c in _of_masking(statistics) if c.reference_role == "scratch" and c.quantity == "force"]
    found = [_reaches(c, runs, curves) for c in compared]
    deciding = correct([convergence.compare(by_unit["epochs"], False) for by_unit in found])
    cases = []
    for c, by_unit, change in zip(compared, found, deciding, strict=True):
        note = convergence.describe(by_unit["epochs"])
        cases.append(case_of(replace(c, change=change), "finetuning epochs", note))
        for unit, counted in ((unit, counted) for unit in by_unit for counted in (False, True)):
            if (unit, counted) != ("epochs", False):
                part = f"with pretraining {unit}" if counted else f"finetuning {unit}"
                other = replace(c, change=convergence.compare(by_unit[unit], counted))
                note = convergence.summarise(by_unit[unit], unit, counted)
                cases.append(case_of(other, part, note, decisive=False))
    return cases


def judge_molecules(statistics: Statistics) -> list[Case]:
    """C7: masking against scratch on the molecules of revised MD17."""
    sources = {result.dataset: result.source for result in statistics.strategies}
    return [case for case in judge_gain(statistics) if sources[case.dataset] == MOLECULES]


def _of_masking(statistics: Statistics) -> list[Comparison]:
    return [c for c in statistics.comparisons if c.task == "masking" and c.judged]


def _reaches(
    c: Comparison, runs: pd.DataFrame, curves: pd.DataFrame
) -> dict[convergence.Unit, list[convergence.Reach]]:
    """What each seed spent, in every unit that was measured."""
    tables = [table[(table["dataset"] == c.dataset) & (table["backbone"] == c.backbone)] for table in (runs, curves)]
    found = convergence.reaches(tables[0], tables[1], c.strategy, c.reference)
    return {unit: reached for unit, reached in found.items() if unit == "epochs" or convergence.measurable(reached)}


def _overlap(change: Paired) -> str:
    if change.low is None or change.high is None:
        return ""
    least, most = CLAIMED_REDUCTION
    overlaps = change.low <= -least and change.high >= -most
    return f"interval {'overlaps' if overlaps else 'misses'} the claimed {100 * least:.0f}–{100 * most:.0f} %"


def _read(statistics: Statistics, c: Comparison) -> str:
    """Of how many seeds the pretraining learned: a loss below its start and below its context-free floor."""
    result = next(r for r in statistics.of(c.dataset, c.backbone) if r.strategy == c.strategy)
    place, parents = (result.learned_from, c.backbone), set(zip(result.parents, result.seeds, strict=True))
    own = [p for p in statistics.pretraining if (p.dataset, p.backbone) == place and (p.pretraining, p.seed) in parents]
    if own and all(p.floor is None for p in own):
        return f"masking learned in {sum(p.below_start for p in own)} of {len(own)}"
    learned = sum(p.below_start and bool(p.below_floor) for p in own)
    return f"masking learned below its floor in {learned} of {len(own)}" if own else ""


RULES = [
    f"Δ is the relative change of test RMSE, force and energy judged separately; margin m = {100 * MARGIN:.0f} %.",
    "*Reproduced*: the 95 % interval of Δ (paired t-interval of log RMSE over seeds) lies wholly below −m. "
    "*Contradicted*: it lies wholly above −m, practical equivalence included. *Undecided*: it holds −m, there are "
    "fewer than two pairs, a run of a pair diverged, or neither run of a pair has a test force RMSE below the trivial "
    "predictor's (counted in the note).",
    "Beside each decided verdict stands whether it survives Holm's correction: the one-sided p against −m, on the side "
    "of the interval, below 2.5 % after correction over the family, all comparisons of one quantity in the experiment "
    "with references of one role (scratch, longer-steps, longer-compute, denoising) that the tables or this page show; "
    "for C5 over its deciding comparisons. It does not change the verdict. *Practically equal* stands where the "
    "interval lies wholly within ±m.",
    "C1: masking against scratch; the note says whether the interval overlaps the claimed reduction.",
    "C2: masking against longer-steps and, where run, longer-compute, each the nearest in budget; undecided where that "
    f"spent less than {LEAST_BUDGET:g} of masking's budget.",
    "C3: masking against each denoising strategy; accuracy by Δ; stability by the number of diverged runs where "
    f"Fisher's exact test tells them apart (p < {DIVERGENCE_P:g}), otherwise, if none diverged, by the ratio of the "
    "standard deviations of log RMSE over seeds with its F-interval, margin as above.",
    "C4: the verdicts of C1 joined over the backbones of a dataset; at least one vector and one gradient readout.",
    "C5: first finetuning epoch at or below the validation force RMSE of scratch's kept weights, ratio to scratch's "
    "own first such epoch, per seed, on logs, by the rule for Δ. A seed that never gets there enters with a lower "
    "bound; with any such seed nothing is reproduced, with only such seeds it is contradicted. The same in optimiser "
    "steps, seconds and counted FLOPs, and each with what pretraining cost, is given beside and does not decide.",
    "C6: masking against scratch on ForceNet, all its backbones of a dataset together, which differ in learning rate. "
    "A run has failed that diverged or ended stuck (test force RMSE not below the trivial predictor's); judged as "
    "stability in C3, spreads being those within a backbone. Decides nothing with fewer than "
    f"{LEAST_RATES} learning rates or {LEAST_SEEDS} seeds.",
    "C7: as C1, on datasets of revised MD17 alone.",
    "Verdicts in parentheses decide nothing; variants (controls, values of a scan) are judged by no rule.",
    "Over datasets, backbones and parts: reproduced if every deciding case is; contradicted if any is, since a claim "
    "made in general falls with one counterexample; undecided otherwise. The counts stand beside it.",
]
