"""Corruptions of the pretraining tasks, one structure at a time."""

import numpy as np
import torch
from ase.geometry import find_mic
from numpy.typing import NDArray
from torch import Tensor
from torch_geometric.data import Data
from torch_geometric.transforms import BaseTransform
from torch_geometric.utils import subgraph

from priorbench.neighbours import neighbour_list

HYDROGEN = 1


class AddNoise(BaseTransform):
    """Move every atom by Gaussian noise of ``sigma`` Å, which is the target in units of sigma (arXiv 2206.00133)."""

    def __init__(self, sigma: float, cutoff: float) -> None:
        self.sigma, self.cutoff = sigma, cutoff

    def forward(self, data: Data) -> Data:
        """Structure with new positions and their neighbours."""
        noise = torch.randn_like(data.pos)
        pos, cell = data.pos + self.sigma * noise, data.cell[0].double().numpy()
        senders, receivers, cells_away = neighbour_list(pos.double().numpy(), cell, data.pbc[0].numpy(), self.cutoff)
        return Data(
            z=data.z,
            pos=pos,
            edge_index=torch.tensor(np.stack([senders, receivers]), dtype=torch.long),
            shift=torch.tensor(cells_away @ cell, dtype=pos.dtype),
            cell=data.cell,
            pbc=data.pbc,
            target=noise,
        )


class MaskBonded(BaseTransform):
    """Take one hydrogen off floor(ratio · n) of the n heavy atoms that bear any (arXiv 2402.15921).

    The target of the heavy atom and of every atom still bonded to it is the vector to the hydrogen removed, to the
    nearest where an atom has several.
    """

    def __init__(self, ratio: float) -> None:
        self.ratio = ratio

    def forward(self, data: Data) -> Data:
        """Structure without the hydrogens drawn."""
        bonded: list[list[int]] = [[] for _ in range(len(data.z))]
        for i, j in data.bond_index.t().tolist():
            bonded[i].append(j)
        removed = self.draw(data.z.tolist(), data.molecule.tolist(), bonded)
        hidden = set(removed.values())
        pairs = [(i, h) for site, h in removed.items() for i in (site, *bonded[site]) if i not in hidden]
        atoms, hydrogens = np.array(pairs, dtype=int).reshape(-1, 2).T
        vectors, lengths = shortest(data.pos[hydrogens] - data.pos[atoms], data)
        target = np.zeros((len(data.z), 3))
        for pair in np.argsort(-lengths):
            target[atoms[pair]] = vectors[pair]
        has_target = torch.zeros(len(data.z), dtype=torch.bool)
        has_target[atoms] = True
        return without(data, sorted(hidden), target, has_target, lost=has_target.long())

    def draw(self, z: list[int], molecule: list[int], bonded: list[list[int]]) -> dict[int, int]:
        """Heavy atoms that lose a hydrogen, and the hydrogen that each loses."""
        sites = {}
        for i, neighbours in enumerate(bonded):
            hydrogens = [j for j in neighbours if z[j] == HYDROGEN]
            if z[i] != HYDROGEN and molecule[i] >= 0 and hydrogens:
                sites[i] = hydrogens
        heavy, order = list(sites), torch.randperm(len(sites)).tolist()
        chosen = [heavy[k] for k in order[: int(self.ratio * len(sites) + 1e-9)]]
        return {i: sites[i][int(torch.randint(len(sites[i]), ()))] for i in chosen}


class MaskReleased(BaseTransform):
    """Remove each hydrogen with probability ``ratio``; targets point away from the farthest one (the released code)."""

    def __init__(self, ratio: float) -> None:
        self.ratio = ratio

    def forward(self, data: Data) -> Data:
        """Structure without the hydrogens drawn."""
        hidden = (data.z == HYDROGEN) & (torch.rand(len(data.z)) < self.ratio)
        atoms, hydrogens = (~hidden).nonzero().squeeze(1), hidden.nonzero().squeeze(1)
        target = np.zeros((len(data.z), 3))
        if len(atoms) and len(hydrogens):
            pairs = (data.pos[atoms, None] - data.pos[hydrogens]).reshape(-1, 3)
            vectors, lengths = shortest(pairs, data)
            farthest = lengths.reshape(len(atoms), -1).argmax(axis=1)
            target[atoms] = vectors.reshape(len(atoms), -1, 3)[np.arange(len(atoms)), farthest]
        has_target = ~hidden if len(hydrogens) else torch.zeros_like(hidden)
        return without(data, hydrogens.tolist(), target, has_target)


def shortest(vectors: Tensor, data: Data) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Minimum image of the vectors (m, 3), and their lengths (m,)."""
    return find_mic(vectors.double().numpy(), data.cell[0].double().numpy(), data.pbc[0].numpy())


def without(
    data: Data, removed: list[int], target: NDArray[np.float64], target_mask: Tensor, lost: Tensor | None = None
) -> Data:
    """The structure without the ``removed`` atoms and their edges."""
    kept = torch.ones(len(data.z), dtype=torch.bool)
    kept[removed] = False
    edge_index, shift = subgraph(kept, data.edge_index, data.shift, relabel_nodes=True, num_nodes=len(kept))
    smaller = Data(
        z=data.z[kept],
        pos=data.pos[kept],
        edge_index=edge_index,
        shift=shift,
        cell=data.cell,
        pbc=data.pbc,
        target=torch.tensor(target, dtype=data.pos.dtype)[kept],
        target_mask=target_mask[kept],
    )
    if lost is not None:
        smaller.lost = lost[kept]
    return smaller
