"""Specs of runs: what a job of several seeds is given is what its runs are given."""

from pathlib import Path

import pytest

from priorbench import runs
from priorbench.config import load_config
from priorbench.config_sections import GPU
from priorbench.errors import PriorbenchError
from priorbench.io import sha256_json

CONFIG = load_config(Path(__file__).parents[1] / "config.yaml")
SPECS = [runs.finetune_spec(CONFIG, "water", "egnn", "mask", seed) for seed in CONFIG.seeds]


def test_joined_specs_come_apart_again() -> None:
    joined = runs.joined(SPECS)
    assert joined["seeds"] == CONFIG.seeds
    assert runs.separated(joined) == SPECS
    assert list(map(sha256_json, runs.separated(joined))) == list(map(sha256_json, SPECS))  # the configuration hashes


def test_a_single_spec_stays_as_it_is() -> None:
    assert runs.joined(SPECS[:1]) == SPECS[0]
    assert runs.separated(SPECS[0]) == [SPECS[0]]


def test_a_spec_has_one_seed_or_several_not_both() -> None:
    with pytest.raises(PriorbenchError, match="seeds"):
        runs.separated({**SPECS[0], "seeds": [0, 1]})


def test_a_further_seed_changes_a_spec_of_all() -> None:
    assert runs.joined(SPECS[:3]) != runs.joined(SPECS[:4])


def test_how_a_gpu_computes_is_part_of_a_run_on_a_gpu_alone() -> None:
    there = CONFIG.model_copy(update={"device": "cuda", "gpu": GPU(tf32=True)})
    spec = runs.pretrain_spec(there, "water", "egnn", "mask", 0)
    assert spec["gpu"] == {"graphs": True, "compile": False, "deterministic": True, "tf32": True}
    assert "gpu" not in runs.pretrain_spec(
        CONFIG.model_copy(update={"gpu": GPU(tf32=True)}), "water", "egnn", "mask", 0
    )
