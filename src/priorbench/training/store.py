"""Structures with their neighbour lists as flat tensors on the device; a batch is an index.

A store holds only the structures it is given: what is left out of it (the test split while training) cannot be seen
through it.
"""

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from priorbench.errors import PriorbenchError
from priorbench.frames import Frames
from priorbench.graph import Graph, shift_vectors
from priorbench.neighbours import Neighbours
from priorbench.training.labels import Labels


@dataclass(frozen=True)
class Batch:
    """Structures with their labels, in the units of :class:`Labels`."""

    graph: Graph
    energies: Tensor  # (G,)
    forces: Tensor  # (N, 3)
    molecules: Tensor  # (N,) molecule within the batch, −1 for atoms of none
    bonds: Tensor  # (B, 2) atoms within the batch
    cutoff: float  # Å, of the edges that a network sees
    reach: float  # Å by which the graph's edges are longer, for tasks that move atoms


@dataclass(frozen=True)
class Store:
    """Flat tensors of S structures, A atoms, E edges, B bonds; an edge takes three to eight bytes, more in a batch."""

    positions: Tensor  # (A, 3) Å
    forces: Tensor  # (A, 3) scaled
    energies: Tensor  # (S,) scaled
    atomic_numbers: Tensor  # (A,)
    molecules: Tensor  # (A,) counted within the structure, −1 for none
    bonds: Tensor  # (B, 2) atoms counted within the structure
    bond_offsets: Tensor  # (S + 1,)
    cells: Tensor  # (S, 3, 3) Å
    pbc: Tensor  # (S, 3)
    atom_offsets: Tensor  # (S + 1,)
    senders: Tensor  # (E,) int16 or int32, within the structure; sorted by receiver
    neighbours: Tensor  # (A,) int32, edges that an atom receives
    shift_codes: Tensor  # (E,) uint8 or int32, row of the table
    shift_table: Tensor  # (K, 3) whole cells
    edge_offsets: Tensor  # (S + 1,)
    cutoff: float
    reach: float

    @classmethod
    def build(
        cls,
        frames: Frames,
        neighbours: Neighbours,
        structures: NDArray[np.int64],
        labels: Labels,
        device: str = "cpu",
    ) -> Self:
        """Copy the ``structures`` to ``device`` in float32, labels scaled in float64 before."""
        if len(structures) == 0:
            raise PriorbenchError("a split has no structures; give it more groups or a larger fraction")
        runs = _runs(structures)
        energies = (frames.energies[structures] - labels.reference_energies(frames, structures)) / labels.scale

        def tensor(array: NDArray[np.generic], dtype: torch.dtype) -> Tensor:
            return torch.as_tensor(np.ascontiguousarray(array)).to(device=device, dtype=dtype)

        def of_atoms(array: NDArray[Any]) -> NDArray[Any]:
            return _taken(array, frames.offsets, runs)

        def of_edges(array: NDArray[Any]) -> NDArray[Any]:
            return _taken(array, neighbours.edge_offsets, runs)

        real, whole = torch.get_default_dtype(), torch.int64
        code = torch.uint8 if neighbours.shift_codes.dtype == np.uint8 else torch.int32
        return cls(
            positions=tensor(of_atoms(frames.positions), real),
            forces=tensor(of_atoms(frames.forces) / labels.scale, real),
            energies=tensor(energies, real),
            atomic_numbers=tensor(of_atoms(frames.atomic_numbers), whole),
            molecules=tensor(of_atoms(frames.molecules), whole),
            bonds=tensor(_taken(frames.bonds, frames.bond_offsets, runs), whole),
            bond_offsets=tensor(_offsets(np.diff(frames.bond_offsets)[structures]), whole),
            cells=tensor(frames.cells[structures], real),
            pbc=tensor(frames.pbc[structures], torch.bool),
            atom_offsets=tensor(_offsets(np.diff(frames.offsets)[structures]), whole),
            senders=torch.from_numpy(of_edges(neighbours.senders)).to(device),
            neighbours=tensor(of_atoms(neighbours.counts), torch.int32),
            shift_codes=tensor(of_edges(neighbours.shift_codes), code),
            shift_table=tensor(np.array(neighbours.shift_table), torch.int8),
            edge_offsets=tensor(_offsets(np.diff(neighbours.edge_offsets)[structures]), whole),
            cutoff=neighbours.cutoff,
            reach=neighbours.reach,
        )

    def __len__(self) -> int:
        return len(self.energies)

    def all_bonds(self) -> Tensor:
        """Every bond as places in the atom tensors, (B, 2)."""
        return self.bonds + torch.repeat_interleave(self.atom_offsets[:-1], self.bond_offsets.diff())[:, None]

    def batch(self, structures: Tensor) -> Batch:
        """The ``structures`` (G,) of this store as one graph without edges between them."""
        atoms, owner, first_atom = _gather(self.atom_offsets, structures)
        edges, edge_owner, _ = _gather(self.edge_offsets, structures)
        bonds, bond_owner, _ = _gather(self.bond_offsets, structures)
        cells = self.cells[structures]
        start = first_atom[edge_owner]
        graph = Graph(
            atomic_numbers=self.atomic_numbers[atoms],
            positions=self.positions.index_select(0, atoms),
            senders=self.senders.index_select(0, edges) + start,
            receivers=torch.repeat_interleave(self.neighbours.index_select(0, atoms).long()),
            shifts=shift_vectors(self.shift_table[self.shift_codes.index_select(0, edges).long()], cells, edge_owner),
            structure=owner,
            cells=cells,
            pbc=self.pbc[structures],
        )
        molecules = self.molecules[atoms]
        molecules = torch.where(molecules >= 0, molecules + first_atom[owner], molecules)
        return Batch(
            graph,
            self.energies[structures],
            self.forces.index_select(0, atoms),
            molecules,
            self.bonds[bonds] + first_atom[bond_owner][:, None],
            self.cutoff,
            self.reach,
        )


def _gather(offsets: Tensor, structures: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Items of the structures, the batch index that each belongs to, and each structure's first place in the batch."""
    starts = offsets[structures]
    counts = offsets[structures + 1] - starts
    owner = torch.repeat_interleave(torch.arange(len(structures), device=offsets.device), counts)
    first = counts.cumsum(0) - counts
    items = torch.arange(len(owner), device=offsets.device) - first[owner] + starts[owner]
    return items, owner, first


def _runs(structures: NDArray[np.int64]) -> list[tuple[int, int]]:
    """Neighbouring structures as (first, behind the last), so that a trajectory is one copy."""
    breaks = np.flatnonzero(np.diff(structures) != 1) + 1
    firsts, lasts = np.concatenate([[0], breaks]), np.concatenate([breaks, [len(structures)]]) - 1
    return [(int(structures[a]), int(structures[b]) + 1) for a, b in zip(firsts, lasts, strict=True)]


def _taken(array: NDArray[Any], offsets: NDArray[np.int64], runs: list[tuple[int, int]]) -> NDArray[Any]:
    """Items of the structures in the ``runs``, one after the other; ``offsets`` (S + 1,) into the array."""
    return np.concatenate([array[offsets[first] : offsets[last]] for first, last in runs])


def _offsets(counts: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
