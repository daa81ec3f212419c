"""Why intervals are t-intervals over seeds: how often they hold the truth, and how often a bootstrap does.

Errors are simulated as they come: two strategies share what a seed brings (its split) and each adds an error of its own
to the log.  The truth is known, so the share of experiments whose 95 % interval holds it can be counted.
"""

import itertools

import numpy as np
import pytest
from numpy.typing import NDArray

from priorbench.analysis.intervals import paired, t_intervals

EXPERIMENTS = 8000
TRUTH = np.log(0.8)

SHAPES = {
    "normal": lambda rng, size: rng.normal(size=size),
    "heavy tails": lambda rng, size: rng.standard_t(4, size),  # infinite fourth moment
    "skewed": lambda rng, size: (rng.gamma(4.0, size=size) - 4) / 2,  # skewness 1
}


def log_ratios(shape: str, seeds: int, generator: int) -> NDArray[np.float64]:
    """Paired log differences (EXPERIMENTS, seeds) of mean TRUTH: own errors of 8 and 4 % on shared ones of 30 %."""
    rng, size = np.random.default_rng([generator, seeds]), (EXPERIMENTS, seeds)
    shared = rng.normal(0, 0.3, size)
    own, other = (shared + scale * SHAPES[shape](rng, size) for scale in (0.08, 0.04))
    return TRUTH + own - other


def share_within(low: NDArray[np.float64], high: NDArray[np.float64]) -> float:
    return float(np.mean((low <= TRUTH) & (high >= TRUTH)))


@pytest.mark.parametrize("seeds", [3, 5, 7])
@pytest.mark.parametrize("shape", SHAPES)
def test_the_t_interval_over_seeds_covers_the_truth_as_often_as_it_says(shape: str, seeds: int) -> None:
    _, low, high = t_intervals(log_ratios(shape, seeds, 1))
    assert 0.92 <= share_within(low, high) <= 0.97


def test_what_is_simulated_is_what_comparisons_use() -> None:
    logs = log_ratios("skewed", 5, 2)[:20]
    _, low, high = t_intervals(logs)
    for row, a, b in zip(logs, low, high, strict=True):
        change = paired(dict(enumerate(np.exp(row))), dict.fromkeys(range(5), 1.0))
        assert (change.low, change.high) == pytest.approx((np.expm1(a), np.expm1(b)))


def test_bootstrapping_three_seeds_under_covers() -> None:
    """Of 3³ equally likely resamples 1/27 > 2.5 % have the smallest mean, so the percentile interval is the range.

    The range of three values misses the centre of their distribution if all three lie on one side: 2 · (1/2)³ = 25 %.
    All 27 resamples are enumerated, so nothing of this is left to chance; more resamples would not help.
    """
    logs = log_ratios("normal", 3, 3)
    means = np.stack([logs[:, list(which)].mean(axis=1) for which in itertools.product(range(3), repeat=3)])
    low, high = np.quantile(means, [0.025, 0.975], axis=0, method="inverted_cdf")
    np.testing.assert_allclose((low, high), (logs.min(axis=1), logs.max(axis=1)))
    assert share_within(low, high) == pytest.approx(0.75, abs=0.02)
    _, low, high = t_intervals(logs)
    assert share_within(low, high) == pytest.approx(0.95, abs=0.01)


def test_ignoring_the_pairs_would_waste_what_a_seed_shares() -> None:
    """The paired interval does not widen with what both strategies share; the unpaired standard error does."""
    paired_width = np.median(np.std(log_ratios("normal", 5, 4), axis=1, ddof=1))
    assert paired_width == pytest.approx(np.hypot(0.08, 0.04), rel=0.1)
