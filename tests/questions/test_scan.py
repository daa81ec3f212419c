import pytest

from tests.questions.simulate import Backbone, baselines, denoised, masked, rows_of

ELEMENTS = {"mask-heavy": "heavy", "mask-any": "any"}


def elements(heavy: float, any_atom: float, hydrogen: float = 0.8):
    others = {"mask-heavy": masked(heavy, element="heavy"), "mask-any": masked(any_atom, element="any")}
    return {**baselines(), "mask": masked(hydrogen, "pretrained"), **others}


def test_hydrogen_that_beats_the_others_is_a_yes_with_the_true_changes(make) -> None:
    found = make(elements(0.9, 1.0)).judge("q1")
    assert found.judgement == "yes"
    start = "Yes: masking with hydrogen against heavy and any changes test force RMSE by −1"
    assert found.sentences[0].startswith(start)
    (heavy,), (any_atom,) = (rows_of(found, set_to=value) for value in ("heavy", "any"))
    assert heavy["delta_force_of_hydrogen"] == pytest.approx(0.8 / 0.9 - 1, abs=0.01)
    assert any_atom["delta_force_of_hydrogen"] == pytest.approx(0.8 - 1, abs=0.01)
    assert any_atom["delta_energy_of_hydrogen_low"] < 0.8 - 1 + 0.01 < any_atom["delta_energy_of_hydrogen_high"] + 0.02
    assert heavy["delta_force_longer_steps"] == pytest.approx(0.9 * 1.4**0.5 - 1, abs=0.01)


def test_one_rival_as_good_is_a_no_and_a_noisy_one_undecided(make) -> None:
    assert make(elements(0.8, 1.0)).judge("q1").judgement == "no"
    assert make(elements(0.8, 1.0), "noisy", noise=0.2, seeds=(0, 1, 2)).judge("q1").judgement == "undecided"


def test_a_diverged_rival_leaves_it_undecided_and_is_counted(make) -> None:
    found = make(elements(0.9, 1.0), diverged=[("gns", "mask-heavy", 1)]).judge("q1")
    assert found.judgement == "undecided"
    assert "(1 of 5 pairs diverged)" in found.sentences[0]
    assert rows_of(found, set_to="heavy")[0]["diverged"] == 1


def test_a_scan_in_which_no_run_was_trained_is_undecided_not_equal(make) -> None:
    names = ("mask", "mask-heavy", "mask-any")
    found = make(elements(0.8, 0.8), stuck=[("gns", name, seed) for name in names for seed in range(5)]).judge("q1")
    assert found.judgement == "undecided"
    assert "(neither better than trivial in 5 of 5 pairs)" in found.sentences[0]


def test_what_was_not_run_is_said_and_nothing_is_compared_without_a_rival(make) -> None:
    strategies = elements(0.9, 1.0)
    del strategies["mask-heavy"]
    found = make(strategies, "one").judge("q1")
    assert (found.judgement, found.missing) == ("yes", ["masking with element heavy"])
    del strategies["mask-any"]
    found = make(strategies, "none").judge("q1")
    assert found.judgement == "not in this experiment"
    assert "masking with element any" in found.sentences[0]
    found = make({**baselines(), "denoise": denoised(0.9, "pretrained")}, "nothing").judge("q1")
    assert found.judgement == "not in this experiment"
    assert found.table.rows == []


def test_strategies_that_differ_in_something_else_are_left_out(make) -> None:
    strategies = elements(0.9, 1.0) | {
        "other-ratio": masked(0.1, element="heavy", ratio=0.9),
        "permuted": masked(0.1, permute=True),
        "fresh": masked(0.1, element="heavy"),
    }
    strategies["fresh"].settings = {"transfer": "body"}
    found = make(strategies).judge("q1")
    assert [row["strategy"] for row in rows_of(found)] == [
        "trivial", "scratch", "longer-steps", "mask", "mask-heavy", "mask-any",
    ]  # fmt: skip


def test_several_backbones_are_named_and_joined(make) -> None:
    backbones = {"gns": Backbone(), "egnn": Backbone("egnn", "gradient", factors={"mask": 1.2})}
    found = make(elements(0.9, 1.0), backbones=backbones).judge("q1")
    assert found.judgement == "no"
    assert "(heavy, egnn)" in found.sentences[0]
    assert "lower in 4 of 6" in found.sentences[1]


def test_the_family_of_the_correction_is_the_column(make) -> None:
    found = make(elements(0.9, 1.0), noise=0.03).judge("q1")
    rows = [row for row in rows_of(found) if row["delta_force_longer_steps_p"] is not None]
    least = min(rows, key=lambda row: row["delta_force_longer_steps_p"])
    assert len(rows) == 3
    assert least["delta_force_longer_steps_p_holm"] == pytest.approx(3 * least["delta_force_longer_steps_p"])


@pytest.mark.parametrize(("l1", "judgement"), [(0.9, "yes"), (0.8, "no")])
def test_losses(make, l1: float, judgement: str) -> None:
    strategies = {**baselines(), "mask": masked(0.8, "pretrained"), "l1": masked(l1, loss="l1")}
    found = make(strategies).judge("q2")
    assert (found.judgement, found.missing) == (judgement, ["masking with loss L2"])


@pytest.mark.parametrize(("other", "judgement"), [(0.9, "yes"), (0.8, "yes"), (0.7, "no")])
def test_the_papers_ratio_stands_unless_another_is_better(make, other: float, judgement: str) -> None:
    strategies = {**baselines(), "mask": masked(0.8, "pretrained"), "mask-0.9": masked(1.0, ratio=0.9)}
    found = make({**strategies, "mask-0.1": masked(other, ratio=0.1)}).judge("q4")
    assert found.judgement == judgement
    assert [row["set_to"] for row in rows_of(found)][-3:] == ["0.1", "0.5", "0.9"]
    assert rows_of(found, set_to="0.1")[0]["delta_force_0_5"] == pytest.approx(other / 0.8 - 1, abs=0.01)


def test_a_ratio_that_is_better_only_before_the_correction_decides_nothing(make) -> None:
    scan = {f"mask-{r}": masked(0.8, ratio=r) for r in (0.1, 0.2, 0.3, 0.4, 0.6, 0.7, 0.8)}
    better = {"mask-0.9": masked(0.755, ratio=0.9)}
    alone = make({**baselines(), "mask": masked(0.8, "pretrained"), **better}, "alone", seeds=(0, 1, 2))
    many = make({**baselines(), "mask": masked(0.8, "pretrained"), **scan, **better}, "many", seeds=(0, 1, 2))
    (row,) = rows_of(alone.judge("q4"), set_to="0.9")
    assert row["delta_force_0_5_verdict"] == "reproduced"
    assert alone.judge("q4").judgement == "no"
    assert many.judge("q4").judgement == "undecided"


def test_readouts_are_judged_for_each_backbone_that_has_them(make) -> None:
    strategies = {**baselines(), "mask": masked(0.8, "pretrained"), "gradient": masked(0.9, readout="gradient")}
    backbones = {"gns": Backbone(), "egnn": Backbone("egnn", "gradient", factors={"gradient": 0.7})}
    found = make(strategies, backbones=backbones).judge("q6")
    assert found.judgement == "no"
    assert {(row["backbone"], row["forces_by"]) for row in rows_of(found, strategy="mask")} == {
        ("egnn", "gradient"),
        ("gns", "vector"),
    }
    assert found.missing == ["masking with readout coordinates"]
