"""The training loop: explicit, seeded, the same for every backbone and task.

Every random draw has a generator of its own made from (seed, purpose, epoch): strategies with the same seed see the
same batches in the same order, and an epoch's draws do not depend on the epochs before.  Validation uses the same
draws every time, so that its losses can be compared between epochs and strategies.
"""

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from priorbench.backbones.base import Backbone
from priorbench.config import Training
from priorbench.tasks.base import Task, loss
from priorbench.tasks.readout import read_out
from priorbench.training.model import State, snapshot
from priorbench.training.optimiser import Adam
from priorbench.training.step import EDGES_AT_ONCE, parts_of, take_step
from priorbench.training.store import Store

Row = dict[str, Any]
Report = Callable[[Row], None]
ORDER, CORRUPTION, VALIDATION = 1, 2, 3


@dataclass
class Outcome:
    """What a training leaves: the weights kept and what happened on the way."""

    state: State
    rows: list[Row] = field(default_factory=list)
    best: Row = field(default_factory=dict)
    steps: int = 0
    planned_steps: int = 0  # more than ``steps`` where a run diverged
    structure_steps: int = 0
    seconds: float = 0.0  # of the steps
    validation_seconds: float = 0.0
    diverged: str | None = None  # where the loss stopped being finite


def generator(seed: int, purpose: int, epoch: int = 0) -> torch.Generator:
    """A CPU generator for one purpose in one epoch."""
    mixed = (seed * 1_000_003 + purpose) * 1_000_003 + epoch
    return torch.Generator().manual_seed(mixed)


def cosine(step: int, steps: int, first: float, last: float) -> float:
    """Learning rate of ``step`` (0-based) of ``steps``: a half cosine from ``first`` to ``last``."""
    return last + 0.5 * (first - last) * (1 + math.cos(math.pi * step / max(steps - 1, 1)))


def steps_per_epoch(structures: int, batch_size: int) -> int:
    """Optimiser steps in one pass."""
    return math.ceil(structures / batch_size)


def train(
    model: Backbone, task: Task, stores: tuple[Store, Store], training: Training, steps: int, seed: int, report: Report
) -> Outcome:
    """Optimise ``model`` on the first store for ``steps`` steps, validating on the second after every epoch.

    ``steps`` may end in the middle of an epoch; that last part is validated as well.  ``report`` gets one row per
    epoch, row 0 before any step.  A loss that is not finite ends the run and is said in ``Outcome.diverged``.
    """
    train_store, validation_store = stores
    optimiser = Adam(model.parameters(), training)
    per_epoch = steps_per_epoch(len(train_store), training.batch_size)
    epochs = math.ceil(steps / per_epoch)
    outcome = Outcome(snapshot(model), planned_steps=steps)

    def validated() -> Row:
        started = time.perf_counter()
        row = validate(model, task, validation_store, training, seed)
        outcome.validation_seconds += time.perf_counter() - started
        return row

    first = {"epoch": 0, "step": 0, "seconds": 0.0, **validated()}
    outcome.rows, outcome.best = [first], first
    report(first)
    for epoch in range(1, epochs + 1):
        row = _epoch(model, task, train_store, training, optimiser, (steps, seed, epoch), outcome)
        if outcome.diverged:
            break
        row |= validated()
        outcome.rows.append(row)
        if not math.isfinite(row["score"]):
            outcome.diverged = f"epoch {epoch}: validation score {row['score']}"
            break
        if training.checkpoint == "last" or row["score"] < outcome.best["score"] or outcome.best["epoch"] == 0:
            outcome.state, outcome.best = snapshot(model), row
        report({**row, "eta": outcome.seconds / outcome.steps * (steps - outcome.steps)})
    return outcome


def _epoch(
    model: Backbone,
    task: Task,
    store: Store,
    training: Training,
    optimiser: Adam,
    progress: tuple[int, int, int],
    outcome: Outcome,
) -> Row:
    """One pass over the store (or what is left of the steps); returns its row and counts into ``outcome``.

    What is not finite is noticed at its end; the weights kept are those of an earlier epoch.
    """
    steps, seed, epoch = progress
    draws = generator(seed, CORRUPTION, epoch)
    model.train()
    started, visited, rate = time.perf_counter(), 0, 0.0
    losses: list[Tensor] = []
    norms: list[Tensor] = []
    for structures in _batches(store, training.batch_size, seed, epoch):
        if outcome.steps == steps:
            break
        rate = cosine(outcome.steps, steps, training.learning_rate, training.final_learning_rate)
        value, norm = take_step(model, task, store, structures, draws, optimiser, rate, training.gradient_clip)
        losses.append(value * len(structures))
        norms.append(norm)
        outcome.steps += 1
        visited += len(structures)
    mean, largest = float(torch.stack(losses).sum()) / visited, float(torch.stack(norms).max())
    elapsed = time.perf_counter() - started
    outcome.seconds += elapsed
    outcome.structure_steps += visited
    if not (math.isfinite(mean) and math.isfinite(largest)):
        first_bad = int((~torch.isfinite(torch.stack(losses) + torch.stack(norms))).nonzero()[0])
        outcome.diverged = f"epoch {epoch}, batch {first_bad}: loss {mean}, largest gradient norm {largest}"
    return {
        "epoch": epoch,
        "step": outcome.steps,
        "seconds": outcome.seconds,
        "learning_rate": rate,
        "train_loss": mean,
        "grad_norm": largest,
        "structures_per_s": visited / elapsed,
    }


def validate(model: Backbone, task: Task, store: Store, training: Training, seed: int) -> Row:
    """Validation loss with fixed draws, and the RMSEs where the task reports squared errors (scaled units).

    ``score`` is what the best checkpoint is chosen by: the force RMSE where there is one, else the loss.
    """
    model.eval()
    sums: dict[str, Tensor] = {}
    counts: dict[str, int] = {}
    draws = generator(seed, VALIDATION)
    with torch.no_grad():
        for structures in torch.arange(len(store), device=store.positions.device).split(training.batch_size):
            example = task.corrupt(store.batch(structures), draws)
            for name, count in task.counts(example).items():
                counts[name] = counts.get(name, 0) + count
            for part in parts_of(example, EDGES_AT_ONCE):
                for name, total in task.terms(read_out(model, task, part.graph), part).items():
                    sums[name] = sums.get(name, 0) + total.double()
    row: Row = {"val_loss": float(loss(task, sums, counts))}
    for name in ("force", "energy"):
        if f"{name}_squared" in sums:
            key = f"{name}_squared"
            row[f"val_{name}_rmse"] = math.sqrt(float(sums[key]) / counts[key])
    score = float(row["val_force_rmse"] if "val_force_rmse" in row else row["val_loss"])
    row["score"] = score if math.isfinite(score) else math.inf
    return row


def _batches(store: Store, size: int, seed: int, epoch: int) -> Iterator[Tensor]:
    order = torch.randperm(len(store), generator=generator(seed, ORDER, epoch))
    yield from order.to(store.positions.device).split(size)
