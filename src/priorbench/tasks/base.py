"""What a task is: {corrupt, readout, loss} on a batch.

``corrupt`` turns a batch into what the network sees and what it must predict; ``terms`` sums the errors of a
prediction.  The loss is Σ weight · sum / count over the terms, so that the loss of a whole split does not depend on
how it was cut into batches.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal, Protocol

import torch
from torch import Tensor

from priorbench.backbones.base import Prediction
from priorbench.config import Strict
from priorbench.graph import Graph
from priorbench.training.store import Batch, Store

Terms = dict[str, tuple[Tensor, int]]  # name → (sum of errors, number of errors)


@dataclass(frozen=True)
class Example:
    """What the network sees and what it must predict."""

    graph: Graph
    vectors: Tensor  # (N, 3) target of the vectors
    selected: Tensor | None = None  # (n,) atoms that carry a loss; None: all
    energies: Tensor | None = None  # (G,) target of the energies


class Task(Protocol):
    """A registered task, made from its validated options."""

    Options: ClassVar[type[Strict]]
    weights: dict[str, float]  # weight of each term in the loss; other terms are reported only

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

    def floor(self, store: Store, readout: Literal["gradient", "vector"]) -> float | None:
        """Loss below which the network must have read its neighbours, where that is known."""
        ...


def loss(task: Task, terms: Terms) -> Tensor:
    """Σ weight · sum / count over the weighted terms; 0 where a batch has nothing to predict."""
    parts = [weight * terms[name][0] / max(terms[name][1], 1) for name, weight in task.weights.items()]
    return torch.stack(parts).sum()
