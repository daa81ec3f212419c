"""The training loop: explicit, seeded, the same for every backbone and task.

Every random draw has a generator of its own made from (seed, purpose, epoch): strategies with the same seed see the
same batches in the same order, and an epoch's draws do not depend on the epochs before.  Validation uses the same
draws every time, so that its losses can be compared between epochs and strategies.

Between any two steps a training can be cut: it saves what it has done and goes on later to the same numbers.
"""

import math
import time
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from priorbench.backbones.base import Backbone
from priorbench.config_sections import GPU, Training
from priorbench.errors import PriorbenchError
from priorbench.stop import Interrupted, Stop
from priorbench.tasks.base import Task, loss
from priorbench.tasks.readout import read_out
from priorbench.training.checkpoint import Keeper
from priorbench.training.model import snapshot
from priorbench.training.optimiser import Adam
from priorbench.training.parallel import Ranks
from priorbench.training.progress import Epoch, Outcome, Report, Row
from priorbench.training.step import EDGES_AT_ONCE, parts_of, share_of
from priorbench.training.stepper import stepper_for
from priorbench.training.store import Store

ORDER, CORRUPTION, VALIDATION = 1, 2, 3
AGREE_EVERY = 10  # steps after which several processes ask each other whether to stop or to save
LOOK_EVERY = 100  # steps on a GPU between two looks whether all is finite: each waits for the device


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


class Loop:
    """One training: optimise ``model`` on the first store for ``steps`` steps, validating on the second every epoch.

    ``steps`` may end in the middle of an epoch; that last part is validated as well.  ``report`` gets one row per
    epoch, row 0 before any step.  A loss or gradient norm that is not finite ends the run, on a CPU at once, on a GPU
    after LOOK_EVERY steps at most, and is said in ``Outcome.diverged``.  With a ``keeper``, the training saves itself
    and goes on from what it finds saved; when ``stop`` says so, it saves and raises :class:`Interrupted`.
    """

    def __init__(
        self,
        model: Backbone,
        task: Task,
        stores: tuple[Store, Store],
        training: Training,
        steps: int,
        seed: int,
        report: Report,
        *,
        keeper: Keeper | None = None,
        stop: Stop | None = None,
        ranks: Ranks | None = None,
        gpu: GPU | None = None,
    ) -> None:
        self.model, self.task, self.training, self.seed = model, task, training, seed
        self.store, self.validation_store = stores
        self.steps, self.report = steps, report
        self.keeper, self.stop, self.ranks = keeper, stop, ranks
        self.optimiser = Adam(model.parameters(), training)
        self.stepper = stepper_for(model, task, self.store, self.optimiser, training, gpu or GPU(), ranks)
        self.per_epoch = steps_per_epoch(len(self.store), training.batch_size)
        self.outcome = Outcome(snapshot(model), planned_steps=steps)
        self.epoch = self._begun(1)
        self.restored: str | bool = False  # or what was wrong with the checkpoint
        found = keeper.restore(model, self.optimiser) if keeper else None
        if isinstance(found, str):
            self.restored = found
        elif found is not None:
            self.outcome, self.epoch = found
            self.outcome.attempts += 1
            self.stepper.shape = self.outcome.shape
            self.restored = True
        if ranks and not ranks.agree(self.outcome.steps + (0 if self.restored is True else -1)):
            raise PriorbenchError("the processes of this run see different checkpoints; run it again")

    def run(self) -> Outcome:
        """Train to the end."""
        outcome = self.outcome
        if not outcome.rows:
            outcome.best = {"epoch": 0, "step": 0, "seconds": 0.0, **self._validated()}
            outcome.rows = [outcome.best]
            self.report(outcome.best)
        epochs = math.ceil(self.steps / self.per_epoch)
        while not outcome.diverged and self.epoch.number <= epochs:
            self._pass()
            row, diverged = self._summary()
            # Before the pass is counted: when asked to stop here, it is saved as it stands after its last step.
            validated = {} if diverged else self._validated()
            outcome.seconds, outcome.diverged = row["seconds"], diverged
            outcome.structure_steps += self.epoch.structures
            if not diverged:
                self._judge(row | validated)
            self.epoch = self._begun(self.epoch.number + 1)
        return outcome

    def _begun(self, number: int) -> Epoch:
        return Epoch(number, generator(self.seed, CORRUPTION, number))

    def _pass(self) -> None:
        """The rest of the pass under way, or of the steps."""
        epoch, outcome, training = self.epoch, self.outcome, self.training
        self.model.train()
        batches = list(_batches(self.store, training.batch_size, self.seed, epoch.number))
        started = time.perf_counter()
        left = batches[epoch.batches :][: self.steps - outcome.steps]
        for structures, following in zip(left, [*left[1:], None], strict=False):
            rate = cosine(outcome.steps, self.steps, training.learning_rate, training.final_learning_rate)
            value, norm = self.stepper.take(structures, following, epoch.draws, rate)
            epoch.losses.append(value * len(structures))
            epoch.norms.append(norm)
            epoch.learning_rate = rate
            epoch.structures += len(structures)
            epoch.batches += 1
            outcome.steps += 1
            if self._lost(value, norm):
                break
            if self.keeper is not None and self._shall_save():
                now = time.perf_counter()
                epoch.seconds += now - started
                self._save()
                started = time.perf_counter()
        if epoch.losses:
            epoch.losses[-1].item()  # waits for the device
        epoch.seconds += time.perf_counter() - started

    def _lost(self, value: Tensor, norm: Tensor) -> bool:
        """Whether to end the pass because a loss or gradient is not finite; every process sees the same ones."""
        epoch = self.epoch
        if not value.is_cuda:
            return not (math.isfinite(value) and math.isfinite(norm))
        if epoch.batches % LOOK_EVERY:
            return False
        recent = torch.stack(epoch.losses[-LOOK_EVERY:] + epoch.norms[-LOOK_EVERY:])
        return not bool(torch.isfinite(recent).all())

    def _shall_save(self) -> bool:
        """Now, between two steps: asked to stop, at the end, or long after the last time."""
        keeper, last = self.keeper, self.outcome.steps == self.steps
        assert keeper is not None
        if self.ranks is None:
            return last or bool(self.stop) or keeper.due()
        if not last and self.outcome.steps % AGREE_EVERY:
            return False
        return self.ranks.any(last or bool(self.stop) or keeper.due())

    def _save(self) -> None:
        assert self.keeper is not None
        self.outcome.shape = self.stepper.shape
        self.keeper.save(self.model, self.optimiser, self.outcome, self.epoch)
        if self._asked():
            raise Interrupted(
                f"epoch {self.epoch.number}, step {self.outcome.steps} of {self.steps} is saved; run the same command "
                "to go on"
            )

    def _asked(self) -> bool:
        """Whether one of the processes was asked to stop."""
        return self.ranks.any(bool(self.stop)) if self.ranks else bool(self.stop)

    def _summary(self) -> tuple[Row, str | None]:
        """The row of the pass that has ended, and the first batch whose loss or gradient was not finite.

        The weights kept are those of an earlier epoch then.
        """
        epoch, outcome, diverged = self.epoch, self.outcome, None
        losses, norms = torch.stack(epoch.losses), torch.stack(epoch.norms)
        mean, largest = float(losses.double().sum()) / epoch.structures, float(norms.max())
        bad = (~(torch.isfinite(losses) & torch.isfinite(norms))).nonzero()
        if len(bad):
            first, size = int(bad[0]), self.training.batch_size
            loss_there = float(losses[first]) / min(size, len(self.store) - first * size)
            where = f"epoch {epoch.number}, batch {first + 1} of {self.per_epoch}"
            diverged = f"{where}: loss {loss_there:.4g}, gradient norm {float(norms[first]):.4g}"
        row = {
            "epoch": epoch.number,
            "step": outcome.steps,
            "seconds": outcome.seconds + epoch.seconds,
            "learning_rate": epoch.learning_rate,
            "train_loss": mean,
            "grad_norm": largest,
            "structures_per_s": epoch.structures / epoch.seconds,
        }
        return row, diverged

    def _judge(self, row: Row) -> None:
        """Record a validated epoch and keep its weights where they are the ones to keep."""
        outcome = self.outcome
        outcome.rows.append(row)
        if not math.isfinite(row["score"]):
            outcome.diverged = (
                f"epoch {row['epoch']}, validation: loss {row['val_loss']:.4g}; largest gradient norm of the epoch "
                f"{row['grad_norm']:.4g}"
            )
            return
        last = self.training.checkpoint == "last"
        if last or row["score"] < outcome.best["score"] or outcome.best["epoch"] == 0:
            outcome.state, outcome.best = snapshot(self.model), row
        self.report({**row, "eta": outcome.seconds / outcome.steps * (self.steps - outcome.steps)})

    def _validated(self) -> Row:
        started = time.perf_counter()
        model, store = self.model, self.validation_store
        row = validate(model, self.task, store, self.training, self.seed, self.ranks, self._between)
        self.outcome.validation_seconds += time.perf_counter() - started
        return row

    def _between(self) -> None:
        """Between two batches of a validation: asked to stop, save what was done before it."""
        if self.keeper is not None and self._asked():
            if self.outcome.rows:
                self._save()
            raise Interrupted("nothing was done yet; run the same command again")


def validate(
    model: Backbone,
    task: Task,
    store: Store,
    training: Training,
    seed: int,
    ranks: Ranks | None = None,
    between: Callable[[], None] | None = None,
) -> Row:
    """Validation loss with fixed draws, and the RMSEs where the task reports squared errors (scaled units).

    ``score`` is what the best checkpoint is chosen by: the force RMSE where there is one, else the loss.
    """
    model.eval()
    sums: dict[str, Tensor] = {}
    counts: dict[str, int] = {}
    draws = generator(seed, VALIDATION)
    with torch.no_grad():
        for structures in torch.arange(len(store), device=store.positions.device).split(training.batch_size):
            if between is not None:
                between()
            example = task.corrupt(store.batch(structures), draws)
            for name, count in task.counts(example).items():
                counts[name] = counts.get(name, 0) + count
            own = share_of(example, ranks) if ranks else example
            for part in parts_of(own, EDGES_AT_ONCE) if own else ():
                for name, total in task.terms(read_out(model, task, part.graph), part).items():
                    sums[name] = sums.get(name, 0) + total.double()
    if ranks:
        sums = ranks.sums(sums, counts, store.positions.device)
    row: Row = {"val_loss": float(loss(task, sums, counts))}
    for name in ("force", "energy"):
        if f"{name}_squared" in sums:
            key = f"{name}_squared"
            row[f"val_{name}_rmse"] = math.sqrt(float(sums[key]) / counts[key])
    score = float(row["val_force_rmse"] if "val_force_rmse" in row else row["val_loss"])
    row["score"] = score if all(math.isfinite(value) for value in row.values()) else math.inf
    return row


def _batches(store: Store, size: int, seed: int, epoch: int) -> Iterator[Tensor]:
    order = torch.randperm(len(store), generator=generator(seed, ORDER, epoch))
    yield from order.to(store.positions.device).split(size)
