"""A loss that is no number any more ends a run at once, says where, and takes nothing else with it."""

import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

import priorbench.training.loop
import priorbench.training.stepper
from priorbench.io import read_json
from priorbench.training.data import Inputs
from priorbench.training.loop import LOOK_EVERY, Loop
from priorbench.training.model import load_model
from priorbench.training.run import run, run_all
from tests.processes import together
from tests.training.conftest import spec, write_inputs
from tests.training.test_run import metrics, record

WILD = {"epochs": 40, "batch_size": 2, "learning_rate": 1e6, "gradient_clip": None}  # 3 steps an epoch
SAID = re.compile(r"epoch (\d+), batch (\d) of 3: loss (\S+), gradient norm (\S+)")
EGNN = {"name": "small", "architecture": "egnn", "cutoff": 3.4, "layers": 1, "width": 8}


def test_it_says_epoch_batch_loss_and_gradient_norm_and_stops_there(
    inputs: Inputs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    seen: list[tuple[float, float]] = []
    real = priorbench.training.stepper.take_step

    def step(*given: Any, **options: Any) -> Any:
        value, norm = real(*given, **options)
        seen.append((float(value), float(norm)))
        return value, norm

    monkeypatch.setattr(priorbench.training.stepper, "take_step", step)
    run(spec(training=WILD), inputs, 1, tmp_path / "run")
    found = record(tmp_path / "run")
    assert found["status"] == "diverged"
    said = SAID.fullmatch(found["diverged_at"])
    assert said, found["diverged_at"]
    assert 1 < found["steps"] == len(seen) < found["planned_steps"] == 120
    finite = [torch.isfinite(torch.tensor(pair)).all().item() for pair in seen]
    assert finite == [True] * (len(seen) - 1) + [False]  # the first of them was the last
    assert (int(said[1]) - 1) * 3 + int(said[2]) == len(seen)
    assert (said[3], said[4]) == tuple(f"{value:.4g}" for value in seen[-1])
    assert f"seed 0  diverged at {said[0]}; the run counts as diverged\n" in capsys.readouterr().out
    state, metadata = load_model(tmp_path / "run/model.safetensors")
    assert metadata["status"] == "diverged"
    assert all(bool(tensor.isfinite().all()) for tensor in state.values())  # of an epoch before
    assert len(metrics(tmp_path / "run")) == int(said[1])  # the epochs that were whole, and the start


def test_the_seeds_beside_it_are_trained(inputs: Inputs, tmp_path: Path) -> None:
    specs = [spec(seed=0, training=WILD), spec(seed=1)]
    run_all(specs, [inputs] * 2, 1, [tmp_path / "wild", tmp_path / "calm"])
    assert [record(tmp_path / name)["status"] for name in ("wild", "calm")] == ["diverged", "completed"]


def job(folder: str, output: str) -> None:
    where = Path(folder)
    inputs = Inputs(*(where / name for name in ("frames.safetensors", "neighbours.safetensors", "split.json")))
    run(spec(backbone=EGNN, training=WILD), inputs, 1, Path(output))


def test_processes_that_train_together_stop_together(tmp_path: Path) -> None:
    write_inputs(tmp_path)
    together(job, [{"folder": str(tmp_path), "output": str(tmp_path / "two")}] * 2, tmp_path)
    found = record(tmp_path / "two")
    assert (found["status"], found["processes"]) == ("diverged", 2)
    assert SAID.fullmatch(found["diverged_at"])
    assert found["steps"] < found["planned_steps"]


def test_losses_whose_sum_alone_is_too_large_are_no_divergence(
    inputs: Inputs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Single precision ends at 3.4e38; a pass of three batches was a traceback there."""
    real = priorbench.training.stepper.take_step

    def step(*given: Any, **options: Any) -> Any:
        value, norm = real(*given, **options)
        return torch.full_like(value, 1.5e38), norm

    monkeypatch.setattr(priorbench.training.stepper, "take_step", step)
    run(spec(), inputs, 1, tmp_path / "run")
    assert record(tmp_path / "run")["status"] == "completed"
    assert metrics(tmp_path / "run")["train_loss"].iloc[1] == pytest.approx(1.5e38)


def test_a_validation_that_is_no_number_is_a_divergence(
    inputs: Inputs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A force error that is finite makes up for nothing."""
    real, calls = priorbench.training.loop.loss, [0]

    def loss(*given: Any) -> Any:
        calls[0] += 1
        return real(*given) * (float("inf") if calls[0] > 1 else 1)

    monkeypatch.setattr(priorbench.training.loop, "loss", loss)  # that of validations alone
    run(spec(), inputs, 1, tmp_path / "run")
    found = record(tmp_path / "run")
    assert found["status"] == "diverged"
    assert re.fullmatch(r"epoch 1, validation: loss inf; largest gradient norm of the epoch \S+", found["diverged_at"])


def test_weights_that_predict_infinity_for_a_test_structure_count_as_diverged(
    inputs: Inputs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = priorbench.evaluation.errors.predict

    def predict(*given: Any) -> Any:
        energies, forces = real(*given)
        forces[3] = float("inf")
        return energies, forces

    monkeypatch.setattr("priorbench.evaluation.errors.predict", predict)
    run(spec(), inputs, 1, tmp_path / "run")
    found, tested = record(tmp_path / "run"), read_json(tmp_path / "run/test.json")
    assert (found["status"], found["val_force_rmse"], tested["force_rmse"]) == ("diverged", None, None)
    assert "infinity" in found["diverged_at"]
    assert tested["trivial_force_rmse"] > 0
    assert load_model(tmp_path / "run/model.safetensors")[1]["status"] == "diverged"


def test_a_gpu_is_asked_once_in_a_while() -> None:
    """No step waits for the device; what was lost since the last look is found by the next."""
    values = [torch.tensor(1.0)] * (2 * LOOK_EVERY)
    values[LOOK_EVERY + 7] = torch.tensor(float("nan"))
    asked, found = [], []
    for done in range(1, 2 * LOOK_EVERY + 1):
        epoch = SimpleNamespace(batches=done, losses=values[:done], norms=[torch.tensor(1.0)] * done)
        loop = SimpleNamespace(epoch=epoch)
        on_gpu = SimpleNamespace(is_cuda=True)
        found.append(Loop._lost(loop, on_gpu, on_gpu))  # type: ignore[arg-type]
        asked.append(done % LOOK_EVERY == 0)
    assert [i + 1 for i, lost in enumerate(found) if lost] == [2 * LOOK_EVERY]
