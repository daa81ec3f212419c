import pytest

from tests.questions.simulate import Backbone, baselines, denoised, masked, rows_of

RATES = {f"forcenet-{rate}": Backbone("forcenet", learning_rate=rate) for rate in (0.001, 0.01)}
STRATEGIES = {**baselines(), "mask": masked(0.8, "pretrained"), "denoise": denoised(0.9, "pretrained")}


def lost(strategy: str, seeds: int):
    return [(backbone, strategy, seed) for backbone in RATES for seed in range(seeds)]


def test_fewer_failures_after_masking_are_a_yes(make) -> None:
    found = make(STRATEGIES, backbones=RATES, diverged=lost("scratch", 2), stuck=lost("scratch", 4)[3:4]).judge("q7")
    assert found.judgement == "yes"
    assert "0 % [0, 31] of 10 runs (0 diverged, 0 stuck) fail after masking" in found.sentences[0]
    assert "50 % [19, 81] of 10 runs (4 diverged, 1 stuck) from scratch" in found.sentences[0]
    assert "p = 0.033 by Fisher" in found.sentences[0]
    (row,) = rows_of(found, backbone="forcenet-0.001", strategy="scratch")
    assert (row["failed"], row["diverged"], row["stuck"], row["set_to"]) == ("3 of 5", 2, 1, "0.001")


def test_more_failures_after_masking_are_a_no_and_few_are_undecided(make) -> None:
    assert make(STRATEGIES, "no", backbones=RATES, diverged=lost("mask", 3)).judge("q7").judgement == "no"
    assert make(STRATEGIES, "few", backbones=RATES, diverged=lost("scratch", 1)).judge("q7").judgement == "undecided"


def test_the_gradient_norm_of_a_run_is_its_largest(make) -> None:
    found = make(STRATEGIES, backbones=RATES, diverged=lost("scratch", 2)).judge("q7")
    scratch, mask = (rows_of(found, backbone="forcenet-0.01", strategy=name)[0] for name in ("scratch", "mask"))
    assert scratch["largest_gradient_norm"] > 2 * mask["largest_gradient_norm"] > 8
    assert rows_of(found, strategy="denoise") == []


def test_one_rate_or_few_seeds_decide_nothing(make) -> None:
    one = {"forcenet": Backbone("forcenet")}
    failures = [("forcenet", "scratch", seed) for seed in range(5)]
    found = make(STRATEGIES, "one", backbones=one, diverged=failures).judge("q7")
    assert (found.judgement, found.missing) == ("undecided", ["forcenet at 2 learning rates"])
    found = make(STRATEGIES, "few", backbones=RATES, seeds=(0, 1, 2), diverged=lost("scratch", 3)).judge("q7")
    assert (found.judgement, found.missing) == ("undecided", ["5 seeds"])


@pytest.mark.parametrize("name", ["gns", "egnn"])
def test_other_backbones_are_not_asked_about(make, name: str) -> None:
    found = make(STRATEGIES, backbones={name: Backbone(name)}).judge("q7")
    assert (found.judgement, found.missing) == ("not in this experiment", ["a backbone of the architecture forcenet"])
