"""What runs in the process of a cell of the textbook version: its training steps, timed."""

import importlib
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

import priorbench
from priorbench.bench.cells import Setting, timed_row
from priorbench.bench.options import Cell
from priorbench.bench.phases import Stopwatch
from priorbench.bench.suite import Row

ROOT = Path(priorbench.__file__).parents[2]  # of the repository, where benchmarks/ lies


def textbook(**arguments: Any) -> Row:
    """Times of the textbook version's step and peak memory in GB; takes a :class:`Cell`."""
    cell = Cell(**arguments)
    if str(ROOT) not in sys.path:
        sys.path.append(str(ROOT))
    book = importlib.import_module("benchmarks.textbook")
    torch.set_num_threads(cell.threads)
    torch.backends.cuda.matmul.allow_tf32 = cell.gpu_options.tf32
    torch.manual_seed(cell.seed)
    setting = Setting.of(cell)
    network = book.network(setting.model)
    structures = np.arange(len(setting.frames))
    data = book.dataset(setting.frames, setting.neighbours, setting.labels, structures, setting.task)
    batches = _endless(book.loader(data, cell.batch_size, cell.seed))
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

    return timed_row(step, watch, cell)


def _endless(loader: Iterable[Any]) -> Iterator[Any]:
    while True:
        yield from loader
