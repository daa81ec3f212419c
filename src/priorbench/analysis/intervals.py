"""Intervals over seeds and the rule that turns one into a verdict.

Errors are positive and vary by factors, so all of it is done on logarithms: a single number is a geometric mean with
a t-interval on the log, a comparison a t-interval on the paired differences of the log, seed by seed.  Three to five
seeds are too few to bootstrap.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from scipy import stats

from priorbench.errors import PriorbenchError

Verdict = Literal["reproduced", "contradicted", "undecided"]

LEVEL = 0.95
#: A change smaller than this counts as none (practical equivalence).
MARGIN = 0.03


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

    ``diverged`` are the seeds lost to a diverged run on either side, ``half_width`` is (high − low) / 2.
    """

    pairs: int
    diverged: list[int] = field(default_factory=list)
    delta: float | None = None
    low: float | None = None
    high: float | None = None
    half_width: float | None = None
    verdict: Verdict = "undecided"


def t_interval(values: Sequence[float], level: float = LEVEL) -> tuple[float, float, float]:
    """Mean and two-sided Student t-interval of at least two numbers: mean ± t(n − 1) · s / √n."""
    n = len(values)
    if n < 2:
        raise ValueError(f"an interval needs two values, found {n}")
    mean = float(np.mean(values))
    half = float(stats.t.ppf(0.5 + level / 2, n - 1)) * float(np.std(values, ddof=1)) / math.sqrt(n)
    return mean, mean - half, mean + half


def estimate(values: Sequence[float]) -> Estimate:
    """Geometric mean with its interval on the log; all None where there is no value."""
    numbers = [float(value) for value in values]
    if not numbers:
        return Estimate(None, None, None, None, [])
    logs = [math.log(value) for value in numbers]
    if len(logs) < 2:
        return Estimate(numbers[0], None, None, None, numbers)
    mean, low, high = (math.exp(value) for value in t_interval(logs))
    return Estimate(mean, low, high, float(np.std(logs, ddof=1)), numbers)


def paired(strategy: Mapping[int, float | None], reference: Mapping[int, float | None]) -> Paired:
    """Compare two strategies seed by seed; the values are errors, None for a diverged run.

    A diverged run on either side leaves the verdict undecided: the pairs that remain are no fair sample.

    Raises:
        PriorbenchError: the two do not have the same seeds.
    """
    if set(strategy) != set(reference):
        odd = min(set(strategy) ^ set(reference))
        raise PriorbenchError(f"seed {odd} was run for only one of two compared strategies; run it for both")
    both = {seed: (a, reference[seed]) for seed, a in sorted(strategy.items())}
    logs = [math.log(a / b) for a, b in both.values() if a is not None and b is not None]
    lost = [seed for seed, (a, b) in both.items() if a is None or b is None]
    if len(logs) < 2:
        return Paired(len(logs), lost, math.expm1(logs[0]) if logs else None)
    delta, low, high = (math.expm1(value) for value in t_interval(logs))
    return Paired(len(logs), lost, delta, low, high, (high - low) / 2, "undecided" if lost else verdict(low, high))


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
    if min(len(a), len(b)) < 2:
        return None
    s_a, s_b = (float(np.std(np.log(values), ddof=1)) for values in (a, b))
    if s_a == 0 or s_b == 0:
        return None
    tail = 0.5 + LEVEL / 2
    low = math.sqrt(float(stats.f.ppf(tail, len(a) - 1, len(b) - 1)))
    high = math.sqrt(float(stats.f.ppf(tail, len(b) - 1, len(a) - 1)))
    return s_a / s_b, s_a / s_b / low, s_a / s_b * high


def divergence_p(diverged_a: int, runs_a: int, diverged_b: int, runs_b: int) -> float:
    """Two-sided p-value of Fisher's exact test that both diverge equally often."""
    table = [[diverged_a, runs_a - diverged_a], [diverged_b, runs_b - diverged_b]]
    return float(stats.fisher_exact(table).pvalue)
