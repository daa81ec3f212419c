"""Masked pretraining (arXiv 2402.15921): remove hydrogens, predict where they were.

Rule ``bonded``, for any molecule: a site is a heavy atom of an intact molecule with hydrogens bonded to it.  Of each
structure's sites, floor(ratio · n) are drawn, and each loses one hydrogen, drawn at random, together with its edges.
The bonded neighbourhood of the site, that is the heavy atom and every atom left that is bonded to it, is told so by
the mask embedding, and each of these atoms has as target the minimum-image vector to the removed hydrogen: to the
nearest one where the neighbourhoods of several sites overlap.  In water a site is an oxygen, and the atoms left are
the oxygen and its other hydrogen.  Atoms outside intact molecules are left alone, and a structure with too few sites
is visited without a loss.

Rule ``released``, as the paper's released code treats rMD17: every hydrogen is removed with probability ratio; the
target of every atom left is its own position minus that of the farthest removed hydrogen (the sign is opposite), and
there is no mask embedding.  A structure that happens to lose nothing carries no loss at that visit.

The loss is one minus the cosine similarity, averaged over the atoms with a target.
"""

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from priorbench.backbones.base import Prediction
from priorbench.config import Strict
from priorbench.errors import PriorbenchError
from priorbench.graph import minimum_image, without_atoms
from priorbench.tasks.base import Counts, Example, Terms
from priorbench.training.store import Batch, Store

HYDROGEN, OXYGEN = 1, 8


class MaskingOptions(Strict):
    """How much is hidden, and what is asked."""

    ratio: float = Field(
        0.5,
        gt=0,
        le=1,
        description="fraction of a structure's sites (in water: molecules) that lose a hydrogen; "
        "with rule released the probability for every hydrogen",
    )
    rule: Literal["bonded", "released"] = Field(
        "bonded",
        description="bonded: atoms around the site point to the lost hydrogen; released: all atoms away from the "
        "farthest lost one, as the paper's code does for rMD17",
    )


class Masking:
    """Predict the direction to a removed hydrogen."""

    Options = MaskingOptions

    def __init__(self, options: MaskingOptions) -> None:
        self.ratio = options.ratio
        self.rule = options.rule
        self.weights = {"cosine": 1.0}

    def check(self, store: Store) -> int:
        """Structures in which nothing is ever masked: they have too few sites, or for the rule released no hydrogen."""
        counts = self._maskable(store)
        idle = counts < 1 if self.rule == "released" else self._drawn(counts) < 1
        if idle.all():
            most = int(counts.max())
            advice = f"raise ratio to at least {1 / most:.3g}" if most else "take other structures"
            raise PriorbenchError(
                f"ratio {self.ratio:g} would mask nothing: no structure has more than {most} heavy atoms that bear "
                f"hydrogen in intact molecules; {advice}"
            )
        return int(idle.sum())

    def _maskable(self, store: Store) -> Tensor:
        """Sites of each structure, or for the rule released hydrogens, (S,)."""
        if self.rule == "released":
            items = (store.atomic_numbers == HYDROGEN).nonzero().squeeze(1)
        else:
            items = torch.unique(bonded_hydrogens(store.atomic_numbers, store.molecules, store.all_bonds())[1])
        return torch.bincount(torch.searchsorted(store.atom_offsets, items, right=True) - 1, minlength=len(store))

    def corrupt(self, batch: Batch, generator: torch.Generator) -> Example:
        """Remove hydrogens and their edges, and set the targets of the atoms left."""
        if self.rule == "released":
            return self._corrupt_as_released(batch, generator)
        site_of, removed = self._draw(batch, generator)
        graph = batch.graph
        hidden = torch.zeros(graph.atoms, dtype=torch.bool, device=removed.device)
        hidden[removed] = True
        member, gone = _neighbourhoods(batch, site_of, removed, hidden)
        owner = graph.structure[member]
        offsets = minimum_image(graph.positions[gone] - graph.positions[member], graph.cells[owner], graph.pbc[owner])
        nearest = _nearest_of_each(member, offsets, graph.atoms)
        vectors = torch.zeros_like(graph.positions)
        vectors[member[nearest]] = offsets[nearest]
        left = torch.zeros_like(hidden)
        left[member] = True
        kept = ~hidden
        selected = left[kept].nonzero().squeeze(1)
        return Example(without_atoms(graph, hidden, lost=left.long()), vectors[kept], selected)

    def _corrupt_as_released(self, batch: Batch, generator: torch.Generator) -> Example:
        graph = batch.graph
        draw = torch.rand(graph.atoms, generator=generator, device=generator.device).to(graph.positions.device)
        hidden = (graph.atomic_numbers == HYDROGEN) & (draw < self.ratio)
        vectors = torch.zeros_like(graph.positions)
        left = torch.zeros_like(hidden)
        for s in range(graph.structures):
            own = graph.structure == s
            there, gone = (own & ~hidden).nonzero().squeeze(1), (own & hidden).nonzero().squeeze(1)
            if len(gone) == 0 or len(there) == 0:
                continue
            pairs = graph.positions[there, None] - graph.positions[None, gone]
            many = len(there) * len(gone)
            cells, pbc = graph.cells[s].expand(many, 3, 3), graph.pbc[s].expand(many, 3)
            pairs = minimum_image(pairs.reshape(-1, 3), cells, pbc).reshape(pairs.shape)
            farthest = pairs.square().sum(2).argmax(1)
            vectors[there] = pairs[torch.arange(len(there), device=there.device), farthest]
            left[there] = True
        kept = ~hidden
        return Example(without_atoms(graph, hidden), vectors[kept], left[kept].nonzero().squeeze(1))

    def terms(self, prediction: Prediction, example: Example) -> Terms:
        """One minus the cosine similarity, summed over the atoms left of masked molecules."""
        assert example.selected is not None
        predicted, target = prediction.vectors[example.selected], example.vectors[example.selected]
        cosine = torch.nn.functional.cosine_similarity(predicted, target, dim=1)
        return {"cosine": (1 - cosine).sum()}

    def counts(self, example: Example) -> Counts:
        """Atoms left of masked molecules."""
        assert example.selected is not None
        return {"cosine": len(example.selected)}

    def floor(self, store: Store, readout: Literal["gradient", "vector"]) -> float | None:
        """Least loss of an equivariant prediction that sees each molecule alone, from the molecules' own geometry.

        Known for the rule bonded where every intact molecule is water; None elsewhere.

        The removed hydrogen lies anywhere on a cone around the bond that is left, so the best prediction points along
        that bond, either way.  A vector head chooses for each atom; −∂E/∂r of the pair is opposite on its two atoms.
        """
        if self.rule == "released" or not _all_water(store):
            return None
        at_heavy, at_hydrogen = _cone_cosines(store)
        if readout == "vector":
            return 1 - (abs(at_heavy) + abs(at_hydrogen)) / 2
        return 1 - abs(at_heavy + at_hydrogen) / 2

    def _drawn(self, counts: Tensor) -> Tensor:
        """How many of ``counts`` sites lose a hydrogen, ⌊ratio · count⌋: of 100 at 0.29 not 28, as floats have it."""
        return (self.ratio * counts.double() + 1e-9).long()

    def _draw(self, batch: Batch, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """The heavy atoms (K,) that lose a hydrogen, and the hydrogen (K,) that each loses."""
        graph = batch.graph
        device, n = graph.positions.device, graph.atoms
        score = torch.rand(n, generator=generator, device=generator.device).to(device)
        rank = torch.rand(n, generator=generator, device=generator.device).to(device)
        hydrogens, heavy = bonded_hydrogens(graph.atomic_numbers, batch.molecules, batch.bonds)
        sites = torch.unique(heavy)
        owner = graph.structure[sites]
        counts = torch.bincount(owner, minlength=graph.structures)
        first_atom = torch.bincount(graph.structure, minlength=graph.structures).cumsum(0)
        first_atom = torch.cat([first_atom.new_zeros(1), first_atom[:-1]])
        place = torch.arange(len(sites), device=device) - (counts.cumsum(0) - counts)[owner]
        # A site's rank goes by its place among its structure's sites, so that the order of the atoms hardly matters.
        order = torch.argsort(rank[first_atom[owner] + place], stable=True)
        order = order[torch.argsort(owner[order], stable=True)]
        drawn = order[place < self._drawn(counts)[owner]]
        chosen = torch.zeros(n, dtype=torch.bool, device=device)
        chosen[sites[drawn]] = True
        # Of a chosen site's hydrogens, the one with the largest score goes.
        hydrogens, heavy = hydrogens[chosen[heavy]], heavy[chosen[heavy]]
        best = torch.full((n,), -1.0, device=device, dtype=score.dtype)
        best = best.scatter_reduce(0, heavy, score[hydrogens], "amax")
        winners = score[hydrogens] == best[heavy]
        return heavy[winners], hydrogens[winners]


def bonded_hydrogens(atomic_numbers: Tensor, molecules: Tensor, bonds: Tensor) -> tuple[Tensor, Tensor]:
    """Every hydrogen (K,) of an intact molecule and the heavy atom (K,) it is bonded to.

    ``atomic_numbers`` and ``molecules`` (N,), −1 in no intact molecule; ``bonds`` (B, 2).
    """
    ends = torch.cat([bonds, bonds.flip(1)])
    first, second = ends[:, 0], ends[:, 1]
    wanted = (atomic_numbers[first] == HYDROGEN) & (atomic_numbers[second] != HYDROGEN) & (molecules[first] >= 0)
    return first[wanted], second[wanted]


def _neighbourhoods(batch: Batch, sites: Tensor, removed: Tensor, hidden: Tensor) -> tuple[Tensor, Tensor]:
    """Atoms left in the bonded neighbourhood of each site, with the hydrogen that the site lost; (M,) each."""
    gone = torch.full((batch.graph.atoms,), -1, dtype=torch.long, device=sites.device)
    gone[sites] = removed
    ends = torch.cat([batch.bonds, batch.bonds.flip(1)])
    ends = ends[(gone[ends[:, 0]] >= 0) & ~hidden[ends[:, 1]]]
    return torch.cat([sites, ends[:, 1]]), torch.cat([removed, gone[ends[:, 0]]])


def _nearest_of_each(atoms: Tensor, offsets: Tensor, count: int) -> Tensor:
    """Which of the ``offsets`` (M, 3) are the shortest of their atom, of equal ones the first, (M,) bool."""
    lengths = offsets.square().sum(1)
    shortest = torch.full((count,), torch.inf, dtype=lengths.dtype, device=lengths.device)
    ties = (lengths == shortest.scatter_reduce(0, atoms, lengths, "amin")[atoms]).nonzero().squeeze(1)
    first = torch.full((count,), len(atoms), device=atoms.device).scatter_reduce(0, atoms[ties], ties, "amin")
    nearest = torch.zeros(len(atoms), dtype=torch.bool, device=atoms.device)
    nearest[ties] = first[atoms[ties]] == ties
    return nearest


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
