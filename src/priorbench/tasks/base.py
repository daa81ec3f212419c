"""What a task is: {corrupt, readout, loss} on a batch.

``corrupt`` turns a batch into what the network sees and what it must predict; ``terms`` sums the errors of a
prediction, ``counts`` says how many there are.  The loss is Σ weight · sum / count over the terms: the loss of a whole
split does not depend on how it was cut into batches, nor the gradient of a batch on how that was cut into parts.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal, Protocol

import torch
from torch import Tensor

from priorbench.backbones.base import Prediction
from priorbench.config import Strict
from priorbench.graph import Graph
from priorbench.training.store import Batch, Store

Readout = Literal["own", "gradient", "coordinates"]  # see readout.py
Terms = dict[str, Tensor]  # name → sum of errors
Counts = dict[str, int]  # name → number of errors


@dataclass(frozen=True)
class Example:
    """What the network sees and what it must predict."""

    graph: Graph
    vectors: Tensor  # (N, 3) target of the vectors
    selected: Tensor | None = None  # (n,) atoms that carry a loss (masking_denoising: that point somewhere); None: all
    energies: Tensor | None = None  # (G,) target of the energies


class Task(Protocol):
    """A registered task, made from its validated options."""

    Options: ClassVar[type[Strict]]
    weights: dict[str, float]  # weight of each term in the loss; other terms are reported only
    readout: Readout = "own"  # how its vectors are read from a backbone
    reach: float = 0.0  # Å by which a batch's edges shall go beyond the cutoff, so that moved atoms find theirs

    def __init__(self, options: Strict) -> None: ...

    def check(self, store: Store) -> int:
        """Structures of the store that cannot carry a loss; where that is all, raise :class:`PriorbenchError`."""
        ...

    def corrupt(self, batch: Batch, generator: torch.Generator) -> Example:
        """Draw the corruption of a batch; every visit draws anew."""
        ...

    def terms(self, prediction: Prediction, example: Example) -> Terms:
        """Errors of the prediction, summed."""
        ...

    def counts(self, example: Example) -> Counts:
        """Number of errors that each of the ``terms`` sums, known before any prediction."""
        ...

    def floor(self, store: Store, readout: Literal["gradient", "vector"]) -> float | None:
        """Loss below which the network must have read its neighbours, where that is known."""
        ...


def loss(task: Task, terms: Terms, counts: Mapping[str, int] | Mapping[str, Tensor]) -> Tensor:
    """Σ weight · sum / count over the weighted terms; 0 where a batch has nothing to predict.

    With the counts of a whole batch and the terms of a part of it, that part's share of the batch's loss.  Counts that
    are tensors are one or more.
    """
    parts = [weight * terms[name] / _some(counts[name]) for name, weight in task.weights.items()]
    return torch.stack(parts).sum()


def _some(count: int | Tensor) -> int | Tensor:
    return count if isinstance(count, Tensor) else max(count, 1)
