"""A training that is cut goes on to the very bytes of one that is not."""

import errno
import itertools
import json
import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest

import priorbench.training.loop
import priorbench.training.stepper
from priorbench.cli import main
from priorbench.errors import PriorbenchError
from priorbench.io import read_json
from priorbench.registry import BACKBONES, TASKS
from priorbench.runs import CHECKPOINT, joined
from priorbench.stop import TRY_AGAIN, Interrupted
from priorbench.training import checkpoint
from priorbench.training.data import Inputs
from priorbench.training.run import run, run_all
from tests.conftest import LONG
from tests.networks import CUTOFF
from tests.processes import started
from tests.training.conftest import BACKBONE, spec
from tests.training.test_run import metrics, record

SMALL = {"cutoff": CUTOFF, "layers": 1, "width": 8}
OPTIONS: dict[str, dict[str, Any]] = {"forcenet": {"frequencies": 4}}
EPOCHS = {"epochs": 3, "batch_size": 2, "learning_rate": 1e-2}  # 3 steps each


def case(architecture: str, task: str, **changes: Any) -> dict[str, Any]:
    backbone = {"name": "small", "architecture": architecture, **SMALL, **OPTIONS.get(architecture, {})}
    stage = "finetune" if task == "potential" else "pretrain"
    return spec(stage, backbone=backbone, task={"name": task}, **{"training": EPOCHS, **changes})


@pytest.fixture
def cut(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Trainings in this process get a SIGTERM after every ``every``-th of their steps."""
    taken, real = [0], priorbench.training.stepper.take_step

    def apply(every: int) -> None:
        def step(*given: Any, **options: Any) -> Any:
            result = real(*given, **options)
            taken[0] += 1
            if taken[0] % every == 0:
                os.kill(os.getpid(), signal.SIGTERM)
            return result

        monkeypatch.setattr(priorbench.training.stepper, "take_step", step)

    return apply


def until_done(again: Any, most: int = 40) -> int:
    """How often a run had to be started."""
    for attempt in range(1, most):
        try:
            again()
        except Interrupted:
            continue
        return attempt
    raise AssertionError(f"not done after {most} attempts")


def cases() -> list[tuple[str, str]]:
    """Every backbone and every task at least once; each with each in ``make check-long``."""
    backbones, tasks = sorted(BACKBONES), sorted(TASKS)
    if LONG:
        return list(itertools.product(backbones, tasks))
    longest = max(len(backbones), len(tasks))
    return list(itertools.islice(zip(itertools.cycle(backbones), itertools.cycle(tasks), strict=True), longest))


@pytest.mark.parametrize(("architecture", "task"), cases())
def test_cut_after_every_step_every_run_leaves_the_same_bytes(
    architecture: str, task: str, inputs: Inputs, tmp_path: Path, cut: Any
) -> None:
    run(case(architecture, task), inputs, 1, tmp_path / "whole")
    cut(1)
    attempts = until_done(lambda: run(case(architecture, task), inputs, 1, tmp_path / "cut"))
    assert attempts == 10  # 9 steps, the last followed by the validation and the test
    same(tmp_path / "whole", tmp_path / "cut", attempts)


def same(whole: Path, other: Path, attempts: int) -> None:
    for name in ("model.safetensors", "test.json"):
        if (whole / name).exists():
            assert (whole / name).read_bytes() == (other / name).read_bytes(), name
    assert record(other) == record(whole) | {"attempts": attempts}
    assert metrics(other).equals(metrics(whole))
    assert sorted(path.name for path in other.iterdir()) == sorted(path.name for path in whole.iterdir())


@pytest.mark.parametrize("every", [2, 3, 4])
def test_seeds_of_one_job_go_on_where_it_was_cut(every: int, inputs: Inputs, tmp_path: Path, cut: Any) -> None:
    specs = [case("gns", "potential", seed=seed) for seed in (0, 1)]
    run_all(specs, [inputs] * 2, 1, [tmp_path / f"whole{seed}" for seed in (0, 1)])
    cut(every)

    def again() -> None:
        # As the workflow does before it repeats a job.
        for path in tmp_path.glob("cut?/*"):
            if path.name in ("model.safetensors", "run.json", "metrics.csv", "test.json"):
                path.unlink()
        run_all(specs, [inputs] * 2, 1, [tmp_path / f"cut{seed}" for seed in (0, 1)])

    assert until_done(again) > 18 // every - 1
    for seed in (0, 1):
        same(
            tmp_path / f"whole{seed}", tmp_path / f"cut{seed}", read_json(tmp_path / f"cut{seed}/run.json")["attempts"]
        )


def test_cut_while_it_validates(inputs: Inputs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = case("gns", "potential") | {"training": EPOCHS | {"batch_size": 1}}
    run(one, inputs, 1, tmp_path / "whole")
    calls, real = [0], priorbench.training.loop.parts_of

    def parts(*given: Any) -> Any:
        calls[0] += 1
        if calls[0] % 3 == 0:
            os.kill(os.getpid(), signal.SIGTERM)
        return real(*given)

    monkeypatch.setattr(priorbench.training.loop, "parts_of", parts)
    assert until_done(lambda: run(one, inputs, 1, tmp_path / "cut")) >= 3
    same(tmp_path / "whole", tmp_path / "cut", read_json(tmp_path / "cut/run.json")["attempts"])


def test_a_copy_of_the_job_that_waited_finishes_from_what_is_left(
    inputs: Inputs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its workflow has removed the outputs, or will."""
    one = case("gns", "potential")
    run(one, inputs, 1, tmp_path / "whole")
    monkeypatch.setattr("priorbench.lock.Lease.wanted", lambda lease: True)
    run(one, inputs, 1, tmp_path / "run")
    monkeypatch.undo()
    for path in (tmp_path / "run").iterdir():
        if path.name != CHECKPOINT:
            path.unlink()
    run(one, inputs, 1, tmp_path / "run")
    assert "seed 0  goes on at epoch 3, step 9 of 9\n" in capsys.readouterr().out
    same(tmp_path / "whole", tmp_path / "run", 2)


def test_a_file_system_that_fails_is_no_damage(
    inputs: Inputs, tmp_path: Path, cut: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    cut(5)
    with pytest.raises(Interrupted):
        run(case("gns", "potential"), inputs, 1, tmp_path / "run")
    content = (tmp_path / "run" / CHECKPOINT).read_bytes()
    real = Path.open

    def failing(path: Path, *given: Any, **options: Any) -> Any:
        if path.name == CHECKPOINT:
            raise OSError(errno.EIO, "Input/output error")
        return real(path, *given, **options)

    monkeypatch.setattr(Path, "open", failing)
    with pytest.raises(OSError, match="Input/output error"):
        run(case("gns", "potential"), inputs, 1, tmp_path / "run")
    monkeypatch.setattr(Path, "open", real)
    assert (tmp_path / "run" / CHECKPOINT).read_bytes() == content


def test_the_command_says_that_it_wants_to_be_run_again(
    inputs: Inputs, tmp_path: Path, cut: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    cut(4)
    data = ["--frames", inputs.frames, "--neighbours", inputs.neighbours, "--split", inputs.split]
    given = json.dumps(joined([case("gns", "potential")]))
    arguments = [*map(str, ["finetune", "--spec", given, *data, "--output", tmp_path / "run"])]
    assert main(arguments) == TRY_AGAIN
    assert capsys.readouterr().err == (
        "priorbench finetune: asked to stop: seed 0: epoch 2, step 4 of 9 is saved; run the same command to go on\n"
    )
    assert read_json(tmp_path / "run/progress.json")["state"] == "cut"
    assert main(arguments) == TRY_AGAIN
    assert "seed 0  goes on at epoch 2, step 4 of 9\n" in capsys.readouterr().out
    assert main(arguments) == 0


def test_killed_without_warning_at_any_moment(inputs: Inputs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Twenty kill -9, spread over the run and so over checkpoint writes, which here follow every step."""
    one = case("gns", "potential") | {"training": EPOCHS | {"epochs": 40}}
    run(one, inputs, 1, tmp_path / "whole")
    monkeypatch.setattr(checkpoint, "INTERVAL", 0.0)
    held, log = tmp_path / "cut" / CHECKPOINT, tmp_path / "log"
    for attempt in range(21):
        before = held.stat().st_mtime_ns if held.exists() else 0
        child = started(lambda: run(one, inputs, 1, tmp_path / "cut"), log)
        while attempt < 20 and not (held.exists() and held.stat().st_mtime_ns > before):
            time.sleep(0.001)
        if attempt < 20:
            time.sleep(0.003 * (attempt % 7))
            os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        assert os.waitstatus_to_exitcode(status) == (-signal.SIGKILL if attempt < 20 else 0), log.read_text()
    same(tmp_path / "whole", tmp_path / "cut", 21)


@pytest.mark.parametrize("fault", ["cut short", "other bytes", "other settings", "not a checkpoint"])
def test_a_checkpoint_that_does_not_fit_is_not_used(
    fault: str, inputs: Inputs, tmp_path: Path, cut: Any, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    one = case("gns", "potential")
    run(one, inputs, 1, tmp_path / "whole")
    cut(5)
    with pytest.raises(Interrupted):
        run(one, inputs, 1, tmp_path / "run")
    path = tmp_path / "run" / CHECKPOINT
    content = path.read_bytes()
    if fault == "cut short":
        path.write_bytes(content[: len(content) // 2])
    elif fault == "other bytes":
        path.write_bytes(content[:-400] + bytes(byte ^ 1 for byte in content[-400:]))
    elif fault == "not a checkpoint":
        path.write_bytes((tmp_path / "whole/model.safetensors").read_bytes())
    else:
        monkeypatch.setattr("priorbench.training.run.__version__", "another")
    cut(1000)
    run(one, inputs, 1, tmp_path / "run")
    assert "starting again" in capsys.readouterr().out
    assert not (tmp_path / "run" / checkpoint.REJECTED).exists()  # gone with the checkpoint when the run was done
    monkeypatch.undo()
    assert (tmp_path / "run/model.safetensors").read_bytes() == (tmp_path / "whole/model.safetensors").read_bytes()
    assert record(tmp_path / "run")["attempts"] == 1


def test_a_checkpoint_is_taken_once_a_minute(inputs: Inputs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    saves: list[float] = []
    clock = [0.0]
    monkeypatch.setattr(checkpoint.time, "monotonic", lambda: clock[0])
    real_save, real_step = checkpoint.Keeper.save, priorbench.training.stepper.take_step

    def step(*given: Any, **options: Any) -> Any:
        clock[0] += 25
        return real_step(*given, **options)

    def save(self: checkpoint.Keeper, *given: Any) -> None:
        saves.append(clock[0])
        real_save(self, *given)

    monkeypatch.setattr(priorbench.training.stepper, "take_step", step)
    monkeypatch.setattr(checkpoint.Keeper, "save", save)
    run(case("gns", "potential"), inputs, 1, tmp_path / "run")
    assert saves == [75, 150, 225]  # 225 is the end as well


@pytest.mark.parametrize("text", ["soon", "-1", "nan"])
def test_an_interval_that_is_none_is_one_line(
    text: str, inputs: Inputs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(checkpoint.VARIABLE, text)
    with pytest.raises(PriorbenchError, match=f"PRIORBENCH_CHECKPOINT_SECONDS: '{text}' is no number of seconds"):
        run(case("gns", "potential"), inputs, 1, tmp_path / "run")


def test_a_diverged_training_stays_diverged_when_cut(inputs: Inputs, tmp_path: Path, cut: Any) -> None:
    one = case("gns", "potential") | {"training": EPOCHS | {"learning_rate": 1e12}}
    run(one, inputs, 1, tmp_path / "whole")
    assert record(tmp_path / "whole")["status"] == "diverged"
    cut(1)
    attempts = until_done(lambda: run(one, inputs, 1, tmp_path / "cut"))
    same(tmp_path / "whole", tmp_path / "cut", attempts)


def test_a_run_leaves_nothing_but_its_outputs(inputs: Inputs, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / ".checkpoint-abc.safetensors").write_bytes(b"half")
    run(spec(), inputs, 1, tmp_path / "run")
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == [
        "metrics.csv", "model.safetensors", "run.json", "test.json",
    ]  # fmt: skip


def test_a_failed_run_says_why_in_its_folder(inputs: Inputs, tmp_path: Path) -> None:
    with pytest.raises(PriorbenchError, match="cutoff"):
        run(spec(backbone=BACKBONE | {"cutoff": 2.0}), inputs, 1, tmp_path / "run")
    progress = read_json(tmp_path / "run/progress.json")
    assert progress["state"] == "failed"
    assert "cutoff" in progress["message"]
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["progress.json"]
