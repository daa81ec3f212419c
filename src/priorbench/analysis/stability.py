"""Stability of training, as C3 and C6 judge it: how many runs fail, and how far the errors of the others spread."""

from collections.abc import Sequence
from dataclasses import replace

from priorbench.analysis.cases import Case, joined
from priorbench.analysis.intervals import Verdict, divergence_p, pooled_spread_ratio, verdict
from priorbench.analysis.results import QUANTITY_NAMES, Comparison, Quantity, Statistics, StrategyResult

#: Level below which a difference in the frequency of failure counts.
DIVERGENCE_P = 0.05
#: C6 needs ForceNet at so many learning rates and with so many seeds.
LEAST_RATES, LEAST_SEEDS = 2, 5
FORCENET = "forcenet"

Samples = Sequence[Sequence[float]]


def judge_stability(
    values: tuple[Sequence[float], Sequence[float]], failed: tuple[int, int], runs: tuple[int, int]
) -> tuple[Verdict, tuple[float, float, float] | None]:
    """Stability of the first against the second: failures decide where they differ, else the spread over seeds.

    Returns the verdict and the ratio of spreads with its interval, each minus one.
    """
    return judge_pooled_stability(([values[0]], [values[1]]), failed, runs)


def judge_pooled_stability(
    values: tuple[Samples, Samples], failed: tuple[int, int], runs: tuple[int, int]
) -> tuple[Verdict, tuple[float, float, float] | None]:
    """The same with several samples on each side, the spread being that within them."""
    ratio = pooled_spread_ratio(*values)
    change = None if ratio is None else (ratio[0] - 1, ratio[1] - 1, ratio[2] - 1)
    if divergence_p(failed[0], runs[0], failed[1], runs[1]) < DIVERGENCE_P:
        return ("reproduced" if failed[0] / runs[0] < failed[1] / runs[1] else "contradicted"), change
    if change is None or any(failed):
        return "undecided", change
    return verdict(change[1], change[2]), change


def stability_case(c: Comparison, own: StrategyResult, other: StrategyResult) -> Case:
    """C3: the stability of one strategy against another on one backbone; runs that diverged have failed."""
    name = f"{c.quantity}_rmse"
    lost, runs = (len(own.diverged), len(other.diverged)), (len(own.seeds), len(other.seeds))
    judged, change = judge_stability((own.errors[name].values, other.errors[name].values), lost, runs)
    value, low, high = change or (None, None, None)
    note = f"diverged {lost[0]} of {runs[0]} against {lost[1]} of {runs[1]}"
    pairs = min(own.completed, other.completed)
    case = Case(c.dataset, c.backbone, c.strategy, c.reference, c.quantity, "stability: spread", judged)
    return replace(case, value=value, low=low, high=high, pairs=pairs, note=note)


def judge_forcenet(statistics: Statistics) -> list[Case]:
    """C6: masking against scratch on ForceNet, pooled over the backbones of a dataset that are one (learning rates)."""
    cases = []
    for dataset in dict.fromkeys(dataset for dataset, _ in statistics.places):
        entries = [
            {result.strategy: result for result in statistics.of(*place)}
            for place in statistics.places
            if place[0] == dataset and statistics.of(*place)[0].architecture == FORCENET
        ]
        masked = {s: None for e in entries for s, r in e.items() if r.task == "masking" and r.role == "pretrained"}
        for strategy in masked:
            both = [
                (entry[strategy], next(result for result in entry.values() if result.role == "scratch"))
                for entry in entries
                if strategy in entry
            ]
            cases += [_forcenet_case(both, quantity) for quantity in QUANTITY_NAMES]
    return cases


def _forcenet_case(both: Sequence[tuple[StrategyResult, StrategyResult]], quantity: Quantity) -> Case:
    """One dataset and strategy; a run that diverged or ended no better than the trivial predictor has failed."""
    own, other = zip(*both, strict=True)
    judged, change = judge_pooled_stability(
        (_samples(own, quantity), _samples(other, quantity)), (_failed(own), _failed(other)), (_runs(own), _runs(other))
    )
    value, low, high = change or (None, None, None)
    rates = sorted({result.learning_rate for result in other})
    seeds = min(len(result.seeds) for result in other)
    missing = joined(
        f"needs {LEAST_RATES} learning rates" if len(rates) < LEAST_RATES else "",
        f"needs {LEAST_SEEDS} seeds, found {seeds}" if seeds < LEAST_SEEDS else "",
    )
    note = joined(
        f"learning rate {', '.join(f'{rate:g}' for rate in rates)}",
        f"diverged {_diverged(own)} of {_runs(own)} against {_diverged(other)} of {_runs(other)}",
        f"stuck {_stuck(own)} against {_stuck(other)}",
        missing,
    )
    case = Case(own[0].dataset, "", own[0].strategy, other[0].strategy, quantity, "stability: failed, spread", judged)
    backbones = ", ".join(result.backbone for result in own)
    pairs = min(sum(map(len, _samples(results, quantity))) for results in (own, other))
    return replace(
        case, backbone=backbones, value=value, low=low, high=high, pairs=pairs, note=note, decisive=not missing
    )


def _samples(results: Sequence[StrategyResult], quantity: Quantity) -> list[list[float]]:
    return [result.trained(f"{quantity}_rmse") for result in results]


def _diverged(results: Sequence[StrategyResult]) -> int:
    return sum(len(result.diverged) for result in results)


def _stuck(results: Sequence[StrategyResult]) -> int:
    return sum(len(result.stuck) for result in results)


def _failed(results: Sequence[StrategyResult]) -> int:
    return _diverged(results) + _stuck(results)


def _runs(results: Sequence[StrategyResult]) -> int:
    return sum(len(result.seeds) for result in results)
