"""What runs in a process of its own: FLOPs counted, a few steps timed by the CPU seconds of one thread.

CPU seconds and not wall time, so that other work on the machine is not taken for the experiment's.
"""

import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from priorbench.config import Training
from priorbench.evaluation.errors import predict
from priorbench.frames import Frames
from priorbench.kernels.library import in_use
from priorbench.neighbours import Neighbours, reaching
from priorbench.plan.samples import sample
from priorbench.training.flops import flops_per_structure
from priorbench.training.labels import Labels
from priorbench.training.loop import validate
from priorbench.training.model import build
from priorbench.training.optimiser import Adam
from priorbench.training.process import prepare_torch
from priorbench.training.run import make_task
from priorbench.training.step import take_step
from priorbench.training.store import Store

MATRIX = 2048  # rows and columns of the matrix product
MATMUL_SECONDS = 1.0  # of matrix products
CHUNK = 20  # time steps of a simulation taken at once
Answer = dict[str, Any]


@dataclass(frozen=True)
class Cost:
    """Of one structure, but for the set-up; seconds are None where nothing was timed."""

    flops: float  # of a structure-step
    atoms: float  # mean of the structures counted on
    step: float | None = None  # s of a structure-step
    validation: float | None = None  # s of a structure in a validation pass
    test: float | None = None  # s of a structure in a test pass
    setup: float | None = None  # s of a run before its first step, and what that takes longer


def measure(cells: list[dict[str, Any]], seconds: float, timed: bool, rated: bool) -> Answer:
    """Costs of all ``cells``, each timed for about ``seconds``; ``start``, s that a job takes before its first run.

    ``spent`` are the CPU seconds of the process so far.  Unless ``timed`` only FLOPs are counted; where ``rated``, the
    matrix product rate of one thread (GFLOP/s) comes too.
    """
    prepare_torch(1)
    imported, costs = time.process_time(), []
    with tempfile.TemporaryDirectory(prefix="priorbench-plan-") as folder:
        samples: dict[str, tuple[Frames, Neighbours]] = {}
        for cell in cells:
            if (name := repr(cell["sample"])) not in samples:
                place = Path(folder) / str(len(samples))
                place.mkdir()
                samples[name] = sample(place, **cell["sample"])
        once = _once(cells[0], *samples[repr(cells[0]["sample"])]) if timed and cells else 0.0
        costs = [asdict(_cost(c, *samples[repr(c["sample"])], seconds, timed)) for c in cells]
    first = costs[0]["setup"] if once else 0.0
    rate = _matmul_gflops() if rated else None
    start = imported + max(once - first, 0.0)
    return {
        "costs": costs,
        "start": start,
        "gflops": rate,
        "kernels": in_use("cpu"),
        "spent": time.process_time(),
    }


def _matmul_gflops() -> float:
    """GFLOP/s of an fp32 matrix product, by CPU seconds as the steps are."""
    a, b = torch.rand(2, MATRIX, MATRIX)
    return 2 * MATRIX**3 / repeated(lambda: torch.mm(a, b), MATMUL_SECONDS)[1] / 1e9


def _once(cell: dict[str, Any], frames: Frames, neighbours: Neighbours) -> float:
    """Seconds of a first set-up and step in this process, which loads what every later one finds loaded."""
    started = time.process_time()
    _prepared(cell, frames, neighbours)[0]()
    return time.process_time() - started


def _cost(cell: dict[str, Any], frames: Frames, neighbours: Neighbours, seconds: float, timed: bool) -> Cost:
    started = time.process_time()
    step, validation, test, flops = _prepared(cell, frames, neighbours)
    setup, atoms, count = time.process_time() - started, float(np.mean(frames.sizes)), cell["batch"]
    if not timed:
        return Cost(flops, atoms)
    first, usual = repeated(step, seconds)
    passes = repeated(validation, seconds / 4)[1] / len(frames)
    tested = repeated(test, seconds / 4)[1] / len(frames) if cell["task"]["name"] == "potential" else 0.0
    return Cost(flops, atoms, usual / count, passes, tested, setup + max(first - usual, 0.0))


def _prepared(
    cell: dict[str, Any], frames: Frames, neighbours: Neighbours
) -> tuple[Callable[[], object], Callable[[], object], Callable[[], object], float]:
    """What takes a step, a validation pass and a test pass, and the FLOPs of a structure-step."""
    everything, training, task = np.arange(len(frames)), Training(**cell["training"]), make_task(cell["task"])
    labels = Labels.fit(frames, everything)
    store = Store.build(frames, reaching(frames, neighbours, task.reach), everything, labels)
    model = build(cell["backbone"], 0)
    flops = flops_per_structure(model, task, store, cell["batch"])
    optimiser, draws = Adam(model.parameters(), training), torch.Generator().manual_seed(0)
    batch = torch.arange(cell["batch"]) % len(store)

    def step() -> None:
        model.train()
        take_step(model, task, store, batch, draws, optimiser, 1e-6, training.gradient_clip)

    def validation() -> None:
        validate(model, task, store, training, 0)

    def test() -> None:
        predict(model, store, labels, frames, everything)

    return step, validation, test, flops


def repeated(work: Callable[[], object], seconds: float) -> tuple[float, float]:
    """CPU seconds of the first call of ``work`` and the median of those after, made until ``seconds`` are over."""
    times: list[float] = []
    began = time.process_time()
    while len(times) < 2 or time.process_time() - began < seconds:
        started = time.process_time()
        work()
        times.append(time.process_time() - started)
    return times[0], statistics.median(times[1:])


def simulation(options: dict[str, Any], seconds: float = 0.5) -> dict[str, float]:
    """CPU seconds that a trajectory of TIP3P water takes to begin, and those of one of its time steps."""
    from priorbench.datasets.tip3p import TIP3POptions
    from priorbench.datasets.tip3p_simulation import begun

    started = time.process_time()
    _, integrator = begun(TIP3POptions(**options), 0)
    begin = time.process_time() - started
    return {"begin": begin, "step": repeated(lambda: integrator.step(CHUNK), seconds)[1] / CHUNK}
