"""Batches filled up to one size, for engines that want every step to have the same shapes.

What is added are atoms of structures of their own, with edges to images of themselves: they meet no other atom, a
BatchNorm passes over them, and their predictions are set to their targets, so that they have no share in loss or
gradient (:func:`only_real`).  Everything else is the example's, in its order.
"""

from dataclasses import astuple, dataclass, replace
from typing import Self

import torch
from torch import Tensor

from priorbench.backbones.base import Prediction
from priorbench.graph import Graph, real_structures
from priorbench.tasks.base import Example

SPARE = 1.05  # of the first example: a batch that needs more costs a new capture
STEP = 64  # sizes are multiples


@dataclass(frozen=True)
class Capacity:
    """What a padded example holds; every added structure has an atom at least."""

    structures: int
    atoms: int
    edges: int
    selected: int

    @classmethod
    def of(cls, example: Example, structures: int) -> Self:
        """With room for ``structures`` and one more, and for somewhat larger examples than this one."""
        needed = _needed(example, structures + 1)
        return cls(structures + 1, *(STEP * -int(-SPARE * size // STEP) for size in needed))

    def holds(self, example: Example) -> bool:
        """Whether the example fits."""
        if example.graph.structures >= self.structures:
            return False
        sizes = (self.atoms, self.edges, self.selected)
        return all(n <= size for n, size in zip(_needed(example, self.structures), sizes, strict=True))

    def or_more(self, example: Example) -> Self:
        """With room for this example too."""
        other = self.of(example, max(example.graph.structures, self.structures - 1))
        pairs = zip(astuple(self), astuple(other), strict=True)
        return type(self)(*(max(pair) for pair in pairs))


def _needed(example: Example, structures: int) -> tuple[int, int, int]:
    """Atoms, edges and selected atoms of the example filled up to so many structures."""
    graph, selected = example.graph, example.selected
    added = max(structures - graph.structures, 1)
    return graph.atoms + added, len(graph.senders), 0 if selected is None else len(selected)


def padded(example: Example, capacity: Capacity) -> Example:
    """The example filled up to the ``capacity``, which holds it."""
    graph = example.graph
    atoms, edges, structures = graph.atoms, len(graph.senders), graph.structures
    device = graph.positions.device
    more_atoms, more_edges, more = capacity.atoms - atoms, capacity.edges - edges, capacity.structures - structures
    numbers = torch.arange(more_atoms, device=device)
    # Spread over all added atoms: sums at one of them alone would wait for each other.
    at = atoms + torch.arange(more_edges, device=device) * more_atoms // max(more_edges, 1)
    along_x = graph.positions.new_tensor([1.0, 0.0, 0.0])

    def filled(tensor: Tensor, count: int, value: float | Tensor = 0) -> Tensor:
        rest = tensor.new_empty(count, *tensor.shape[1:])
        rest.copy_(value) if isinstance(value, Tensor) else rest.fill_(value)
        return torch.cat([tensor, rest])

    return replace(
        example,
        graph=Graph(
            atomic_numbers=filled(graph.atomic_numbers, more_atoms, 1),
            positions=filled(graph.positions, more_atoms),
            senders=torch.cat([graph.senders, at]),
            receivers=torch.cat([graph.receivers, at]),
            shifts=filled(graph.shifts, more_edges, along_x),
            structure=torch.cat([graph.structure, structures + numbers.clamp(max=more - 1)]),
            cells=filled(graph.cells, more, torch.eye(3, dtype=graph.cells.dtype, device=device)),
            pbc=filled(graph.pbc, more),
            lost=None if graph.lost is None else filled(graph.lost, more_atoms),
            real=torch.arange(capacity.atoms, device=device) < atoms,
        ),
        vectors=filled(example.vectors, more_atoms, along_x),  # not zero, of which there is no cosine
        selected=None if example.selected is None else _selected(example.selected, capacity, atoms),
        energies=None if example.energies is None else filled(example.energies, more),
    )


def _selected(selected: Tensor, capacity: Capacity, atoms: int) -> Tensor:
    """Spread over the added atoms too, in ascending order."""
    count = capacity.selected - len(selected)
    spread = torch.arange(count, device=selected.device) * (capacity.atoms - atoms) // max(count, 1)
    return torch.cat([selected, atoms + spread])


def only_real(prediction: Prediction, example: Example) -> Prediction:
    """The prediction of a padded example with the targets in place of what is predicted for what was added."""
    real = example.graph.real
    assert real is not None
    vectors = torch.where(real[:, None], prediction.vectors, example.vectors)
    if example.energies is None:
        return Prediction(prediction.energies, vectors)
    return Prediction(torch.where(real_structures(example.graph), prediction.energies, example.energies), vectors)
