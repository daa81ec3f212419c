"""What runs in the processes of the suite ``scale``."""

from collections.abc import Callable
from typing import Any

import torch

from priorbench.bench.cells import Setting, own_step
from priorbench.bench.options import Cell
from priorbench.bench.phases import Stopwatch, summarised, timed
from priorbench.bench.suite import Row
from priorbench.errors import out_of_memory
from priorbench.memory import available_memory, limit_memory, peak_memory, resident_memory
from priorbench.tasks.base import Example
from priorbench.training.process import prepare_torch
from priorbench.training.step import EDGES_AT_ONCE, has_batch_statistics, parts_of

LEAST = {"inference": 2, "training": 3}  # timed steps; the heap settles within as many
SHARE = 0.85  # of the memory that is free, which a step may take


def inference(**arguments: Any) -> Row | None:
    """Energies and forces of a batch, in the parts that a validation computes; takes a :class:`Cell`.

    None where the memory is too small, here and below.
    """
    cell, setting, example = _prepared(arguments)
    model, watch = setting.model.eval(), Stopwatch(cell.device)

    def step() -> None:
        with torch.no_grad():
            for part in parts_of(example, EDGES_AT_ONCE):
                model(part.graph)
        watch("forward")

    return _measured("inference", cell, step, watch, example, EDGES_AT_ONCE)


def training(**arguments: Any) -> Row | None:
    """Training steps; takes a :class:`Cell`."""
    cell, setting, example = _prepared(arguments)
    watch = Stopwatch(cell.device)
    step = own_step(cell, setting, setting.store(cell.device), watch)
    whole = has_batch_statistics(setting.model)
    return _measured("training", cell, step, watch, example, None if whole else EDGES_AT_ONCE)


def _prepared(arguments: dict[str, Any]) -> tuple[Cell, Setting, Example]:
    """The cell, what it starts from, and the structures of a step as one example."""
    cell = Cell(**arguments)
    prepare_torch(cell.threads, cell.gpu_options)
    setting = Setting.of(cell)
    structures = torch.arange(cell.batch_size, device=cell.device)
    example = setting.task.corrupt(setting.store(cell.device).batch(structures), torch.Generator())
    return cell, setting, example


def _measured(
    kind: str, cell: Cell, step: Callable[[], None], watch: Stopwatch, example: Example, edges: int | None
) -> Row | None:
    base, available = _memory_now(cell.device)
    if cell.device == "cpu":
        limit_memory(base + SHARE * available)
    try:
        row = summarised(timed(step, watch, cell.seconds, LEAST[kind]), cell.batch_size)
    except (MemoryError, RuntimeError) as error:
        if not out_of_memory(error):
            raise
        return None
    gpu = cell.device == "cuda"
    at_once = max(len(part.graph.senders) for part in parts_of(example, edges))
    return {
        "ns_per_atom": 1e6 * row["ms"] / cell.atoms,
        "best_ns_per_atom": 1e6 * row["best_ms"] / cell.atoms,
        "steps": row["steps"],
        "edges_per_atom": len(example.graph.senders) / example.graph.atoms,
        "edges_at_once": at_once,
        "whole": edges is None or gpu,
        "base_memory_gb": base,
        "peak_memory_gb": torch.cuda.max_memory_allocated() / 1e9 if gpu else peak_memory(),
    }


def _memory_now(device: str) -> tuple[float, float]:
    """Memory that is used and that is free before the first step, GB."""
    if device == "cuda":
        return torch.cuda.memory_allocated() / 1e9, torch.cuda.mem_get_info()[0] / 1e9
    return resident_memory(), available_memory()
