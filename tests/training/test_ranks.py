"""Whole runs in two processes: those of one but for rounding, and either goes on from the other's checkpoint."""

import contextlib
import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch

import priorbench.training.stepper
from priorbench.errors import PriorbenchError
from priorbench.io import read_json
from priorbench.stop import Interrupted
from priorbench.training.data import Inputs
from priorbench.training.model import load_model
from priorbench.training.parallel import _first_node, _of_slurm
from priorbench.training.run import run
from tests.networks import CUTOFF
from tests.processes import together
from tests.training.conftest import spec, write_inputs
from tests.training.test_run import metrics, record

BACKBONE = {"name": "small", "architecture": "egnn", "cutoff": CUTOFF, "layers": 1, "width": 8}
EPOCHS = {"epochs": 8, "batch_size": 2, "learning_rate": 1e-2}  # 24 steps
STEPS_BEFORE_THE_CUT = 11


def job(folder: str, output: str, cut: bool) -> str:
    """A run of the inputs in ``folder``, with ``cut`` asked to stop after some steps; what became of it."""
    where = Path(folder)
    inputs = Inputs(*(where / name for name in ("frames.safetensors", "neighbours.safetensors", "split.json")))
    taken, real = [0], priorbench.training.stepper.take_step

    def step(*given: Any, **options: Any) -> Any:
        taken[0] += 1
        # One of the processes is told, as scancel tells all but not at the same time.
        if cut and taken[0] == STEPS_BEFORE_THE_CUT and os.environ.get("RANK", "0") == "0":
            os.kill(os.getpid(), signal.SIGTERM)
        return real(*given, **options)

    priorbench.training.stepper.take_step = step
    try:
        with contextlib.suppress(Interrupted):
            run(spec(backbone=BACKBONE, training=EPOCHS), inputs, 1, Path(output))
            return "done"
    finally:
        priorbench.training.stepper.take_step = real
    return "cut"


def in_two(folder: Path, output: Path, cut: bool) -> list[str]:
    arguments = {"folder": str(folder), "output": str(output), "cut": cut}
    return together(job, [arguments] * 2, folder)


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Inputs, and the run of one process in ``one``."""
    folder = tmp_path_factory.mktemp("ranks")
    write_inputs(folder)
    assert job(str(folder), str(folder / "one"), False) == "done"
    return folder


def same_but_for_rounding(one: Path, other: Path) -> None:
    weights, changed = (load_model(folder / "model.safetensors")[0] for folder in (one, other))
    for name, tensor in weights.items():
        torch.testing.assert_close(changed[name], tensor, rtol=2e-4, atol=2e-6, msg=lambda text, n=name: f"{n}: {text}")
    tested, expected = (read_json(folder / "test.json") for folder in (other, one))
    assert tested["force_rmse"] == pytest.approx(expected["force_rmse"], rel=1e-4)
    assert len(metrics(one)) == len(metrics(other)) == 9
    assert metrics(other)["val_force_rmse"].to_list() == pytest.approx(metrics(one)["val_force_rmse"].to_list(), 1e-4)


def test_two_processes_leave_what_one_leaves(alone: Path) -> None:
    assert in_two(alone, alone / "two", False) == ["done", "done"]
    same_but_for_rounding(alone / "one", alone / "two")
    assert record(alone / "two")["processes"] == 2
    assert sorted(p.name for p in (alone / "two").iterdir()) == sorted(p.name for p in (alone / "one").iterdir())


def test_one_goes_on_where_two_were_cut(alone: Path) -> None:
    assert in_two(alone, alone / "two-one", True) == ["cut", "cut"]
    assert not (alone / "two-one/run.json").exists()
    assert job(str(alone), str(alone / "two-one"), False) == "done"
    same_but_for_rounding(alone / "one", alone / "two-one")
    assert record(alone / "two-one")["attempts"] == 2


def test_two_go_on_where_one_was_cut(alone: Path) -> None:
    assert job(str(alone), str(alone / "one-two"), True) == "cut"
    assert in_two(alone, alone / "one-two", False) == ["done", "done"]
    same_but_for_rounding(alone / "one", alone / "one-two")
    assert record(alone / "one-two")["attempts"] == 2


def test_processes_that_see_different_checkpoints_do_not_train_together(alone: Path) -> None:
    """A file system may show one node an older file than the other."""
    assert job(str(alone), str(alone / "seen"), True) == "cut"
    folders = [{"folder": str(alone), "output": str(alone / name), "cut": False} for name in ("seen", "unseen")]
    with pytest.raises(PriorbenchError, match="the processes of this run see different checkpoints"):
        together(job, folders, alone)


def test_a_network_with_batch_statistics_says_that_it_needs_one_process(alone: Path) -> None:
    """Its loss would be another with other statistics."""
    with pytest.raises(PriorbenchError, match="ForceNet has batch statistics"):
        together(forcenet, [{"folder": str(alone)}] * 2, alone)


def forcenet(folder: str) -> None:
    backbone = BACKBONE | {"architecture": "forcenet", "frequencies": 4}
    where = Path(folder)
    inputs = Inputs(*(where / name for name in ("frames.safetensors", "neighbours.safetensors", "split.json")))
    run(spec(backbone=backbone, training=EPOCHS), inputs, 1, where / "forcenet")


SRUN = {"SLURM_JOB_ID": "12", "SLURM_STEP_NUM_TASKS": "4", "SLURM_PROCID": "3", "SLURM_LOCALID": "1"}


def test_srun_says_the_same_as_torchrun() -> None:
    found = _of_slurm({**SRUN, "SLURM_STEP_NODELIST": "gpu[03-04]"})
    assert found == {
        "RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "1", "MASTER_ADDR": "gpu03", "MASTER_PORT": "20084",
    }  # fmt: skip
    assert _of_slurm({}) == _of_slurm({**SRUN, "SLURM_STEP_NUM_TASKS": "1"}) == {}


@pytest.mark.parametrize(
    ("nodes", "first"),
    [
        ("node1", "node1"),
        ("gpu[03-05,9],cpu1", "gpu03"),
        ("a,b", "a"),
        ("a-b-[7,9]", "a-b-7"),
        ("localhost", "localhost"),
    ],
)
def test_the_first_node_of_a_list(nodes: str, first: str) -> None:
    assert _first_node(nodes) == first
