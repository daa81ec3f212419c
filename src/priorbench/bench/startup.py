"""The suite ``startup``: how long a job takes from the start of its process to the end of its first training step.

The jobs are real ones, ``priorbench finetune`` or ``pretrain`` of networks of default size on eight tiny structures.
Each runs twice with a cache of compiled kernels of its own, empty at first: the second time is the start-up, what the
first took longer is the compilation, if it left anything in the cache.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from itertools import product
from pathlib import Path
from typing import Any

from priorbench.analysis.text import number
from priorbench.bench.options import FINETUNING, Options
from priorbench.bench.process import isolated
from priorbench.bench.suite import Log, Row, Suite
from priorbench.bench.table import Table
from priorbench.errors import PriorbenchError
from priorbench.io import write_json

ATOMS = 24
SIDES = {"train": [0, 1, 2, 3], "validation": [4, 5], "test": [6, 7]}
STRUCTURES = 8
SCRIPT = "from priorbench.bench.startup import until_first_step; until_first_step()"


def measure(options: Options, machine: Row, folder: Path, log: Log) -> list[Row]:
    """One row a backbone and task."""
    sets = isolated("priorbench.bench.startup:prepare", folder=str(folder), backbones=list(options.backbones))
    rows = []
    for backbone, task in product(options.backbones, options.tasks):
        with log.attempt(f"start-up {backbone} {task}"):
            seconds, compilation = _twice(_command(backbone, task, options, sets[backbone]), folder)
            rows.append({"backbone": backbone, "task": task, "seconds": seconds, "compile_seconds": compilation})
            log.say(f"{backbone} {task}: first step after {seconds:.1f} s, compiled in {compilation:.1f} s")
    return rows


def _twice(command: list[str], folder: Path) -> tuple[float, float]:
    """Seconds to the first step with compiled kernels at hand, and what it took longer to compile them."""
    with tempfile.TemporaryDirectory(dir=folder) as place:
        first = _seconds(command, Path(place))
        compiled = any(path.is_file() for path in (Path(place) / "cache" / "priorbench").rglob("*"))
        second = _seconds(command, Path(place))
    return second, max(first - second, 0.0) if compiled else 0.0


def prepare(folder: str, backbones: list[str]) -> dict[str, Any]:
    """Write boxes and a split; folder of the set and cutoff (Å) by backbone."""
    from priorbench.bench.boxes import write_boxes
    from priorbench.registry import load

    sets = {}
    for name in backbones:
        cutoff = float(load("backbone", name).Options().cutoff)
        place = Path(folder) / name
        frames = write_boxes(place, ATOMS, cutoff, STRUCTURES)
        write_json(place / "split.json", {"frames": frames.hash(), "seed": 0, **SIDES, "groups": {}})
        sets[name] = {"folder": str(place), "cutoff": cutoff}
    return sets


def _command(backbone: str, task: str, options: Options, data: dict[str, Any]) -> list[str]:
    """Arguments of ``priorbench`` but the output."""
    stage = "finetune" if task == FINETUNING else "pretrain"
    nothing = dict.fromkeys(("pretraining", "pretraining_task", "longer"))
    spec = {
        **{"experiment": "bench", "dataset": "boxes", "seed": 0, "device": options.device},
        **{"stage": stage, "strategy": "scratch", "role": "scratch", **nothing},
        "backbone": {"name": backbone, "architecture": backbone, "cutoff": data["cutoff"]},
        "task": {"name": task},
        "training": {"epochs": 1, "batch_size": 2},
    }
    files = [(f"--{name}", f"{data['folder']}/{name}.safetensors") for name in ("frames", "neighbours")]
    arguments = [stage, "--spec", json.dumps(spec), "--threads", str(options.threads)]
    return [*arguments, *(part for pair in files for part in pair), "--split", f"{data['folder']}/split.json"]


def _seconds(command: list[str], folder: Path) -> float:
    """From the start of a process to the end of its first step; compiled kernels are kept in ``folder``."""
    stamp = folder / "stamp"
    environment = {**os.environ, "XDG_CACHE_HOME": str(folder / "cache")}
    arguments = [sys.executable, "-c", SCRIPT, str(stamp), *command, "--output", str(folder / "run")]
    started = time.monotonic()
    done = subprocess.run(arguments, env=environment, capture_output=True, text=True, check=False)
    if done.returncode or not stamp.exists():
        lines = done.stderr.splitlines() or [f"ended with exit code {done.returncode} before its first step"]
        raise PriorbenchError(lines[-1])
    return float(stamp.read_text(encoding="utf-8")) - started


def until_first_step() -> None:
    """The job: arguments of ``priorbench`` after a file for the time at which the first step was done."""
    stamp, *command = sys.argv[1:]
    from priorbench.cli import main
    from priorbench.training import loop
    from priorbench.training.stepper import stepper_for

    def stamping(*arguments: Any) -> Any:
        stepper = stepper_for(*arguments)
        take = stepper.take

        def first(*step: Any) -> None:
            value, _ = take(*step)
            float(value)  # waits for the device
            Path(stamp).write_text(repr(time.monotonic()), encoding="utf-8")
            sys.exit(0)

        vars(stepper)["take"] = first
        return stepper

    vars(loop)["stepper_for"] = stamping
    sys.exit(main(command))


def tables(rows: list[Row]) -> list[Table]:
    """Seconds of start and compilation."""
    caption = (
        "Start: from the start of a process to the end of its first training step, on eight structures of 24 atoms "
        "and with compiled kernels at hand; compilation comes once a machine."
    )
    lines = [[row["backbone"], row["task"], number(row["seconds"]), number(row["compile_seconds"])] for row in rows]
    return [Table(caption, ["backbone", "task", "start s", "compilation s"], lines, "llrr")] if rows else []


SUITE = Suite(("backbone", "task"), measure, tables)
