"""Structures as PyG objects.

A structure has z (n,), pos (n, 3) Å, edge_index (2, e) from sender to receiver, shift (e, 3) Å (the image of the sender
that is meant), cell (1, 3, 3) Å and pbc (1, 3).  Labels are y (1,) and force (n, 3), scaled as
:class:`~priorbench.training.labels.Labels` says; pretraining has target (n, 3) instead, and masking target_mask (n,)
for the atoms with a loss and lost (n,) for the mask embedding.
"""

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch_geometric.data import Data, Dataset
from torch_geometric.loader import DataLoader

from benchmarks.textbook.transforms import AddNoise, MaskBonded, MaskReleased
from priorbench.frames import Frames
from priorbench.neighbours import Neighbours
from priorbench.tasks.base import Example, Task
from priorbench.tasks.denoising import Denoising
from priorbench.tasks.masking import Masking
from priorbench.training.labels import Labels


class Structures(Dataset):
    """Structures in memory; the transform is applied anew at every access."""

    def __init__(self, items: list[Data], transform: Callable[[Data], Data] | None) -> None:
        super().__init__(transform=transform)
        self.items = items

    def len(self) -> int:
        """Number of structures."""
        return len(self.items)

    def get(self, idx: int) -> Data:
        """Structure before the transform."""
        return self.items[idx]


def dataset(
    frames: Frames, neighbours: Neighbours, labels: Labels, structures: NDArray[np.int64], task: Task
) -> Structures:
    """The ``structures`` (S,) of ``frames``, corrupted for ``task`` at every access (draws: torch's own generator)."""
    items = [structure(frames, neighbours, labels, int(s)) for s in structures]
    if isinstance(task, Masking):
        return Structures(items, MaskBonded(task.ratio) if task.rule == "bonded" else MaskReleased(task.ratio))
    if isinstance(task, Denoising):
        return Structures(items, AddNoise(task.sigma, neighbours.cutoff))
    return Structures(items, None)


def structure(frames: Frames, neighbours: Neighbours, labels: Labels, s: int) -> Data:
    """One structure with scaled labels; bond_index (2, b) has every bond in both directions."""
    atoms = frames.atoms_of(s)
    numbers, cell = frames.atomic_numbers[atoms], frames.cells[s]
    senders, receivers, cells_away = neighbours.edges_of(frames.offsets, s)
    bonds = frames.bonds[frames.bond_offsets[s] : frames.bond_offsets[s + 1]]
    reference = sum(labels.reference[z] for z in numbers.tolist())
    return Data(
        z=torch.tensor(numbers, dtype=torch.long),
        pos=real(frames.positions[atoms]),
        edge_index=torch.tensor(np.stack([senders, receivers]), dtype=torch.long),
        shift=real(cells_away @ cell),
        cell=real(cell[None]),
        pbc=torch.tensor(frames.pbc[s][None]),
        y=real(np.array([(frames.energies[s] - reference) / labels.scale])),
        force=real(frames.forces[atoms] / labels.scale),
        molecule=torch.tensor(frames.molecules[atoms], dtype=torch.long),
        bond_index=torch.tensor(np.concatenate([bonds, bonds[:, ::-1]]).T, dtype=torch.long),
    )


def real(array: NDArray[np.float64]) -> Tensor:
    """As a tensor of the default precision."""
    return torch.tensor(array, dtype=torch.get_default_dtype())


def loader(dataset: Dataset, batch_size: int, seed: int) -> DataLoader:
    """Shuffled batches; what only the transforms need is left out of them."""
    order = torch.Generator().manual_seed(seed)
    unused = ["molecule", "bond_index"]
    return DataLoader(dataset, batch_size, shuffle=True, generator=order, num_workers=0, exclude_keys=unused)


def from_example(example: Example) -> Data:
    """A batch that priorbench has corrupted, as a PyG object with the very same numbers."""
    graph = example.graph
    data = Data(
        z=graph.atomic_numbers,
        pos=graph.positions,
        edge_index=torch.stack([graph.senders, graph.receivers]),
        shift=graph.shifts,
        batch=graph.structure,
        cell=graph.cells,
        pbc=graph.pbc,
    )
    if example.energies is not None:
        data.y, data.force = example.energies, example.vectors
    else:
        data.target = example.vectors
    if example.selected is not None:
        data.target_mask = torch.zeros(graph.atoms, dtype=torch.bool)
        data.target_mask[example.selected] = True
    if graph.lost is not None:
        data.lost = graph.lost
    return data
