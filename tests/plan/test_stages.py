"""The plan has the runs that the workflow has, and each visits the structures that the run visits."""

from pathlib import Path
from typing import Any

import pytest

from priorbench.config import Training
from priorbench.errors import PriorbenchError
from priorbench.io import read_json, write_json
from priorbench.plan.stages import Effort, Stage, effort, stages_of
from priorbench.training.data import Inputs
from priorbench.training.run import budget_steps, run
from tests.plan.conftest import TIP3P, TRAINING, experiment, sizes
from tests.training.conftest import spec, write_inputs

LONGER: list[dict[str, Any] | None] = [
    None,
    {"by": "steps", "times": None},
    {"by": "compute", "times": None},
    {"by": "steps", "times": 1.7},
    {"by": "compute", "times": 0.1},
]


def stage(own: dict[str, Any], *structures: int) -> Stage:
    return Stage("boxes", "small", own["strategy"], own, len(structures), 1, (None,), structures)


@pytest.mark.parametrize("longer", LONGER)
@pytest.mark.parametrize(("structures", "batch", "epochs"), [(5, 2, 3), (8, 4, 2), (7, 16, 5), (60, 2, 12)])
def test_planned_steps_are_those_of_a_run(
    tmp_path: Path, longer: dict[str, Any] | None, structures: int, batch: int, epochs: int
) -> None:
    training = {"epochs": epochs, "batch_size": batch}
    record = tmp_path / "run.json"
    write_json(record, {"planned_steps": 11, "steps": 4, "flops": 4 * 2.5e6})  # a pretraining that diverged
    inputs = Inputs(tmp_path, tmp_path, tmp_path, budget=record)
    own = spec(longer=longer, training=training)
    found = effort(stage(own, structures), 0, (11, 11 * 2.5e6), 1e6)
    assert found.steps == budget_steps(own, inputs, Training(**training), structures, 1e6)


@pytest.mark.parametrize("longer", LONGER)
def test_structure_steps_are_those_of_a_run(tmp_path: Path, longer: dict[str, Any] | None) -> None:
    inputs = write_inputs(tmp_path)  # five training structures in batches of two
    run(spec("pretrain"), inputs, 1, tmp_path / "mask")
    budget = tmp_path / "mask" / "run.json"
    pretrained = read_json(budget)
    own = spec(longer=longer, strategy="longer" if longer else "scratch")
    run(own, Inputs(inputs.frames, inputs.neighbours, inputs.split, budget=budget), 1, tmp_path / "run")
    record = read_json(tmp_path / "run" / "run.json")
    flops = record["flops"] / record["structure_steps"]
    found = effort(stage(own, 5), 0, (pretrained["planned_steps"], pretrained["flops"]), flops)
    assert found == Effort(record["planned_steps"], record["structure_steps"], record["epochs"])


def test_the_runs_are_those_of_the_workflow() -> None:
    config = experiment(
        datasets={"water": TIP3P, "ice": {**TIP3P, "density": 0.4}},
        strategies={
            "scratch": {"learning_rate": [1e-3, 1e-4]},
            "longer-steps": {"longer": "steps", "matching": "mask", "learning_rate": [1e-3, 1e-4]},
            "mask": {"pretraining": "mask", "learning_rate": [1e-3, 1e-4]},
        },
    )
    found = stages_of(config, {"water": sizes(), "ice": None})
    cells = [(dataset, backbone) for dataset in config.datasets for backbone in config.backbones]
    wanted = [len(config.seeds) * len(config.trials_on(*cell)) for cell in cells]
    for cell, number in zip(cells, wanted, strict=True):
        assert sum(s.runs for s in found if (s.dataset, s.backbone) == cell and s.kind == "finetune") == number
    assert wanted == [12] * 4  # two seeds of three strategies of two trials


def test_each_trial_is_counted_and_waits_for_its_own_pretraining() -> None:
    two = {"pretraining": ["mask", "denoise"]}
    rates = {"learning_rate": [1e-3, 1e-4]}
    config = experiment(
        strategies={
            "scratch": rates,
            "longer-steps": {"longer": "steps", "matching": "mask", **rates},
            "either": two,
        }
    )
    (either,) = [s for s in stages_of(config, {"water": sizes()}) if s.name == "either" and s.backbone == "gns"]
    assert (either.trials, either.runs) == (2, 4)
    assert either.parents == (("water", "mask"), ("water", "denoise"))


def test_a_pretraining_is_done_once_however_many_runs_need_it() -> None:
    found = [s.key for s in stages_of(experiment(), {"water": sizes()}) if s.kind == "pretrain"]
    wanted = [("water", b, "pretrain", p) for b in ("egnn", "gns") for p in ("mask", "denoise")]
    assert found == wanted  # mask is needed by three strategies


def test_a_pretraining_that_no_run_needs_is_not_done() -> None:
    config = experiment(
        strategies={
            "scratch": {},
            "longer-steps": {"longer": "steps", "matching": "mask"},
            "mask": {"pretraining": "mask"},
        }
    )
    assert {s.name for s in stages_of(config, {"water": sizes()}) if s.kind == "pretrain"} == {"mask"}


def test_a_pretraining_on_another_dataset_is_that_datasets() -> None:
    mask = {"task": "masking", "training": TRAINING, "dataset": "much"}
    config = experiment(
        datasets={
            "water": TIP3P,
            "little": {**TIP3P, "density": 0.45},
            "much": {**TIP3P, "density": 0.4, "pretraining_only": True},
        },
        pretraining={"mask": mask},
        strategies={
            "scratch": {},
            "longer-steps": {"longer": "steps", "matching": "mask"},
            "mask": {"pretraining": "mask"},
        },
    )
    known = {"water": sizes(12), "little": sizes(4), "much": sizes(40)}
    found = stages_of(config, known)
    pretrainings = [s for s in found if s.kind == "pretrain"]
    assert [s.key for s in pretrainings] == [("much", b, "pretrain", "mask") for b in ("egnn", "gns")]
    assert {s.structures for s in pretrainings} == {(40, 40)}
    assert {s.dataset for s in found if s.kind == "finetune"} == {"water", "little"}
    assert {s.parents for s in found if s.name == "mask" and s.kind == "finetune"} == {(("much", "mask"),)}


def test_a_stage_takes_only_the_structures_that_it_asks_for() -> None:
    finetuning = {"task": "potential", "training": TRAINING, "structures": 5}
    found = stages_of(experiment(finetuning=finetuning), {"water": sizes(12)})
    assert {s.kind: s.structures for s in found} == {"pretrain": (12, 12), "finetune": (5, 5)}
    with pytest.raises(PriorbenchError, match="5 are asked for, the training side has 4"):
        stages_of(experiment(finetuning=finetuning), {"water": sizes(4)})
