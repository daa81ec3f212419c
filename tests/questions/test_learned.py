from typing import Any

import pytest

from tests.questions.simulate import Backbone, baselines, masked, rows_of, write_probes

STRATEGIES = {**baselines(), "mask": masked(0.8, "pretrained"), "permuted": masked(1.0, permute=True)}
R2 = {
    ("untrained", "untrained"): 0.3,
    ("pretrain", "mask"): 0.6,
    ("finetune", "scratch"): 0.5,
    ("finetune", "mask"): 0.7,
}


def probes(r2: dict[tuple[str, str], float], backbone: str = "gns", seeds: int = 5) -> list[dict[str, Any]]:
    """R² of hydrogen bonds, differing a little by seed, and similarities of finetuned networks."""
    rows = []
    for (stage, strategy), value in r2.items():
        for seed in range(seeds):
            cell = {
                "dataset": "water",
                "backbone": backbone,
                "seed": seed,
                "stage": stage,
                "strategy": strategy,
                "n": 9,
            }
            rows.append({**cell, "quantity": "hydrogen_bonds", "value": value + 0.002 * seed * (stage == "pretrain")})
            if stage == "finetune":
                rows.append({**cell, "quantity": "similarity", "value": 0.9 if strategy == "mask" else 0.4})
    return rows


def test_below_the_floor_and_better_probes_are_a_yes(make) -> None:
    experiment = make(STRATEGIES)
    found = experiment.judge("q8", write_probes(experiment.root / "probes.csv", probes(R2)))
    assert found.judgement == "yes"
    (row,) = rows_of(found, network="mask, pretrained")
    assert row["hydrogen_bonds"] == pytest.approx(0.604)
    assert row["delta_floor"] == pytest.approx(0.3 / 0.479 - 1, abs=0.02)
    assert "a difference of 0.304 [0.300, 0.308]" in found.sentences[0]
    assert "it is 0.700 [0.700, 0.700] with masking and 0.500 [0.500, 0.500] from scratch" in found.sentences[1]
    assert "is 0.900 [0.900, 0.900] and 0.400 [0.400, 0.400]" in found.sentences[1]
    assert found.missing == ["R² O–H length", "R² H–O–H angle"]
    assert rows_of(found, network="trivial")[0]["hydrogen_bonds"] == 0.0


@pytest.mark.parametrize(("loss", "pretrained"), [(0.5, 0.6), (0.3, 0.3), (0.3, 0.2)])
def test_a_loss_at_the_floor_or_probes_as_untrained_are_a_no(make, loss: float, pretrained: float) -> None:
    experiment = make(STRATEGIES, losses={"gns": loss})
    table = write_probes(experiment.root / "probes.csv", probes({**R2, ("pretrain", "mask"): pretrained}))
    assert experiment.judge("q8", table).judgement == "no"


def test_without_probes_the_loss_alone_decides_nothing(make) -> None:
    found = make(STRATEGIES).judge("q8")
    assert found.judgement == "undecided"
    assert found.missing == ["probes of frozen features (probes.csv)"]
    assert "is not measured after masking" in found.sentences[0]
    found = make(STRATEGIES, "above", losses={"gns": 0.6}).judge("q8")
    assert found.judgement == "no"


def test_missing_values_and_backbones_without_probes_are_not_measured(make) -> None:
    experiment = make(STRATEGIES, backbones={"gns": Backbone(), "egnn": Backbone("egnn", "gradient")})
    rows = [{**row, "value": ""} if row["seed"] == 1 else row for row in probes(R2)]
    found = experiment.judge("q8", write_probes(experiment.root / "probes.csv", rows))
    assert found.judgement == "undecided"
    assert "for egnn masking's validation loss" in found.sentences[0]
    assert rows_of(found, backbone="egnn", network="untrained") == []
    assert len(rows_of(found, backbone="gns", network="untrained")) == 1


def test_without_masking_nothing_was_learned_by_it(make) -> None:
    assert make(baselines()).judge("q8").judgement == "not in this experiment"
