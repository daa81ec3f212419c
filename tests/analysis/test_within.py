import math

import numpy as np
import pandas as pd
import pytest

from priorbench.analysis.results import load_statistics
from priorbench.analysis.within import group_sums, log_ratio_error, within
from priorbench.errors import PriorbenchError

PLACE, PAIR = ("water", "gns"), ("mask", "scratch")


def structures(strategy: str, seed: int, groups, force, atoms=None) -> pd.DataFrame:
    """Rows of ``structures.csv`` of one run: its structures' groups and force RMSEs."""
    key = {"dataset": PLACE[0], "backbone": PLACE[1], "stage": "finetune", "strategy": strategy, "seed": seed}
    values = {"structure": np.arange(len(groups)), "group": groups, "force_rmse": force, "energy_error": force}
    return pd.DataFrame({**key, **values, "atoms": np.nan if atoms is None else atoms})


def pair_of(rng, seed: int, groups: int, size: int = 4, change: float = 0.0) -> pd.DataFrame:
    """Both strategies of a seed: squared errors vary between groups, alike within one, and share half of it."""
    group = np.repeat(np.arange(groups), size)
    shared = rng.normal(0, 0.3, groups)
    tables = []
    for strategy, shift in (("mask", change), ("scratch", 0.0)):
        logs = shift + (shared + rng.normal(0, 0.3, groups))[group]
        tables.append(structures(strategy, seed, group, 100 * np.exp(logs)))
    return pd.concat(tables)


def exact_error(table: pd.DataFrame) -> float:
    """The delta method: ½ log(ΣA/ΣB) varies as the mean over groups of ½ (A/⟨A⟩ − B/⟨B⟩)."""
    squares = (table["force_rmse"] ** 2).groupby([table["strategy"], table["group"]]).sum()
    a, b = (squares[name].to_numpy() for name in PAIR)
    terms = 0.5 * (a / a.mean() - b / b.mean())
    return float(np.std(terms) / math.sqrt(len(terms)))


def test_the_bootstrap_agrees_with_the_delta_method() -> None:
    table = pair_of(np.random.default_rng(0), 0, groups=80)
    found = within(group_sums(table), PLACE, PAIR, "force", {0: 0.0})
    assert found.per_seed == [pytest.approx(exact_error(table), rel=0.08)]
    assert (found.groups, found.share) == ([80], None)  # one seed has no variance between seeds


def test_it_is_the_scatter_over_other_test_sets() -> None:
    rng = np.random.default_rng(1)
    errors, ratios = [], []
    for _ in range(300):
        squares = np.exp(2 * (rng.normal(0, 0.3, (1, 40)) + rng.normal(0, 0.3, (2, 40))))
        errors.append(log_ratio_error(squares[0], squares[1], 0))
        ratios.append(0.5 * math.log(squares[0].sum() / squares[1].sum()))
    assert np.mean(errors) == pytest.approx(np.std(ratios), rel=0.1)


def test_groups_are_drawn_and_not_their_structures() -> None:
    """Of 16 equal structures a group no more is learned than of one: √16 smaller errors would be wrong."""
    table = pair_of(np.random.default_rng(2), 0, groups=60, size=16)
    alone = table.assign(group=table["structure"])
    found, naive = (within(group_sums(t), PLACE, PAIR, "force", {0: 0.0}).pooled_se for t in (table, alone))
    assert found is not None
    assert naive is not None
    assert found / naive == pytest.approx(4, rel=0.1)


def test_pairs_share_their_groups() -> None:
    """Two equal networks differ on no test set, however hard its structures."""
    one = structures("mask", 0, np.arange(30), np.geomspace(10, 1000, 30))
    found = within(group_sums(pd.concat([one, one.assign(strategy="scratch")])), PLACE, PAIR, "force", {0: 0.0})
    assert found.pooled_se == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("training", [0.0, 0.1])
def test_the_share_is_that_of_the_test_structures(training: float) -> None:
    """Seeds that differ by a known scatter of training besides their test structures: share = σ² / (σ² + τ²)."""
    rng = np.random.default_rng(3)
    tables = [pair_of(rng, seed, 30, 1, change=rng.normal(-0.2, training)) for seed in range(150)]
    logs = {}
    for seed, table in enumerate(tables):
        mask, scratch = (math.sqrt((t["force_rmse"] ** 2).mean()) for _, t in table.groupby("strategy"))
        logs[seed] = math.log(mask / scratch)
    found = within(group_sums(pd.concat(tables)), PLACE, PAIR, "force", logs)
    # ½ (A/⟨A⟩ − B/⟨B⟩) of two log-normal squares, variance of the logs 4 · 0.18, covariance 4 · 0.09, over 30 groups
    sigma = math.sqrt(0.5 * (math.exp(0.72) - math.exp(0.36)) / 30)
    assert found.pooled_se == pytest.approx(sigma, rel=0.1)
    assert found.share == pytest.approx(sigma**2 / (sigma**2 + training**2), rel=0.2)


def test_atoms_weigh_forces_and_not_energies() -> None:
    table = structures("mask", 0, [0, 0, 1], np.array([1.0, 2.0, 3.0]), atoms=[10, 20, 30])
    (sums,) = group_sums(table).values()
    assert list(sums["force"]) == [10 * 1 + 20 * 4, 30 * 9]
    assert list(sums["energy"]) == [1 + 4, 9]
    (sums,) = group_sums(table.assign(atoms=[10, np.nan, 30])).values()
    assert list(sums["force"]) == [1 + 4, 9]


def test_few_groups_have_no_error_and_the_others_do() -> None:
    rng = np.random.default_rng(4)
    table = pd.concat([pair_of(rng, 0, 4), pair_of(rng, 1, 5)])
    found = within(group_sums(table), PLACE, PAIR, "force", {0: 0.0, 1: 0.1})
    assert (found.groups, found.per_seed[0]) == ([4, 5], None)
    assert found.pooled_se == found.per_seed[1]
    assert found.share == pytest.approx((found.pooled_se or 0) ** 2 / np.var([0.0, 0.1], ddof=1))


def test_other_test_structures_are_refused() -> None:
    rng = np.random.default_rng(5)
    tables = [pair_of(rng, 0, groups).query("strategy == @name") for groups, name in ((6, "mask"), (7, "scratch"))]
    with pytest.raises(PriorbenchError, match="seed 0 was tested on different structures"):
        within(group_sums(pd.concat(tables)), PLACE, PAIR, "force", {0: 0.0})


def test_every_comparison_has_it_and_always_the_same(make) -> None:
    experiment = make(groups=8).analyse()
    before = experiment.statistics_json.read_bytes()
    assert experiment.analyse().statistics_json.read_bytes() == before
    for c in load_statistics(experiment.statistics_json).comparisons:
        assert c.within is not None
        assert c.within.groups == [8, 8, 8]
        # both strategies are better and worse on the same structures by the same factors
        assert c.within.pooled_se == pytest.approx(0, abs=1e-9)


def test_without_structures_there_is_nothing_to_bootstrap(make) -> None:
    from priorbench.analysis.statistics import statistics

    experiment = make(groups=8).collect()
    statistics(experiment.runs_csv, experiment.curves_csv, experiment.statistics_json)
    assert {c.within for c in load_statistics(experiment.statistics_json).comparisons} == {None}
