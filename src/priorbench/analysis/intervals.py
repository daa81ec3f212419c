"""Intervals over seeds and the rule that turns one into a verdict.

Errors are positive and vary by factors, so all of it is done on logarithms: a single number is a geometric mean with
a t-interval on the log, a comparison a t-interval on the paired differences of the log, seed by seed.  Three to five
seeds are too few to bootstrap: of three values the bootstrap never leaves the range between smallest and largest, which
holds the truth three times out of four.  ``tests/analysis/test_coverage.py`` holds both methods against simulations.
"""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from priorbench.analysis.significance import holm, smaller_tail
from priorbench.errors import PriorbenchError

Verdict = Literal["reproduced", "contradicted", "undecided"]

LEVEL = 0.95
#: A change smaller than this counts as none (practical equivalence).
MARGIN = 0.03
LARGEST_LOG = 700.0  # of an end of an interval: what e to this power leaves is all that a number holds


@dataclass(frozen=True)
class Estimate:
    """Geometric mean of positive numbers, its 95 % interval, and their spread.

    ``low`` and ``high`` are None with fewer than two values; ``spread`` is the standard deviation of the natural log,
    for small values the relative standard deviation.  ``values`` are those of the completed runs, by seed.
    """

    mean: float | None
    low: float | None
    high: float | None
    spread: float | None
    values: list[float]


@dataclass(frozen=True)
class Paired:
    """Relative change Δ = exp(mean difference of logs) − 1 over the seeds of which both runs completed.

    ``diverged`` are the seeds lost to a diverged run on either side, ``untrained`` those of which neither run is better
    than the trivial predictor, ``half_width`` is (high − low) / 2, and ``equivalent`` says that the interval lies
    wholly within ±``MARGIN``.  ``p`` is that of the two-sided t-test of no change; ``p_margin`` the one-sided one of a
    change of −``MARGIN``, on the side where Δ lies: the verdict is decided where it is below 2.5 %.  ``p_holm`` and
    ``p_margin_holm`` are corrected over a ``family`` of so many comparisons.
    """

    pairs: int
    diverged: list[int] = field(default_factory=list)
    delta: float | None = None
    low: float | None = None
    high: float | None = None
    half_width: float | None = None
    verdict: Verdict = "undecided"
    equivalent: bool = False
    p: float | None = None
    p_margin: float | None = None
    p_holm: float | None = None
    p_margin_holm: float | None = None
    family: int | None = None
    survives: bool = False
    untrained: list[int] = field(default_factory=list)


def t_intervals(
    values: ArrayLike, level: float = LEVEL
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Means over the last axis and their two-sided Student t-intervals: mean ± t(n − 1) · s / √n."""
    sample = np.asarray(values, np.float64)
    n = sample.shape[-1]
    if n < 2:
        raise ValueError(f"an interval needs two values, found {n}")
    mean = sample.mean(axis=-1)
    half = float(stats.t.ppf(0.5 + level / 2, n - 1)) * sample.std(axis=-1, ddof=1) / math.sqrt(n)
    return mean, mean - half, mean + half


def t_interval(values: Sequence[float], level: float = LEVEL) -> tuple[float, float, float]:
    """Mean and two-sided Student t-interval of at least two numbers."""
    mean, low, high = (float(value) for value in t_intervals(values, level))
    return mean, low, high


def estimate(values: Sequence[float]) -> Estimate:
    """Geometric mean with its interval on the log; all None where there is no value."""
    numbers = [float(value) for value in values]
    if not numbers:
        return Estimate(None, None, None, None, [])
    logs = [math.log(value) for value in numbers]
    if len(logs) < 2:
        return Estimate(numbers[0], None, None, None, numbers)
    mean, low, high = (math.exp(min(value, LARGEST_LOG)) for value in t_interval(logs))
    return Estimate(mean, low, high, float(np.std(logs, ddof=1)), numbers)


def paired_logs(strategy: Mapping[int, float | None], reference: Mapping[int, float | None]) -> dict[int, float]:
    """Log of the ratio of two errors by seed, where both runs completed.

    Raises:
        PriorbenchError: the two do not have the same seeds.
    """
    if set(strategy) != set(reference):
        odd = min(set(strategy) ^ set(reference))
        raise PriorbenchError(f"seed {odd} was run for only one of two compared strategies; run it for both")
    both = {seed: (a, reference[seed]) for seed, a in sorted(strategy.items())}
    return {seed: math.log(a / b) for seed, (a, b) in both.items() if a is not None and b is not None}


def paired(
    strategy: Mapping[int, float | None], reference: Mapping[int, float | None], untrained: Collection[int] = ()
) -> Paired:
    """Compare two strategies seed by seed; the values are errors, None for a diverged run.

    A diverged run on either side leaves the verdict undecided and without p-values: the pairs that remain are no fair
    sample.  So does a seed of which both are ``untrained``: that two networks learned nothing makes them equal, but
    tells nothing of the strategies.

    Raises:
        PriorbenchError: the two do not have the same seeds.
    """
    by_seed = paired_logs(strategy, reference)
    logs, lost = list(by_seed.values()), sorted(set(strategy) - set(by_seed))
    if len(logs) < 2:
        return Paired(len(logs), lost, math.expm1(logs[0]) if logs else None)
    delta, low, high = (math.expm1(min(value, LARGEST_LOG)) for value in t_interval(logs))
    neither = sorted(untrained)
    change = Paired(len(logs), lost, delta, low, high, (high - low) / 2, untrained=neither)
    if lost or neither:
        return change
    return replace(
        change,
        verdict=verdict(low, high),
        equivalent=low > -MARGIN and high < MARGIN,
        p=2 * smaller_tail(logs, 0.0),
        p_margin=smaller_tail(logs, math.log1p(-MARGIN)),
    )


def correct(changes: Sequence[Paired]) -> list[Paired]:
    """The same comparisons, corrected as one family by Holm's method; no verdict changes.

    A verdict ``survives`` where it would be the same by the corrected p-value.  An undecided one has nothing to lose
    and does not.
    """
    corrected, at_margin = (holm([getattr(change, name) for change in changes]) for name in ("p", "p_margin"))
    return [
        replace(
            change,
            p_holm=p,
            p_margin_holm=p_margin,
            family=len(changes),
            survives=change.verdict != "undecided" and p_margin is not None and p_margin < (1 - LEVEL) / 2,
        )
        for change, p, p_margin in zip(changes, corrected, at_margin, strict=True)
    ]


def verdict(low: float, high: float, margin: float = MARGIN) -> Verdict:
    """Judge an interval of Δ where the claim is a decrease.

    *Reproduced* when it lies wholly below −margin, *contradicted* when wholly above it (an increase, but also
    practical equivalence), *undecided* when it holds −margin.
    """
    if high < -margin:
        return "reproduced"
    return "contradicted" if low > -margin else "undecided"


def spread_ratio(a: Sequence[float], b: Sequence[float]) -> tuple[float, float, float] | None:
    """Ratio of the standard deviations of log a and log b with its F-interval; None where one cannot be estimated.

    The interval takes the two samples as independent.  Those of one seed share a split and thus rather rise and fall
    together, which makes it too wide, not too narrow.
    """
    return pooled_spread_ratio([a], [b])


def pooled_spread_ratio(
    a: Sequence[Sequence[float]], b: Sequence[Sequence[float]]
) -> tuple[float, float, float] | None:
    """The same for several samples on each side, each about its own mean, all of a side taken to spread alike."""
    (s_a, free_a), (s_b, free_b) = _pooled_spread(a), _pooled_spread(b)
    if not (s_a > 0 and s_b > 0):
        return None
    tail = 0.5 + LEVEL / 2
    low = math.sqrt(float(stats.f.ppf(tail, free_a, free_b)))
    high = math.sqrt(float(stats.f.ppf(tail, free_b, free_a)))
    return s_a / s_b, s_a / s_b / low, s_a / s_b * high


def _pooled_spread(samples: Sequence[Sequence[float]]) -> tuple[float, int]:
    """Standard deviation of the logs within the samples (0 where there is none) and its degrees of freedom."""
    logs = [np.log(sample) for sample in samples if len(sample) > 1]
    free = sum(len(sample) - 1 for sample in logs)
    squares = sum(float(((sample - sample.mean()) ** 2).sum()) for sample in logs)
    return (math.sqrt(squares / free) if free else 0.0), free


def divergence_p(diverged_a: int, runs_a: int, diverged_b: int, runs_b: int) -> float:
    """Two-sided p-value of Fisher's exact test that both diverge equally often."""
    table = [[diverged_a, runs_a - diverged_a], [diverged_b, runs_b - diverged_b]]
    return float(stats.fisher_exact(table).pvalue)
