import pytest

from tests.questions.simulate import MASKING, Strategy, baselines, masked, rows_of


def moved(factor: float):
    return {
        **baselines(),
        "mask": masked(0.7, "pretrained"),
        "mask-small": Strategy(factor, "variant", MASKING, pretraining_dataset="small"),
    }


@pytest.mark.parametrize(("factor", "judgement"), [(0.75, "yes"), (1.4**-0.5, "no"), (1.0, "no")])
def test_carrying_over_must_beat_scratch_and_longer(make, factor: float, judgement: str) -> None:
    found = make(moved(factor)).judge("q9")
    assert found.judgement == judgement
    (row,) = rows_of(found, strategy="mask-small")
    assert row["pretrained_on"] == "small"
    assert row["delta_force_own_data"] == pytest.approx(factor / 0.7 - 1, abs=0.01)
    assert "small to water" in found.sentences[0]
    assert "−30." in found.sentences[1] or "−29." in found.sentences[1]


def test_without_the_same_pretraining_on_own_data_that_is_said(make) -> None:
    strategies = moved(0.75)
    del strategies["mask"]
    found = make(strategies).judge("q9")
    assert found.judgement == "yes"
    assert found.missing == ["the pretraining of mask-small on water itself"]
    assert "is not in this experiment" in found.sentences[1]


def test_several_datasets_stand_beneath_each_other(make) -> None:
    found = make(moved(0.75), datasets=("dft", "tip3p")).judge("q9")
    assert {row["dataset"] for row in rows_of(found, strategy="mask-small")} == {"dft", "tip3p"}
    assert len(rows_of(found, strategy="trivial")) == 2


def test_pretraining_on_own_data_alone_is_no_transfer(make) -> None:
    found = make({**baselines(), "mask": masked(0.7, "pretrained")}).judge("q9")
    assert found.judgement == "not in this experiment"
