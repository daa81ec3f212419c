import pytest

from tests.questions.simulate import Strategy, baselines, denoised, masked, rows_of


def strategies(classical: float):
    return {
        **baselines(),
        "mask": masked(0.7, "pretrained"),
        "denoise": denoised(0.9, "pretrained"),
        "classical": Strategy(classical, "pretrained", {"name": "potential"}, labels="flexible_tip3p"),
        "scanned": denoised(0.1, "variant"),
    }


@pytest.mark.parametrize(("classical", "judgement"), [(0.8, "yes"), (0.7, "no"), (0.6, "no")])
def test_masking_must_beat_every_other(make, classical: float, judgement: str) -> None:
    found = make(strategies(classical)).judge("q10")
    assert found.judgement == judgement
    (row,) = rows_of(found, strategy="classical")
    assert row["labels"] == "flexible_tip3p"
    assert row["delta_force_of_mask"] == pytest.approx(0.7 / classical - 1, abs=0.01)
    assert row["delta_force_longer_compute"] == pytest.approx(classical * 1.28**0.5 - 1, abs=0.01)
    assert found.missing == ["pretraining by masking_denoising"]


def test_rows_are_ranked_and_variants_left_out(make) -> None:
    names = [row["strategy"] for row in rows_of(make(strategies(0.6)).judge("q10"))]
    assert names == ["trivial", "scratch", "classical", "mask", "longer-steps", "longer-compute", "denoise"]


def test_a_longer_run_that_is_too_short_decides_nothing(make) -> None:
    short = strategies(0.6)
    short["longer-compute"].steps = 1200
    (row,) = rows_of(make(short).judge("q10"), strategy="mask")
    assert row["delta_force_longer_compute_verdict"] == "undecided"
    assert row["delta_force_longer_steps_verdict"] == "reproduced"


def test_masking_alone_has_no_rival(make) -> None:
    found = make({**baselines(), "mask": masked(0.7, "pretrained")}).judge("q10")
    assert found.judgement == "not in this experiment"
    assert "pretraining by denoising" in found.missing
