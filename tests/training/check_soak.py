"""A hundred kill -9 at random moments for every backbone and task (``make check-long``; no part of ``make test``).

Each pair trains again and again, killed after times drawn at random, until it was killed ``KILLS`` times; every
training that ends must have left the bytes of one that was never killed.  A checkpoint follows every step, so that
many kills fall into the writing of one.
"""

import os
import random
import shutil
import signal
import time
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest

from priorbench.registry import BACKBONES, TASKS
from priorbench.runs import CHECKPOINT
from priorbench.training import checkpoint
from priorbench.training.data import Inputs
from priorbench.training.run import run
from tests.processes import started
from tests.training.test_checkpoint import EPOCHS, case, same
from tests.training.test_run import record

KILLS = 100
RUN = EPOCHS | {"epochs": 8}  # 24 steps
SLOWEST = 120.0  # s that one attempt may take before it counts as hanging


@pytest.mark.parametrize("task", sorted(TASKS))
@pytest.mark.parametrize("architecture", sorted(BACKBONES))
def test_killed_a_hundred_times(
    architecture: str, task: str, inputs: Inputs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    record_property: Callable[[str, object], None],
) -> None:  # fmt: skip
    one = case(architecture, task, training=RUN)
    monkeypatch.setattr(checkpoint, "INTERVAL", 0.0)
    start = time.monotonic()
    run(one, inputs, 1, tmp_path / "whole")
    longest = time.monotonic() - start
    moments = random.Random(zlib.crc32(f"{architecture}/{task}".encode()))
    folder, log = tmp_path / "cut", tmp_path / "log"
    kills = attempts = ended = writing = 0
    while kills < KILLS or attempts:
        child = started(lambda: run(one, inputs, 1, folder), log)
        attempts += 1
        status = killed_or_ended(child, moments.uniform(0, longest / 2) if kills < KILLS else SLOWEST)
        if status == -signal.SIGKILL:
            assert kills < KILLS, f"hangs after {kills} kills"
            kills += 1
            writing += any(folder.glob(f".{Path(CHECKPOINT).stem}-*"))
            continue
        assert status == 0, log.read_text()
        same(tmp_path / "whole", folder, record(folder)["attempts"])
        shutil.rmtree(folder)
        ended, attempts = ended + 1, 0
    assert ended > 0
    record_property("soak", f"{kills} kills, {writing} while a checkpoint was written; {ended} trainings ended alike")


def killed_or_ended(child: int, seconds: float) -> int:
    """Exit status of a process that is killed after ``seconds`` unless it has ended; negative for a signal."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        found, status = os.waitpid(child, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.001)
    os.kill(child, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
