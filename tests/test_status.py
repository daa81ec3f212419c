"""`priorbench status`: what the run folders say, and nothing else."""

import io
import json
import os
import re
import socket
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from priorbench.cli import main
from priorbench.config import load_config
from priorbench.io import sha256_json, write_json
from priorbench.lock import NAME as LOCK
from priorbench.runs import finetune_spec, pretrain_spec
from priorbench.status import EVERY, HOME, REST_OF_LINE, statuses, watch

CONFIG = {
    "experiment": "watched",
    "seeds": [0, 1],
    "datasets": {"water": {"source": "tip3p"}},
    "backbones": {"egnn": {"architecture": "egnn", "cutoff": 3.5}},
    "pretraining": {"mask": {"task": "masking"}},
    "finetuning": {"task": "potential", "training": {"epochs": 3, "batch_size": 2, "learning_rate": 1e-3}},
    "strategies": {
        "scratch": {},
        "longer-steps": {"longer": "steps", "matching": "mask"},
        "mask": {"pretraining": "mask"},
    },
}


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    config = json.loads(json.dumps(CONFIG))
    config["pretraining"]["mask"]["training"] = config["finetuning"]["training"]
    Path("watched.yaml").write_text(yaml.safe_dump(config))
    return tmp_path / "results/watched"


def run_folder(place: Path, stage: str, name: str, seed: int) -> Path:
    folder = place / stage / "water/egnn" / name / f"seed{seed}"
    folder.mkdir(parents=True)
    return folder


def shown(capsys: pytest.CaptureFixture[str], *options: str) -> str:
    assert main(["status", "watched.yaml", *options]) == 0
    return capsys.readouterr().out


def states(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    found = json.loads(shown(capsys, "--json"))
    return {f"{run['stage']} {run['name']} {run['seed']}": run for run in found}


def lease(folder: Path, age: float) -> None:
    write_json(folder / LOCK, {"host": "node7", "pid": 5, "job": "31", "token": "x"})
    os.utime(folder / LOCK, (time.time() - age,) * 2)


RUNNING = {"state": "running", "epoch": 2, "epochs": 3, "val_loss": 0.5, "val_force_rmse": 81.25, "eta": 75.0}
RUNNING |= {"structures_per_s": 12.5, "host": "node7", "pid": 5, "job": "31"}


def test_every_run_of_the_dag_is_listed_before_anything_started(place: Path, capsys: Any) -> None:
    found = states(capsys)
    assert {name: run["state"] for name, run in found.items()} == {
        "pretrain mask 0": "queued", "pretrain mask 1": "queued",
        "finetune scratch 0": "queued", "finetune scratch 1": "queued",
        "finetune longer-steps 0": "queued", "finetune longer-steps 1": "queued",
        "finetune mask 0": "queued", "finetune mask 1": "queued",
    }  # fmt: skip


def test_each_state_is_told_by_what_lies_in_the_folder(place: Path, capsys: Any) -> None:
    for seed, content in enumerate(
        ({"status": "completed", "epochs": 3}, {"status": "diverged", "diverged_at": "epoch 2"})
    ):
        settings = sha256_json(pretrain_spec(load_config(Path("watched.yaml")), "water", "egnn", "mask", seed))
        folder = run_folder(place, "pretrained", "mask", seed)
        write_json(folder / "run.json", content | {"config_hash": settings})
    running = run_folder(place, "runs", "scratch", 0)
    write_json(running / "progress.json", RUNNING | {"time": time.time()})
    lease(running, 3)
    dead = run_folder(place, "runs", "scratch", 1)
    write_json(dead / "progress.json", RUNNING | {"time": time.time() - 900})
    lease(dead, 900)
    write_json(run_folder(place, "runs", "mask", 0) / "progress.json", RUNNING | {"state": "cut", "time": time.time()})
    failed = run_folder(place, "runs", "mask", 1)
    write_json(failed / "progress.json", {"state": "failed", "message": "no such file", "time": time.time()})
    log = place / "logs/finetune/water/egnn/mask/seed1.log"
    log.parent.mkdir(parents=True)
    log.write_text("".join(f"line {i}\n" for i in range(9)))
    found = states(capsys)
    assert {name: run["state"] for name, run in found.items()} == {
        "pretrain mask 0": "done", "pretrain mask 1": "diverged",
        "finetune scratch 0": "running", "finetune scratch 1": "cut",
        "finetune longer-steps 0": "queued", "finetune longer-steps 1": "queued",
        "finetune mask 0": "cut", "finetune mask 1": "failed",
    }  # fmt: skip
    assert found["finetune scratch 0"]["eta"] == 75.0
    assert found["finetune scratch 0"]["where"] == "SLURM job 31, process 5 on node7"
    text = shown(capsys)
    assert text.startswith("watched: 8 runs: 1 running, 1 failed, 2 cut, 1 diverged, 2 queued, 1 done\n")
    assert "epoch 2/3  force 81.2 meV/Å  12.5 structures/s  ETA 1:15  SLURM job 31, process 5 on node7" in text
    assert "          | line 4\n" in text
    assert "line 3" not in text
    assert "diverged  pretrain  water  egnn  mask  seed 1  epoch 2" in text
    assert "[####################] 2/2" in text


def test_a_run_of_another_configuration_is_outdated(place: Path, capsys: Any) -> None:
    settings = sha256_json(finetune_spec(load_config(Path("watched.yaml")), "water", "egnn", "scratch", 0))
    record = run_folder(place, "runs", "scratch", 0) / "run.json"
    write_json(record, {"status": "completed", "config_hash": settings})
    assert states(capsys)["finetune scratch 0"]["state"] == "done"
    write_json(record, {"status": "completed", "config_hash": "another"})
    assert states(capsys)["finetune scratch 0"]["state"] == "outdated"


def test_a_seed_that_its_job_has_not_come_to_is_queued(place: Path, capsys: Any) -> None:
    folder = run_folder(place, "runs", "scratch", 0)
    write_json(folder / "progress.json", {"state": "waiting", "time": time.time()})
    lease(folder, 1)
    assert states(capsys)["finetune scratch 0"]["state"] == "queued"


def test_a_job_that_waits_on_a_free_folder_after_a_failure_is_running(place: Path, capsys: Any) -> None:
    folder = run_folder(place, "runs", "scratch", 0)
    write_json(folder / "progress.json", {"state": "failed", "message": "old", "time": 0})
    lease(folder, 0)
    run = states(capsys)["finetune scratch 0"]
    assert (run["state"], run["message"]) == ("running", None)


@pytest.mark.parametrize("content", ["", "{", "[]", '{"state": 3}'])
def test_files_cut_in_the_middle_do_not_stop_it(content: str, place: Path, capsys: Any) -> None:
    folder = run_folder(place, "runs", "scratch", 0)
    for name in ("progress.json", "run.json", LOCK):
        (folder / name).write_text(content)
    assert len(states(capsys)) == 8
    shown(capsys)


def test_it_needs_no_torch(place: Path) -> None:
    code = (
        "import sys; from priorbench.cli import main; main(['status', 'watched.yaml']); print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "False"


def test_a_missing_file_is_one_line(place: Path, capsys: Any) -> None:
    assert main(["status", "nothing.yaml"]) == 1
    assert capsys.readouterr().err.count("\n") == 1


def test_the_folder_of_a_run_says_who_writes_it(place: Path, capsys: Any) -> None:
    folder = run_folder(place, "runs", "scratch", 0)
    write_json(folder / LOCK, {"host": socket.gethostname(), "pid": os.getpid(), "job": None, "token": "x"})
    assert states(capsys)["finetune scratch 0"]["where"] == f"process {os.getpid()} on {socket.gethostname()}"
    assert "seed 0  starting  process" in shown(capsys)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_watching_shows_each_state_in_the_place_of_the_last_until_all_is_done(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, screen, waits = Path("watched.yaml"), Terminal(), []
    found = statuses(load_config(config), place)
    states = iter(
        [
            found,
            [replace(run, state="running", epoch=1, epochs=4) for run in found],
            [replace(run, state="done") for run in found],
        ]
    )
    monkeypatch.setattr("priorbench.status.statuses", lambda *_: next(states))
    watch(config, out=screen, wait=waits.append)
    assert waits == [EVERY, EVERY]
    screens = screen.getvalue().split(HOME)[1:]
    shares = [re.search(r"(\d+) % of all epochs", text) for text in screens]
    assert [share and share[1] for share in shares] == ["0", "25", "100"]
    assert all(REST_OF_LINE in text for text in screens)


def test_a_narrow_terminal_is_not_overrun(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Terminal()
    done = [replace(run, state="done") for run in statuses(load_config(Path("watched.yaml")), place)]
    monkeypatch.setattr("priorbench.status.statuses", lambda *_: done)
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setenv("LINES", "5")
    watch(Path("watched.yaml"), out=screen)
    lines = screen.getvalue().replace(HOME, "").replace(REST_OF_LINE, "").split("\n")
    assert len(lines) <= 5
    assert max(map(len, lines)) <= 40


def test_watching_needs_a_terminal(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status", "watched.yaml", "--watch"]) == 1
    assert "this is none" in capsys.readouterr().err
