from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from priorbench.analysis.intervals import MARGIN, Paired, correct, paired
from priorbench.analysis.results import load_statistics
from priorbench.analysis.significance import holm, smaller_tail


def change_of(logs: list[float]) -> Paired:
    return paired(dict(enumerate(np.exp(logs))), dict.fromkeys(range(len(logs)), 1.0))


def test_holm_by_hand() -> None:
    # sorted 0.01 0.02 0.03 0.5: × 4, 3, 2, 1 = 0.04 0.06 0.06 0.5, never falling
    assert holm([0.03, 0.01, 0.5, 0.02]) == pytest.approx([0.06, 0.04, 0.5, 0.06])
    assert holm([0.03, 0.001]) == pytest.approx([0.03, 0.002])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []


def test_a_comparison_without_a_p_value_counts_and_has_none() -> None:
    assert holm([0.01, None]) == [0.02, None]


def test_holm_keeps_the_family_wise_error_and_no_correction_does_not() -> None:
    p = np.random.default_rng(0).uniform(size=(4000, 6))
    corrected = [min(value for value in holm(list(row)) if value is not None) for row in p]
    assert np.mean(p.min(axis=1) < 0.05) == pytest.approx(1 - 0.95**6, abs=0.02)  # 26 %
    assert np.mean(np.array(corrected) < 0.05) == pytest.approx(0.05, abs=0.01)


def test_p_values_agree_with_scipy() -> None:
    logs = [-0.31, -0.18, -0.22, -0.05]
    change = change_of(logs)
    assert change.p == pytest.approx(stats.ttest_1samp(logs, 0.0).pvalue)
    assert change.p_margin == pytest.approx(stats.ttest_1samp(logs, np.log(1 - MARGIN), alternative="less").pvalue)


def test_a_verdict_is_decided_exactly_where_the_p_value_says_so() -> None:
    rng = np.random.default_rng(1)
    changes = [change_of(list(rng.normal(rng.normal(-0.03, 0.1), 0.04, 4))) for _ in range(300)]
    decided = [change.verdict != "undecided" for change in changes]
    assert decided == [change.p_margin is not None and change.p_margin < 0.025 for change in changes]
    assert {change.verdict for change in changes} == {"reproduced", "contradicted", "undecided"}


def test_equal_values_leave_no_doubt() -> None:
    assert smaller_tail([1.0, 1.0], 0.0) == 0.0
    assert smaller_tail([1.0, 1.0], 1.0) == 0.5


def test_correction_changes_no_verdict_and_says_which_survive() -> None:
    strong, weak, none = change_of([-0.5, -0.51, -0.49]), change_of([-0.2, -0.3, -0.25]), change_of([0.3, -0.3, 0.1])
    assert weak.p_margin is not None
    assert 0.025 / 3 < weak.p_margin < 0.025
    lost = paired({0: 1.0, 1: 1.0, 2: None}, {0: 2.0, 1: 2.1, 2: 2.0})
    assert (lost.p, lost.p_margin) == (None, None)
    alone, together = correct([weak]), correct([strong, weak, none, lost])
    assert [change.survives for change in alone] == [True]
    assert [change.survives for change in together] == [True, False, False, False]
    assert [change.verdict for change in together] == [c.verdict for c in (strong, weak, none, lost)]
    assert {change.family for change in together} == {4}
    assert together[0].p_holm == pytest.approx(4 * (strong.p or 0))
    assert together[0].p_margin_holm == pytest.approx(4 * (strong.p_margin or 0))


@pytest.mark.parametrize(("p_margin", "survives"), [(0.0249, True), (0.0251, False)])
def test_a_verdict_survives_where_its_corrected_p_value_decides_it(p_margin: float, survives: bool) -> None:
    change = Paired(pairs=3, verdict="reproduced", p=0.001, p_margin=p_margin)
    (found,) = correct([change])
    assert found.survives == survives
    assert correct([replace(change, verdict="undecided")])[0].survives is False


def test_equivalence_is_an_interval_within_the_margin_on_both_sides() -> None:
    equal, better, unsure = change_of([0.001, -0.001, 0.0]), change_of([-0.10, -0.10, -0.101]), change_of([0.1, -0.1])
    slightly = change_of([0.04, 0.041, 0.0405])
    assert [change.equivalent for change in (equal, better, unsure, slightly)] == [True, False, False, False]
    assert equal.verdict == slightly.verdict == "contradicted"


def test_a_family_is_what_is_shown_of_a_quantity_and_a_kind_of_reference(analysed) -> None:
    found = load_statistics(analysed.statistics_json).comparisons
    families = {(c.reference_role, c.quantity, c.change.family) for c in found if c.change.family}
    # two backbones × {mask, denoise}; the scorecard holds only masking against longer-compute, and against denoising
    sizes = {"scratch": 4, "longer-steps": 4, "longer-compute": 2, "pretrained": 2}
    assert families == {(role, quantity, n) for role, n in sizes.items() for quantity in ("force", "energy")}
    hidden = [c for c in found if c.change.family is None]
    assert {(c.strategy, c.reference) for c in hidden} == {("denoise", "longer-compute")}
    for c in found:
        if c.change.p is not None and c.change.p_holm is not None:
            assert c.change.p <= c.change.p_holm <= 1
