"""Masked pretraining (arXiv 2402.15921): remove atoms, predict where they were.

Rule ``bonded``, for any molecule: a site is a heavy atom of an intact molecule with hydrogens bonded to it.  Of each
structure's sites, floor(ratio · n) are drawn, and each loses one of its atoms together with its edges: one of its
hydrogens drawn at random (``element`` hydrogen, the paper's), the heavy atom itself (heavy), or any of these with equal
probability (any).  The atoms left that were bonded to the removed one, and where it was a hydrogen all others bonded to
its site, are told so by the mask embedding, and each of them has as target the minimum-image vector to the removed
atom: to the nearest one where several are removed around it.  In water a site is an oxygen; the atoms left are the
oxygen and its other hydrogen, or the two hydrogens.  The same draws choose the same sites for every element.  Atoms
outside intact molecules are left alone, and a structure with too few sites is visited without a loss.

Rule ``released``, as the paper's released code treats rMD17: every hydrogen is removed with probability ratio; the
target of every atom left is its own position minus that of the farthest removed hydrogen (the sign is opposite), and
there is no mask embedding.  A structure that happens to lose nothing carries no loss at that visit.

The loss ``cosine``, the paper's, is one minus the cosine similarity, averaged over the atoms with a target; ``l1`` and
``l2`` are the mean absolute (Å) and the mean squared (Å²) error of the components of the vector.

``permute`` is a control: the atoms with a target in a structure get each other's, at random.  Masks, loss and head are
the same, and next to nothing is left to learn of where atoms lie.
"""

from dataclasses import replace
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from priorbench.backbones.base import Prediction
from priorbench.errors import PriorbenchError
from priorbench.graph import minimum_image, without_atoms
from priorbench.tasks.base import Counts, Example, Terms
from priorbench.tasks.masking_floor import context_free_loss
from priorbench.tasks.readout import ReadoutOptions, freedom
from priorbench.training.store import Batch, Store

HYDROGEN = 1
COMPONENTS = {"cosine": 1, "l1": 3, "l2": 3}  # errors of an atom


class MaskingOptions(ReadoutOptions):
    """What is hidden, and what is asked."""

    ratio: float = Field(
        0.5,
        gt=0,
        le=1,
        description="fraction of a structure's sites (in water: molecules) that lose an atom; "
        "with rule released the probability for every hydrogen",
    )
    rule: Literal["bonded", "released"] = Field(
        "bonded",
        description="bonded: atoms around the site point to the lost atom; released: all atoms away from the "
        "farthest lost hydrogen, as the paper's code does for rMD17",
    )
    element: Literal["hydrogen", "heavy", "any"] = Field(
        "hydrogen",
        description="which atom a site loses: one of its hydrogens, its heavy atom (in water the oxygen), or any of "
        "these with equal probability; rule released knows hydrogen alone",
    )
    loss: Literal["cosine", "l1", "l2"] = Field(
        "cosine",
        description="one minus the cosine similarity; or the mean absolute or squared error of a component of the "
        "vector to the lost atom in Å",
    )
    permute: bool = Field(
        False, description="control: shuffle the targets among the atoms of a structure that have one, masks unchanged"
    )


class Masking:
    """Predict the vector to a removed atom, or its direction."""

    Options = MaskingOptions
    reach = 0.0

    def __init__(self, options: MaskingOptions) -> None:
        if options.rule == "released" and options.element != "hydrogen":
            raise PriorbenchError(f"element {options.element}: rule released removes hydrogens alone; set rule: bonded")
        self.ratio = options.ratio
        self.rule = options.rule
        self.element = options.element
        self.loss = options.loss
        self.permute = options.permute
        self.readout = options.readout
        self.weights = {options.loss: 1.0}

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
        """Remove atoms and their edges, and set the targets of the atoms left."""
        as_released = self.rule == "released"
        example = self._corrupt_as_released(batch, generator) if as_released else self._corrupt(batch, generator)
        return permuted(example, generator) if self.permute else example

    def _corrupt(self, batch: Batch, generator: torch.Generator) -> Example:
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
        """One minus the cosine similarity, or the errors of the components, summed over the atoms with a target."""
        assert example.selected is not None
        predicted, target = prediction.vectors[example.selected], example.vectors[example.selected]
        if self.loss == "cosine":
            cosine = torch.nn.functional.cosine_similarity(predicted, target, dim=1)
            return {"cosine": (1 - cosine).sum()}
        errors = predicted - target
        return {self.loss: (errors.abs() if self.loss == "l1" else errors.square()).sum()}

    def counts(self, example: Example) -> Counts:
        """Atoms with a target, or the components of theirs."""
        assert example.selected is not None
        return {self.loss: COMPONENTS[self.loss] * len(example.selected)}

    def floor(self, store: Store, readout: Literal["gradient", "vector"]) -> float | None:
        """Least cosine loss of an equivariant prediction that sees each molecule alone.

        Known for the rule bonded, hydrogen and targets of the atom's own, where every intact molecule is water.
        """
        if (self.rule, self.element, self.loss, self.permute) != ("bonded", "hydrogen", "cosine", False):
            return None
        return context_free_loss(store, freedom(self.readout, readout))

    def _drawn(self, counts: Tensor) -> Tensor:
        """How many of ``counts`` sites lose an atom, ⌊ratio · count⌋: of 100 at 0.29 not 28, as floats have it."""
        return (self.ratio * counts.double() + 1e-9).long()

    def _draw(self, batch: Batch, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """The sites (K,) that lose an atom, and the atom (K,) that each loses."""
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
        # Of a chosen site's candidates, the one with the largest score goes.
        atoms, site_of = self._candidates(hydrogens, heavy, sites)
        atoms, site_of = atoms[chosen[site_of]], site_of[chosen[site_of]]
        best = torch.full((n,), -1.0, device=device, dtype=score.dtype)
        best = best.scatter_reduce(0, site_of, score[atoms], "amax")
        winners = score[atoms] == best[site_of]
        return site_of[winners], atoms[winners]

    def _candidates(self, hydrogens: Tensor, heavy: Tensor, sites: Tensor) -> tuple[Tensor, Tensor]:
        """Atoms that a site may lose, and their sites, (C,) each; ``hydrogens`` and ``heavy`` atoms are bonded."""
        if self.element == "hydrogen":
            return hydrogens, heavy
        if self.element == "heavy":
            return sites, sites
        return torch.cat([sites, hydrogens]), torch.cat([sites, heavy])


def bonded_hydrogens(atomic_numbers: Tensor, molecules: Tensor, bonds: Tensor) -> tuple[Tensor, Tensor]:
    """Every hydrogen (K,) of an intact molecule and the heavy atom (K,) it is bonded to.

    ``atomic_numbers`` and ``molecules`` (N,), −1 in no intact molecule; ``bonds`` (B, 2).
    """
    ends = torch.cat([bonds, bonds.flip(1)])
    first, second = ends[:, 0], ends[:, 1]
    wanted = (atomic_numbers[first] == HYDROGEN) & (atomic_numbers[second] != HYDROGEN) & (molecules[first] >= 0)
    return first[wanted], second[wanted]


def permuted(example: Example, generator: torch.Generator) -> Example:
    """The example with the targets of the selected atoms shuffled within each structure.

    The shuffle is seeded by what ``generator`` would give next and leaves it where it is: later masks are unchanged.
    """
    selected = example.selected
    assert selected is not None
    seed = int(torch.randint(2**62, (), generator=generator.clone_state(), device=generator.device))
    score = torch.rand(len(selected), generator=torch.Generator().manual_seed(seed)).to(selected.device)
    order = torch.argsort(score, stable=True)
    order = order[torch.argsort(example.graph.structure[selected[order]], stable=True)]
    vectors = example.vectors.clone()
    vectors[selected] = example.vectors[selected[order]]
    return replace(example, vectors=vectors)


def _neighbourhoods(batch: Batch, sites: Tensor, removed: Tensor, hidden: Tensor) -> tuple[Tensor, Tensor]:
    """Each site and the atoms left that are bonded to it, with the atom that the site lost, maybe itself; (M,) each."""
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
