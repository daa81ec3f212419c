"""Seeds side by side in one job: each leaves the bytes that it leaves alone; the pack stops and fails as a run does."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest

from priorbench.cli import main
from priorbench.io import read_json
from priorbench.runs import CHECKPOINT, joined
from priorbench.stop import TRY_AGAIN
from priorbench.training import pack
from priorbench.training.data import Inputs
from priorbench.training.run import run
from tests.processes import Forked
from tests.training.conftest import spec

TWO, THREE = (0, 1), (0, 1, 2)  # seeds; every one is a process to start
EPOCHS = 20  # of what is cut: 0.6 s in which it must be noticed


def arguments(inputs: Inputs, folder: Path, epochs: int, at_once: int, seeds: tuple[int, ...]) -> list[str]:
    training = {"epochs": epochs, "batch_size": 2, "learning_rate": 1e-3}
    given = joined([spec(seed=seed, training=training) for seed in seeds])
    data = ["--frames", inputs.frames, "--neighbours", inputs.neighbours, "--split", *[inputs.split] * len(seeds)]
    outputs = [folder / f"seed{seed}" for seed in seeds]
    return [*map(str, ["finetune", "--spec", json.dumps(given), *data, "--at-once", at_once, "--output", *outputs])]


@pytest.fixture
def forked(monkeypatch: pytest.MonkeyPatch) -> None:
    """No interpreter is started for a seed by a pack in this process; that it can be, the pack that is cut shows."""
    monkeypatch.setattr(pack, "subprocess", SimpleNamespace(Popen=Forked))


def same_as_alone(inputs: Inputs, folder: Path, epochs: int, seeds: tuple[int, ...]) -> None:
    for seed in seeds:
        training = {"epochs": epochs, "batch_size": 2, "learning_rate": 1e-3}
        run(spec(seed=seed, training=training), inputs, 1, folder / f"alone{seed}")
        for name in ("model.safetensors", "test.json"):
            own, alone = (folder / place / name for place in (f"seed{seed}", f"alone{seed}"))
            assert own.read_bytes() == alone.read_bytes(), (seed, name)
        left = sorted(path.name for path in (folder / f"seed{seed}").iterdir())
        assert left == ["metrics.csv", "model.safetensors", "run.json", "test.json"]


@pytest.mark.usefixtures("forked")
def test_a_seed_leaves_the_same_bytes_beside_others_and_alone(inputs: Inputs, tmp_path: Path) -> None:
    assert main(arguments(inputs, tmp_path, 2, 2, THREE)) == 0
    same_as_alone(inputs, tmp_path, 2, THREE)


@contextmanager
def halted(pack: subprocess.Popen[str], places: list[Path]) -> Iterator[None]:
    """Every seed of the pack stands still once it has done an epoch: how fast one is, is the machine's affair."""
    end = time.monotonic() + 120
    still: dict[Path, psutil.Process] = {}
    try:
        while len(still) < len(places):
            assert pack.poll() is None
            assert time.monotonic() < end
            for process in psutil.Process(pack.pid).children():
                for place in {path for path in places if str(path) in process.cmdline()} - still.keys():
                    progress = place / "progress.json"
                    if progress.exists() and read_json(progress).get("epoch", 0):
                        process.suspend()
                        still[place] = process
            time.sleep(0.01)
        yield
    finally:
        for process in still.values():
            with suppress(psutil.NoSuchProcess):
                process.resume()


@pytest.mark.usefixtures("forked")
def test_a_pack_that_is_cut_goes_on(inputs: Inputs, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "priorbench.cli", *arguments(inputs, tmp_path, EPOCHS, 2, TWO)]
    places = [tmp_path / f"seed{seed}" for seed in TWO]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        with halted(process, places):
            process.send_signal(signal.SIGTERM)
        complaint = process.communicate()[1]
    assert process.returncode == TRY_AGAIN, complaint
    assert complaint.splitlines()[-1].startswith("priorbench finetune: asked to stop: seed 0, ")
    assert all((place / CHECKPOINT).exists() for place in places)
    assert main(arguments(inputs, tmp_path, EPOCHS, 2, TWO)) == 0
    same_as_alone(inputs, tmp_path, EPOCHS, TWO)
    assert [read_json(place / "run.json")["attempts"] for place in places] == [2, 2]


@pytest.mark.usefixtures("forked")
def test_of_a_pack_a_finished_seed_is_kept_until_all_are(inputs: Inputs, tmp_path: Path, capfd: Any) -> None:
    """The workflow deletes the outputs of a job that was cut; what was done must not be trained again."""
    given = arguments(inputs, tmp_path, 2, 2, THREE)
    (tmp_path / "seed2").mkdir()
    (tmp_path / "seed2" / "model.safetensors").mkdir()  # cannot be replaced by a file
    assert main(given) == 1
    assert "seed 2: its process ended with exit code 1" in capfd.readouterr().err
    assert (tmp_path / "seed0" / CHECKPOINT).exists()
    (tmp_path / "seed2" / "model.safetensors").rmdir()
    for name in ("model.safetensors", "run.json", "metrics.csv", "test.json"):
        (tmp_path / "seed0" / name).unlink()
    assert main(given) == 0
    assert "seed 0  goes on at epoch" in capfd.readouterr().out
    same_as_alone(inputs, tmp_path, 2, THREE)


@pytest.mark.parametrize("at_once", ["0", "-1", "some"])
def test_a_number_that_is_none_is_refused(at_once: str, inputs: Inputs, tmp_path: Path, capsys: Any) -> None:
    given = arguments(inputs, tmp_path, 2, 2, THREE)
    given[given.index("--at-once") + 1] = at_once
    try:
        code = main(given)
    except SystemExit as error:
        code = int(error.code or 0)
    assert code
    assert "at-once" in capsys.readouterr().err
    assert os.listdir(tmp_path / "seed0" if (tmp_path / "seed0").exists() else tmp_path) != []
