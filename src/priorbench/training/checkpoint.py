"""Checkpoints: a training that was cut goes on as if it had not been.

One file beside a run's outputs holds everything that the rest of the training depends on: weights, optimiser, the
kept weights, what was recorded, and within an epoch the number of its batches done and the state of its random draws.
Everything else follows from seed and epoch number.  The file is no output of the workflow, which deletes the outputs
of a job that failed; it goes when the outputs are written.
"""

import math
import os
import time
from dataclasses import fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from priorbench.backbones.base import Backbone
from priorbench.errors import PriorbenchError
from priorbench.lock import Lease
from priorbench.runs import CHECKPOINT
from priorbench.tensors import read_tensors, write_tensors
from priorbench.training.model import State, checksum, snapshot
from priorbench.training.optimiser import Adam
from priorbench.training.progress import Epoch, Outcome, Row

REJECTED = "checkpoint-rejected.safetensors"  # the last one that did not fit; nobody reads it
INTERVAL = 60.0  # s between two, unless the environment says otherwise
VARIABLE = "PRIORBENCH_CHECKPOINT_SECONDS"
_MOMENTS = ("first", "second", "steps")


class Keeper:
    """Keeps the checkpoint of one run; ``identity`` is what the run must share with a checkpoint to go on from it.

    Of several processes that train together, the one that has the ``lease`` of the folder writes.
    """

    def __init__(self, folder: Path, identity: str, lease: Lease | None) -> None:
        self.path = folder / CHECKPOINT
        self.identity = identity
        self.lease = lease
        self.interval = _interval()
        self.saved = time.monotonic()

    def due(self) -> bool:
        """Whether the last one is old."""
        return time.monotonic() - self.saved >= self.interval

    def save(self, model: Backbone, optimiser: Adam, outcome: Outcome, epoch: Epoch) -> None:
        """Replace the checkpoint by one of now, between two steps."""
        self.saved = time.monotonic()
        if self.lease is None:
            return
        self.lease.check()
        tensors = {f"model/{name}": tensor for name, tensor in snapshot(model).items()}
        tensors |= {f"best/{name}": tensor for name, tensor in outcome.state.items()}
        tensors |= {f"adam/{name}": tensor for name, tensor in _moments(optimiser).items()}
        tensors |= {name: torch.stack(values).cpu() for name, values in _lists(epoch).items() if values}
        tensors["draws"] = epoch.draws.get_state()
        record = {f.name: getattr(outcome, f.name) for f in fields(Outcome) if f.name not in ("state", "rows", "best")}
        metadata = {
            "identity": self.identity,
            "outcome": record,
            "rows": [_written(row) for row in outcome.rows],
            "best": outcome.rows.index(outcome.best),
            "epoch": {f.name: getattr(epoch, f.name) for f in fields(Epoch) if f.name not in _OWN},
            "checksum": checksum(tensors),
        }
        write_tensors(self.path, {name: tensor.numpy() for name, tensor in tensors.items()}, metadata)

    def restore(self, model: Backbone, optimiser: Adam) -> tuple[Outcome, Epoch] | str | None:
        """Set weights and optimiser to the checkpoint's and return where it was; what is wrong with it; None for none.

        A file that is damaged or of another run is no reason to fail: the training starts again.
        """
        if not self.path.exists():
            return None
        with self.path.open("rb") as file:  # a file system that fails is no damage: the error ends this attempt
            while file.read(1 << 20):
                pass
        problem = self._restored(model, optimiser)
        if isinstance(problem, str) and self.lease is not None:
            self.path.replace(self.path.with_name(REJECTED))
        return problem

    def _restored(self, model: Backbone, optimiser: Adam) -> tuple[Outcome, Epoch] | str:
        try:
            arrays, metadata = read_tensors(self.path)
            tensors = {name: torch.from_numpy(array) for name, array in arrays.items()}
            if metadata["identity"] != self.identity:
                return "is of other settings, data or versions"
            if metadata["checksum"] != checksum(tensors):
                return "is damaged"
            return _restored(tensors, metadata, model, optimiser)
        except (PriorbenchError, KeyError, ValueError, TypeError, RuntimeError, IndexError):
            return "is damaged"


def _interval() -> float:
    text = os.environ.get(VARIABLE)
    try:
        value = INTERVAL if text is None else float(text)
    except ValueError:
        value = -1.0
    if not value >= 0:
        raise PriorbenchError(f"{VARIABLE}: {text!r} is no number of seconds")
    return value


_OWN = ("draws", "losses", "norms")


def _lists(epoch: Epoch) -> dict[str, list[Tensor]]:
    return {"losses": epoch.losses, "norms": epoch.norms}


def _moments(optimiser: Adam) -> State:
    return {
        f"{index}/{name}": tensor.detach().cpu()
        for index, state in enumerate(optimiser.state)
        for name, tensor in zip(_MOMENTS, state, strict=True)
    }


def _restored(
    tensors: dict[str, Tensor], metadata: dict[str, Any], model: Backbone, optimiser: Adam
) -> tuple[Outcome, Epoch]:
    weights = _below("model", tensors)
    device = optimiser.parameters[0].device
    rows = [_read(row) for row in metadata["rows"]]
    outcome = Outcome(_below("best", tensors), rows, rows[metadata["best"]], **metadata["outcome"])
    epoch = Epoch(draws=torch.Generator(), **metadata["epoch"])
    epoch.draws.set_state(tensors["draws"])
    for name, values in _lists(epoch).items():
        values += list(tensors[name].to(device).unbind()) if name in tensors else []
    moments = _below("adam", tensors)
    expected = {name: (tensor.shape, tensor.dtype) for name, tensor in _moments(optimiser).items()}
    if expected != {name: (tensor.shape, tensor.dtype) for name, tensor in moments.items()}:
        raise ValueError("another optimiser")
    # Last, so that nothing is changed by a file that turns out to be damaged.
    model.load_state_dict(weights, strict=True)
    with torch.no_grad():
        for index, state in enumerate(optimiser.state):
            for name, tensor in zip(_MOMENTS, state, strict=True):
                tensor.copy_(moments[f"{index}/{name}"])
    return outcome, epoch


def _below(folder: str, tensors: dict[str, Tensor]) -> State:
    return {name.removeprefix(f"{folder}/"): t for name, t in tensors.items() if name.startswith(f"{folder}/")}


def _written(row: Row) -> Row:
    """JSON has no infinity; every other number survives it exactly."""
    return {k: str(v) if isinstance(v, float) and not math.isfinite(v) else v for k, v in row.items()}


def _read(row: Row) -> Row:
    return {key: float(value) if isinstance(value, str) else value for key, value in row.items()}
