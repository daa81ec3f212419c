import pytest

from priorbench.questions.interpolate import equal_budget, error_at
from tests.questions.simulate import Backbone, baselines, masked, rows_of

TIMES = (1.5, 2.0, 4.0)
CURVE = [(1.0, 8.0), (2.0, 4.0), (4.0, 4.0), (8.0, 2.0)]


def test_errors_between_budgets_lie_on_straight_lines_of_logs() -> None:
    assert error_at(CURVE, 1.0) == pytest.approx(8.0)
    assert error_at(CURVE, 2**0.5) == pytest.approx(8 / 2**0.5)
    assert error_at(CURVE, 3.0) == pytest.approx(4.0)
    assert error_at(CURVE, 8.1) == pytest.approx(2.0)
    assert error_at(CURVE, 0.9) is error_at(CURVE, 8.5) is error_at([], 1.0) is None


def test_equal_budgets_are_the_first_and_nothing_is_extrapolated() -> None:
    curves = dict.fromkeys(range(5), CURVE)
    found = equal_budget(curves, {0: 4.0, 1: 8 / 2**0.5, 2: 8.0}, unit=1.0)
    assert found.budgets.values == pytest.approx([2.0, 2**0.5, 1.0])
    found = equal_budget(curves, {0: 9.0, 1: 1.0, 2: None, 3: 4.0}, unit=2.0)
    assert (found.budgets.values, found.less, found.more) == ([1.0], 1, 1)
    assert found.describe() == (
        "1.00 × in 1 of 3 seeds, at most the least that was run in 1 of 3 seeds, "
        "more than the most that was run in 1 of 3 seeds"
    )


def test_masking_below_the_curve_is_a_yes_with_the_true_multiple(make) -> None:
    found = make({**baselines(TIMES), "mask": masked(3**-0.5, "pretrained")}).judge("q3")
    assert found.judgement == "yes"
    (row,) = rows_of(found, strategy="mask")
    assert row["delta_force_curve_steps"] == pytest.approx((1.4 / 3) ** 0.5 - 1, abs=0.01)
    assert row["delta_energy_curve_flops"] == pytest.approx((1.28 / 3) ** 0.5 - 1, abs=0.01)
    assert (row["steps_over_scratch"], row["flops_over_scratch"]) == pytest.approx((1.4, 1.28))
    assert float(row["equal_over_scratch"].split()[0]) == pytest.approx(3.0, rel=0.03)
    assert "masking spends 1.40 × its steps and 1.28 × its FLOPs" in found.sentences[1]


@pytest.mark.parametrize(("factor", "judgement"), [(1.4**-0.5, "no"), (1.0, "no"), (1.4**-0.5 * 0.97, "undecided")])
def test_masking_on_or_near_the_curve(make, factor: float, judgement: str) -> None:
    """By FLOPs it may be lower; it must be by both."""
    strategies = {**baselines(TIMES), "mask": masked(factor, "pretrained")}
    found = make(strategies, noise=0.002).judge("q3")
    assert found.judgement == judgement


def test_better_than_every_budget_and_worse_than_the_least(make) -> None:
    backbones = {"gns": Backbone(), "egnn": Backbone("egnn", "gradient", factors={"mask": 4.0})}
    found = make({**baselines(TIMES), "mask": masked(0.3, "pretrained")}, backbones=backbones).judge("q3")
    equal = {row["backbone"]: row["equal_over_scratch"] for row in rows_of(found, strategy="mask")}
    assert equal == {
        "gns": "more than the most that was run in 5 of 5 seeds",
        "egnn": "at most the least that was run in 5 of 5 seeds",
    }


def test_a_diverged_budget_decides_nothing(make) -> None:
    strategies = {**baselines(TIMES), "mask": masked(0.3, "pretrained")}
    found = make(strategies, diverged=[("gns", "longer-1.5", 2)]).judge("q3")
    assert found.judgement == "undecided"
    assert rows_of(found, strategy="longer-1.5")[0]["diverged"] == 1


def test_a_budget_beyond_the_curve_is_not_measured(make) -> None:
    strategies = {**baselines(), "mask": masked(0.5, "pretrained")}
    strategies["mask"].pretrain_steps = 3000
    found = make(strategies).judge("q3")
    assert found.judgement == "undecided"
    assert "with as many optimiser steps by not measured" in found.sentences[0]


def test_without_masking_there_is_nothing_to_hold_against_the_curve(make) -> None:
    found = make(baselines(TIMES)).judge("q3")
    assert (found.judgement, found.missing) == ("not in this experiment", ["masking"])
