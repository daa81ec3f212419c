"""Masked pretraining (arXiv 2402.15921): remove a hydrogen from some molecules, predict where it was.

Of each structure's intact molecules, floor(ratio · n) are drawn; one hydrogen of each, drawn at random, is removed
from the graph together with its edges.  The atoms left of a masked molecule are told so by the mask embedding, and
each has as target the minimum-image vector to the removed hydrogen.  The loss is one minus the cosine similarity,
averaged over those atoms.
"""

from dataclasses import replace
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from priorbench.backbones.base import Prediction
from priorbench.config import Strict
from priorbench.errors import PriorbenchError
from priorbench.graph import Graph, minimum_image
from priorbench.tasks.base import Example, Terms
from priorbench.training.store import Batch, Store

HYDROGEN = 1


class MaskingOptions(Strict):
    """How much is hidden."""

    ratio: float = Field(0.5, gt=0, le=1, description="fraction of a structure's molecules that lose a hydrogen")


class Masking:
    """Predict the direction to a removed hydrogen."""

    Options = MaskingOptions

    def __init__(self, options: MaskingOptions) -> None:
        self.ratio = options.ratio
        self.weights = {"cosine": 1.0}

    def check(self, store: Store) -> None:
        """Every structure must have a molecule to mask."""
        counts = store.molecule_counts
        masked = (self.ratio * counts).long()
        if (masked < 1).any():
            n = int(counts[masked < 1][0])
            raise PriorbenchError(
                f"ratio {self.ratio:g} would mask no molecule in a structure with {n} intact molecules; "
                f"raise ratio to at least {1 / max(n, 1):.3g} or leave such structures out"
            )

    def corrupt(self, batch: Batch, generator: torch.Generator) -> Example:
        """Remove hydrogens and their edges; targets sit at the atoms left of each masked molecule."""
        removed_of = self._draw(batch, generator)
        graph, molecules = batch.graph, batch.molecules
        hidden = torch.zeros(graph.atoms, dtype=torch.bool, device=molecules.device)
        hidden[removed_of[removed_of >= 0]] = True
        removed = torch.where(molecules >= 0, removed_of[molecules.clamp(min=0)], -1)
        left = (removed >= 0) & ~hidden
        vectors = torch.zeros_like(graph.positions)
        owner = graph.structure[left]
        vectors[left] = minimum_image(
            graph.positions[removed[left]] - graph.positions[left], graph.cells[owner], graph.pbc[owner]
        )
        kept = ~hidden
        selected = left[kept].nonzero().squeeze(1)
        return Example(without_atoms(graph, hidden, lost=left.long()), vectors[kept], selected)

    def terms(self, prediction: Prediction, example: Example) -> Terms:
        """One minus the cosine similarity, summed over the atoms left of masked molecules."""
        assert example.selected is not None
        predicted, target = prediction.vectors[example.selected], example.vectors[example.selected]
        cosine = torch.nn.functional.cosine_similarity(predicted, target, dim=1)
        return {"cosine": ((1 - cosine).sum(), len(target))}

    def floor(self, store: Store, readout: Literal["gradient", "vector"]) -> float:
        """Least loss of an equivariant prediction that sees each molecule alone, from the molecules' own geometry.

        The removed hydrogen lies anywhere on a cone around the bond that is left, so the best prediction points along
        that bond, either way.  A vector head chooses for each atom; −∂E/∂r of the pair is opposite on its two atoms.
        """
        at_heavy, at_hydrogen = _cone_cosines(store)
        if readout == "vector":
            return 1 - (abs(at_heavy) + abs(at_hydrogen)) / 2
        return 1 - abs(at_heavy + at_hydrogen) / 2

    def _draw(self, batch: Batch, generator: torch.Generator) -> Tensor:
        """Atom that each molecule loses, by molecule number within the batch; −1 where it loses none."""
        graph, molecules = batch.graph, batch.molecules
        device, n = molecules.device, graph.atoms
        score = torch.rand(n, generator=generator, device=generator.device).to(device)
        rank = torch.rand(n, generator=generator, device=generator.device).to(device)
        intact = molecules >= 0
        # Molecules are numbered by their structure's first atom on: at most n of them.
        structure_of = torch.full((n,), -1, dtype=torch.long, device=device)
        structure_of[molecules[intact]] = graph.structure[intact]
        present = (structure_of >= 0).nonzero().squeeze(1)
        order = present[torch.argsort(rank[present], stable=True)]
        order = order[torch.argsort(structure_of[order], stable=True)]
        counts = torch.bincount(structure_of[order], minlength=graph.structures)
        place = torch.arange(len(order), device=device) - (counts.cumsum(0) - counts)[structure_of[order]]
        chosen = torch.zeros(n, dtype=torch.bool, device=device)
        chosen[order[place < (self.ratio * counts).long()[structure_of[order]]]] = True
        # Of a chosen molecule's hydrogens, the one with the largest score goes: last writer in ascending order.
        candidates = (intact & (graph.atomic_numbers == HYDROGEN)).nonzero().squeeze(1)
        candidates = candidates[chosen[molecules[candidates]]]
        best = torch.full((n,), -1.0, device=device, dtype=score.dtype)
        best = best.scatter_reduce(0, molecules[candidates], score[candidates], "amax")
        winners = candidates[score[candidates] == best[molecules[candidates]]]
        removed = torch.full((n,), -1, dtype=torch.long, device=device)
        removed[molecules[winners]] = winners
        return removed


def without_atoms(graph: Graph, hidden: Tensor, lost: Tensor | None = None) -> Graph:
    """The graph without the ``hidden`` (N,) atoms and their edges; ``lost`` (N,) is carried over to the atoms kept."""
    kept = ~hidden
    number = kept.long().cumsum(0) - 1
    edges = kept[graph.senders] & kept[graph.receivers]
    return replace(
        graph,
        atomic_numbers=graph.atomic_numbers[kept],
        positions=graph.positions[kept],
        senders=number[graph.senders[edges]],
        receivers=number[graph.receivers[edges]],
        shifts=graph.shifts[edges],
        structure=graph.structure[kept],
        lost=None if lost is None else lost[kept],
    )


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
