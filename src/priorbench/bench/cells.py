"""What runs in the process of a cell: training steps of priorbench, timed.

The textbook version in :mod:`priorbench.bench.textbook_cell` is given the same boxes, initial weights, labels and batch
size; this one also what a training run settles in its process.
"""

import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from priorbench.backbones.base import Backbone
from priorbench.bench.machine import synchronise
from priorbench.bench.options import Cell
from priorbench.bench.phases import Stopwatch, summarised, timed
from priorbench.bench.suite import Row
from priorbench.config import Training
from priorbench.frames import Frames
from priorbench.kernels.library import in_use
from priorbench.memory import peak_memory
from priorbench.neighbours import Neighbours, reaching
from priorbench.tasks.base import Task
from priorbench.training.flops import flops_per_structure
from priorbench.training.labels import Labels
from priorbench.training.model import build
from priorbench.training.optimiser import Adam
from priorbench.training.parallel import Ranks, ranks_from_environment
from priorbench.training.process import prepare_torch
from priorbench.training.run import make_task
from priorbench.training.step import take_step
from priorbench.training.stepper import StaticStepper
from priorbench.training.store import Store

COUNTED = 4  # structures of a batch whose FLOPs are counted
BLOCK = 20  # steps on a GPU between two looks at the clock


@dataclass(frozen=True)
class Setting:
    """What both versions start from."""

    model: Backbone
    task: Task
    frames: Frames
    neighbours: Neighbours
    labels: Labels
    training: Training

    @classmethod
    def of(cls, cell: Cell) -> "Setting":
        """Read the boxes and make network and task."""
        model = build({"name": cell.backbone, "architecture": cell.backbone, **cell.settings}, cell.seed)
        frames = Frames.load(Path(cell.folder) / "frames.safetensors")
        cutoff = model.Options(**cell.settings).cutoff
        neighbours = Neighbours.load(Path(cell.folder) / "neighbours.safetensors", frames.metadata["hash"], cutoff)
        return cls(
            model.to(cell.device).train(),
            make_task({"name": cell.task}),
            frames,
            neighbours,
            Labels.fit(frames, np.arange(len(frames))),
            Training(epochs=1, batch_size=cell.batch_size, optimiser="adam", weight_decay=0.0),
        )

    def store(self, device: str) -> Store:
        """All structures on ``device``."""
        neighbours = reaching(self.frames, self.neighbours, self.task.reach)
        return Store.build(self.frames, neighbours, np.arange(len(self.frames)), self.labels, device)


def engine(**arguments: Any) -> Row:
    """Times of priorbench's own step, peak memory in GB, and what the step consists of; takes a :class:`Cell`."""
    cell = Cell(**arguments)
    prepare_torch(cell.threads, cell.gpu_options)
    setting = Setting.of(cell)
    store = setting.store(cell.device)
    watch = Stopwatch(cell.device)
    row = {**timed_row(own_step(cell, setting, store, watch), watch, cell), "kernels": in_use(cell.device)}
    if cell.device == "cuda":
        row |= as_trained(cell, setting, store)
    # Last, for what it computes in plain PyTorch may need more memory than the steps.
    flops = flops_per_structure(setting.model, setting.task, store, min(cell.batch_size, COUNTED))
    edges = len(setting.neighbours.senders) / len(setting.frames)
    return {**row, "gflop_per_structure": flops / 1e9, "edges_per_structure": edges}


def own(steps: int | None = None, divided: bool = False, **arguments: Any) -> Row:
    """Times of priorbench's own step alone; one of several processes waits for the others before it is timed.

    Of several, ``divided`` gives each a share of every batch; they must then be told the number of ``steps``.
    """
    cell = Cell(**arguments)
    prepare_torch(cell.threads, cell.gpu_options)
    setting, ranks = Setting.of(cell), ranks_from_environment()
    store, watch = setting.store(cell.device), Stopwatch(cell.device)
    step = own_step(cell, setting, store, watch, ranks if divided else None)
    if ranks:
        watch.of(step)
        ranks.wait()
    if cell.device == "cuda" and not divided:
        row = {**as_trained(cell, setting, store), "peak_memory_gb": peak_memory()}
    else:
        row = timed_row(step, watch, cell, steps)
    if ranks:
        ranks.leave()
    return row


def own_step(
    cell: Cell, setting: Setting, store: Store, watch: Stopwatch, ranks: Ranks | None = None
) -> Callable[[], None]:
    """What takes the next training step, as a run does."""
    model, task, training = setting.model, setting.task, setting.training
    optimiser = Adam(model.parameters(), training)
    draws, batches = torch.Generator().manual_seed(cell.seed), _batches(store, cell.batch_size, cell.seed)

    def step() -> None:
        rate, clip = training.learning_rate, training.gradient_clip
        take_step(model, task, store, next(batches), draws, optimiser, rate, clip, watch, ranks)

    return step


def as_trained(cell: Cell, setting: Setting, store: Store, block: int = BLOCK) -> Row:
    """Steps in static shapes as a training on a GPU takes them: milliseconds per structure, and outside of the graph.

    Nothing waits for the device within a ``block`` of steps.  ``outside`` is the share of a step in which its graph is
    not running: what data and host cost.
    """
    model, training = setting.model, setting.training
    optimiser = Adam(model.parameters(), training)
    compiler = "inductor" if cell.gpu_options.compile else None
    stepper = StaticStepper(model, setting.task, store, optimiser, training, compiler=compiler)
    draws, batches = torch.Generator().manual_seed(cell.seed), _batches(store, cell.batch_size, cell.seed)
    batch, following = next(batches), next(batches)

    def step() -> None:
        nonlocal batch, following
        stepper.take(batch, following, draws, training.learning_rate)
        batch, following = following, next(batches)

    whole, alone = _blocks(step, cell, block), _blocks(stepper.repeat, cell, block)
    scale = 1000 / cell.batch_size
    ms = scale * statistics.median_low(whole)
    return {
        "steps_by": stepper.kind,
        "ms": ms,
        "best_ms": scale * min(whole),
        "outside": max(0.0, 1 - scale * statistics.median_low(alone) / ms),
        "peak_gpu_memory_gb": torch.cuda.max_memory_allocated() / 1e9 if cell.device == "cuda" else None,
    }


def _blocks(work: Callable[[], object], cell: Cell, block: int) -> list[float]:
    """Seconds of one ``work``, the mean of each block of them; a first one, with captures in it, is not counted."""

    def one() -> float:
        synchronise(cell.device)
        started = time.perf_counter()
        for _ in range(block):
            work()
        synchronise(cell.device)
        return (time.perf_counter() - started) / block

    one()
    began, found = time.perf_counter(), [one()]
    while time.perf_counter() - began < cell.seconds:
        found.append(one())
    return found


def timed_row(step: Callable[[], None], watch: Stopwatch, cell: Cell, steps: int | None = None) -> Row:
    """Of as many ``steps``; None: of those that the cell's seconds have room for."""
    times = timed(step, watch, cell.seconds) if steps is None else timed(step, watch, 0.0, steps)
    row = summarised(times, cell.batch_size)
    gpu = torch.cuda.max_memory_allocated() / 1e9 if cell.device == "cuda" else None
    return {**row, "peak_memory_gb": peak_memory(), "peak_gpu_memory_gb": gpu}


def _batches(store: Store, size: int, seed: int) -> Iterator[Tensor]:
    draws = torch.Generator().manual_seed(seed)
    while True:
        yield from torch.randperm(len(store), generator=draws).to(store.positions.device).split(size)
