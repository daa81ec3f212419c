"""The command line ends with one line and leaves nothing half-written, whatever goes wrong outside."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from priorbench.cli import main

SPEC = json.dumps(
    {"train": 0.6, "validation": 0.2, "separation": None, "seed": 0}
    | dict.fromkeys(("max_train", "max_validation", "max_test"))
)


def test_a_place_that_cannot_be_written_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from tests.conftest import make_frames

    frames, file = tmp_path / "frames.safetensors", tmp_path / "file"
    make_frames(6).save(frames)
    file.write_text("")
    assert main(["split", "--frames", str(frames), "--spec", SPEC, "--output", str(file / "split.json")]) == 1
    message = capsys.readouterr().err
    assert message.count("\n") == 1
    assert message.startswith("priorbench split: ")
    assert str(file) in message


def full() -> None:
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")


TOO_MUCH = {"cpu": lambda: torch.empty(2**50), "numpy": lambda: np.empty(2**50), "gpu": full}


@pytest.mark.parametrize("asked", TOO_MUCH.values(), ids=TOO_MUCH)
def test_too_small_a_memory_is_one_line(
    asked: Callable[[], object], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("priorbench.cli.check", lambda args: asked())
    assert main(["check", "x.yaml"]) == 1
    message = capsys.readouterr().err
    assert message.count("\n") == 1
    assert message.startswith("priorbench check: not enough memory (")


def test_another_error_of_pytorch_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("priorbench.cli.check", lambda args: torch.ones(2) @ torch.ones(3))
    with pytest.raises(RuntimeError, match="size"):
        main(["check", "x.yaml"])


def test_a_termination_removes_what_was_being_written(tmp_path: Path) -> None:
    script = f"""
import time
from pathlib import Path
from priorbench import cli
from priorbench.io import atomic_path

def slow(args):
    with atomic_path(Path({str(tmp_path)!r}) / "output.txt") as temporary:
        temporary.write_text("half")
        print("writing", flush=True)
        time.sleep(60)

cli.check = slow
cli.main(["check", "x.yaml"])
"""
    job = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert job.stdout is not None
    assert job.stdout.readline() == "writing\n"
    assert len(list(tmp_path.iterdir())) == 1
    started = time.monotonic()
    job.send_signal(signal.SIGTERM)
    assert job.wait(timeout=30) == 128 + signal.SIGTERM
    assert time.monotonic() - started < 20
    job.stdout.close()
    assert list(tmp_path.iterdir()) == []


def test_check_says_where_the_results_of_a_question_go(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    presets = Path(__file__).parents[1] / "workflow/presets"
    assert main(["check", "--folder", str(presets / "q4.yaml")]) == 0
    assert main(["check", "--folder", str(presets / "dft.yaml")]) == 0
    assert capsys.readouterr().out.splitlines() == ["results/questions/q4", "results/dft"]
