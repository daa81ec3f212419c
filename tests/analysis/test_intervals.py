import math

import numpy as np
import pytest
from scipy import stats

from priorbench.analysis.intervals import (
    divergence_p,
    estimate,
    paired,
    spread_ratio,
    t_interval,
    verdict,
)
from priorbench.errors import PriorbenchError


def test_t_interval_by_hand() -> None:
    # mean 2, s = 1, n = 3, t(2; 0.975) = 4.302653: half-width 4.302653 / √3 = 2.484138
    mean, low, high = t_interval([1.0, 2.0, 3.0])
    assert (mean, low, high) == pytest.approx((2.0, -0.484138, 4.484138), abs=1e-6)


def test_t_interval_agrees_with_scipy() -> None:
    values = np.random.default_rng(0).normal(size=7)
    low, high = stats.t.interval(0.95, 6, loc=values.mean(), scale=stats.sem(values))
    assert t_interval(list(values))[1:] == pytest.approx((low, high))


def test_paired_interval_by_hand() -> None:
    strategy, reference = {0: 80.0, 1: 90.0, 2: 85.0}, {0: 100.0, 1: 100.0, 2: 100.0}
    logs = np.log([0.8, 0.9, 0.85])
    half = 4.302653 * logs.std(ddof=1) / math.sqrt(3)
    change = paired(strategy, reference)
    assert change.delta == pytest.approx(math.exp(logs.mean()) - 1)
    assert change.low == pytest.approx(math.exp(logs.mean() - half) - 1)
    assert change.high == pytest.approx(math.exp(logs.mean() + half) - 1, rel=1e-6)
    assert change.half_width == pytest.approx((change.high - change.low) / 2)


@pytest.mark.parametrize("seeds", [3, 5])
def test_paired_interval_covers_the_truth_as_often_as_it_says(seeds: int) -> None:
    rng, repeats, truth = np.random.default_rng(7), 2000, -0.2
    covered = 0
    for _ in range(repeats):
        common = rng.normal(0, 0.3, seeds)
        own, other = (np.exp(common + rng.normal(0, 0.05, seeds)) for _ in range(2))
        change = paired(dict(enumerate((1 + truth) * own)), dict(enumerate(other)))
        assert change.low is not None
        assert change.high is not None
        covered += change.low <= truth <= change.high
    assert 0.92 <= covered / repeats <= 0.97


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (-0.40, -0.0301, "reproduced"),
        (-0.40, -0.03, "undecided"),
        (-0.40, 0.10, "undecided"),
        (-0.03, 0.10, "undecided"),
        (-0.0299, 0.0299, "contradicted"),  # practical equivalence
        (0.05, 0.10, "contradicted"),
    ],
)
def test_verdict_at_the_margin(low: float, high: float, expected: str) -> None:
    assert verdict(low, high) == expected


def test_a_diverged_run_leaves_a_comparison_undecided_and_is_counted() -> None:
    own, other = {0: 50.0, 1: 51.0, 2: 52.0}, {0: 100.0, 1: 102.0, 2: 104.1}
    assert paired(own, other).verdict == "reproduced"
    change = paired(own, {**other, 1: None})
    assert (change.verdict, change.pairs, change.diverged) == ("undecided", 2, [1])
    assert change.delta is not None


def test_two_networks_that_learned_nothing_are_not_called_equal() -> None:
    """Their errors are those of the trivial predictor, so their interval is a point; it says nothing of strategies."""
    own, other = {0: 2040.0, 1: 2100.0, 2: 2200.0}, {0: 2040.1, 1: 2100.1, 2: 2200.1}
    assert paired(own, other).verdict == "contradicted"
    change = paired(own, other, untrained={1})
    assert (change.verdict, change.equivalent, change.p, change.pairs) == ("undecided", False, None, 3)
    assert change.untrained == [1]


def test_unequal_seeds_are_refused() -> None:
    with pytest.raises(PriorbenchError, match="seed 2 was run for only one"):
        paired({0: 1.0, 1: 1.0}, {0: 1.0, 1: 1.0, 2: 1.0})


def test_estimate_is_geometric_and_honest_about_few_values() -> None:
    assert estimate([1.0, 100.0]).mean == pytest.approx(10.0)
    assert estimate([5.0]).low is None
    assert estimate([]).mean is None


def test_spread_ratio_interval_covers() -> None:
    rng, truth, repeats = np.random.default_rng(3), 2.0, 2000
    covered = 0
    for _ in range(repeats):
        found = spread_ratio(list(np.exp(rng.normal(0, 0.2, 5))), list(np.exp(rng.normal(0, 0.1, 5))))
        assert found is not None
        covered += found[1] <= truth <= found[2]
    assert 0.93 <= covered / repeats <= 0.97


def test_divergence_needs_more_than_a_few_runs() -> None:
    assert divergence_p(0, 3, 3, 3) > 0.05
    assert divergence_p(0, 5, 5, 5) < 0.05
