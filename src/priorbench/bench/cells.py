"""What runs in the process of a cell: training steps of priorbench, or of the textbook version, timed.

Both are given the same boxes, initial weights, labels and batch size, and one thing each: :func:`engine` what a
training run settles in its process, :func:`textbook` the number of threads.
"""

import importlib
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

import priorbench
from priorbench.backbones.base import Backbone
from priorbench.bench.options import Cell
from priorbench.bench.phases import Stopwatch, summarised, timed
from priorbench.bench.process import peak_memory
from priorbench.config import Training
from priorbench.frames import Frames
from priorbench.kernels.library import in_use, plain
from priorbench.neighbours import Neighbours
from priorbench.tasks.base import Task
from priorbench.training.flops import flops_per_structure
from priorbench.training.labels import Labels
from priorbench.training.model import build
from priorbench.training.optimiser import Adam
from priorbench.training.process import prepare_torch
from priorbench.training.run import make_task
from priorbench.training.step import take_step
from priorbench.training.store import Store

ROOT = Path(priorbench.__file__).parents[2]  # of the repository, where benchmarks/ lies
SEED = 0
COUNTED = 4  # structures of a batch whose FLOPs are counted

Row = dict[str, Any]


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
        model = build({"name": cell.backbone, "architecture": cell.backbone, **cell.settings}, SEED)
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


def engine(**arguments: Any) -> Row:
    """Times of priorbench's own step, peak memory in GB, and what the step consists of; takes a :class:`Cell`."""
    cell = Cell(**arguments)
    prepare_torch(cell.threads)
    setting = Setting.of(cell)
    model, task, training = setting.model, setting.task, setting.training
    store = Store.build(setting.frames, setting.neighbours, np.arange(len(setting.frames)), setting.labels, cell.device)
    optimiser = Adam(model.parameters(), training)
    draws, batches = torch.Generator().manual_seed(SEED), _batches(store, cell.batch_size)
    watch = Stopwatch(cell.device)

    def step() -> None:
        rate, clip = training.learning_rate, training.gradient_clip
        take_step(model, task, store, next(batches), draws, optimiser, rate, clip, watch)

    row = {**_timed(step, watch, cell), "kernels": in_use(cell.device)}
    # Last, for it may need more memory than the steps; the kernels' arithmetic is not dispatched, so it is not counted.
    with plain():
        flops = flops_per_structure(model, task, store, min(cell.batch_size, COUNTED))
    edges = len(store.senders) / len(store)
    return {**row, "gflop_per_structure": flops / 1e9, "edges_per_structure": edges}


def textbook(**arguments: Any) -> Row:
    """Times of the textbook version's step and peak memory in GB; takes a :class:`Cell`."""
    cell = Cell(**arguments)
    if str(ROOT) not in sys.path:
        sys.path.append(str(ROOT))
    book = importlib.import_module("benchmarks.textbook")
    torch.set_num_threads(cell.threads)
    torch.manual_seed(SEED)
    setting = Setting.of(cell)
    network = book.network(setting.model)
    structures = np.arange(len(setting.frames))
    data = book.dataset(setting.frames, setting.neighbours, setting.labels, structures, setting.task)
    batches = _endless(book.loader(data, cell.batch_size, SEED))
    optimiser = torch.optim.Adam(network.parameters(), lr=setting.training.learning_rate)
    watch = Stopwatch(cell.device)

    def step() -> None:
        batch = next(batches).to(cell.device)
        watch("data")
        optimiser.zero_grad()
        loss = book.loss(cell.task, network, batch)
        watch("forward")
        loss.backward()
        watch("backward")
        if setting.training.gradient_clip is not None:
            torch.nn.utils.clip_grad_norm_(network.parameters(), setting.training.gradient_clip)
        optimiser.step()
        watch("optimiser")

    return _timed(step, watch, cell)


def _timed(step: Any, watch: Stopwatch, cell: Cell) -> Row:
    row = summarised(timed(step, watch, cell.seconds), cell.batch_size)
    gpu = torch.cuda.max_memory_allocated() / 1e9 if cell.device == "cuda" else None
    return {**row, "peak_memory_gb": peak_memory(), "peak_gpu_memory_gb": gpu}


def _batches(store: Store, size: int) -> Iterator[Tensor]:
    draws = torch.Generator().manual_seed(SEED)
    while True:
        yield from torch.randperm(len(store), generator=draws).to(store.positions.device).split(size)


def _endless(loader: Iterable[Any]) -> Iterator[Any]:
    while True:
        yield from loader
