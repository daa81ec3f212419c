"""The masking loss below which a network must have read its neighbours, from the molecules' own geometry."""

from typing import Literal

import torch
from torch import Tensor

from priorbench.graph import minimum_image
from priorbench.training.store import Store

OXYGEN, HYDROGEN = 8, 1


def context_free_loss(store: Store, vectors: Literal["gradient", "vector"]) -> float | None:
    """Least cosine loss of an equivariant prediction that sees each molecule alone; None unless all are water.

    The removed hydrogen lies anywhere on a cone around the bond that is left, so the best prediction points along
    that bond, either way.  A vector head chooses for each atom; −∂E/∂r of the pair is opposite on its two atoms.
    """
    if not _all_water(store):
        return None
    at_heavy, at_hydrogen = _cone_cosines(store)
    if vectors == "vector":
        return 1 - (abs(at_heavy) + abs(at_hydrogen)) / 2
    return 1 - abs(at_heavy + at_hydrogen) / 2


def _all_water(store: Store) -> bool:
    """Whether every intact molecule is one oxygen and two hydrogens."""
    intact = store.molecules >= 0
    numbers = store.atomic_numbers[intact]
    oxygens, hydrogens = int((numbers == OXYGEN).sum()), int((numbers == HYDROGEN).sum())
    molecules = sum(int(m.max()) + 1 for m in store.molecules.split(store.atom_offsets.diff().tolist()))
    return molecules > 0 and oxygens == molecules and hydrogens == 2 * molecules and len(numbers) == 3 * molecules


def _cone_cosines(store: Store) -> tuple[float, float]:
    """Mean cosine between the direction to the removed hydrogen and the bond left, at the oxygen and the hydrogen.

    Each is taken along the bond towards the other atom's side that a repulsion points away from (O → H at the oxygen,
    H → O at the hydrogen), so that −∂E/∂r of the isolated pair has the same sign in both.
    """
    batch = store.batch(torch.arange(len(store), device=store.positions.device))
    graph, molecules = batch.graph, batch.molecules
    intact = (molecules >= 0).nonzero().squeeze(1)
    order = intact[torch.argsort(graph.atomic_numbers[intact], stable=True)]
    triples = order[torch.argsort(molecules[order], stable=True)].reshape(-1, 3)  # two hydrogens, then the oxygen
    owner = graph.structure[triples[:, 0]]

    def between(a: Tensor, b: Tensor) -> Tensor:
        vectors = minimum_image(graph.positions[b] - graph.positions[a], graph.cells[owner], graph.pbc[owner])
        return torch.nn.functional.normalize(vectors, dim=1)

    at_heavy, at_hydrogen = [], []
    for left, gone in ((0, 1), (1, 0)):
        h_left, h_gone, oxygen = triples[:, left], triples[:, gone], triples[:, 2]
        bond = between(oxygen, h_left)
        at_heavy.append((bond * between(oxygen, h_gone)).sum(1).mean())
        at_hydrogen.append((-bond * between(h_left, h_gone)).sum(1).mean())
    return float(torch.stack(at_heavy).mean()), float(torch.stack(at_hydrogen).mean())
