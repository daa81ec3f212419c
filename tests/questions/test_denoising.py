import json

import pytest

from tests.questions.simulate import MASKING, Strategy, baselines, denoised, masked, rows_of, write_structures

SIGMAS = {0.01: 0.95, 0.05: 0.8, 0.2: 0.9}


def scan(mask: float):
    denoisings = {f"denoise-{sigma}": denoised(factor, sigma=sigma) for sigma, factor in SIGMAS.items()}
    return {**baselines(), "mask": masked(mask, "pretrained"), **denoisings}


@pytest.mark.parametrize(("mask", "judgement"), [(0.7, "yes"), (0.8, "no"), (0.9, "no")])
def test_masking_against_the_best_sigma(make, mask: float, judgement: str) -> None:
    found = make(scan(mask)).judge("q5")
    assert found.judgement == judgement
    assert "σ = 0.05 Å" in found.sentences[0]
    (row,) = rows_of(found, strategy="denoise-0.05")
    assert row["delta_force_of_mask"] == pytest.approx(mask / 0.8 - 1, abs=0.01)
    assert [row["set_to"] for row in rows_of(found)][3:6] == ["0.01", "0.05", "0.2"]


def test_the_best_sigma_is_chosen_by_validation_errors(make) -> None:
    def worse_on_validation(row) -> None:
        if row["strategy"] == "denoise-0.05" and row["val_force_rmse"]:
            row["val_force_rmse"] = 2 * float(row["val_force_rmse"])

    found = make(scan(0.85)).edit(worse_on_validation).judge("q5")
    assert "σ = 0.2 Å" in found.sentences[0]
    assert found.judgement == "yes"


def test_a_sigma_chosen_anew_for_every_seed_is_called_tuned(make) -> None:
    def tuned(row) -> None:
        if row["stage"] == "pretrain" and row["strategy"] == "denoise-0.05":
            row["settings"] = json.dumps({**json.loads(row["settings"]), "sigma": (0.04, 0.2)[int(row["seed"]) % 2]})

    found = make(scan(0.7)).edit(tuned).judge("q5")
    assert [row["set_to"] for row in rows_of(found, strategy="denoise-0.05")] == ["tuned"]
    assert "(σ tuned)" in found.sentences[0]


def test_small_boxes_against_scratch_and_against_the_same_boxes(make) -> None:
    strategies = {**scan(0.7), "mask-small": Strategy(0.77, "variant", MASKING, pretraining_dataset="small")}
    experiment = make(strategies, datasets=("large",), atoms={"small": 192, "large": 648})
    structures = write_structures(experiment.root / "structures.csv", {"large": 648})
    found = experiment.judge("q5", structures=structures)
    (row,) = rows_of(found, strategy="mask-small")
    assert row["pretrained_on"] == "small"
    assert row["delta_force_scratch"] == pytest.approx(-0.23, abs=0.01)
    assert row["delta_force_own_data"] == pytest.approx(0.1, abs=0.01)
    assert "Pretrained on other boxes it changes by −2" in found.sentences[1]
    assert "0.700 for masking" in found.sentences[1]
    # 1e8 FLOPs a step and atom, of eight structures
    assert row["finetune_mflop_per_atom"] == pytest.approx(1e8 / 8 / 1e6)
    assert row["pretrain_gflop_per_structure"] == pytest.approx(0.7 * 1e8 * 192 / 8 / 1e9)
    assert found.missing == []


def test_without_denoising_it_is_not_answered(make) -> None:
    found = make({**baselines(), "mask": masked(0.7, "pretrained")}).judge("q5")
    assert found.judgement == "not in this experiment"
    assert "pretraining by denoising" in found.missing
