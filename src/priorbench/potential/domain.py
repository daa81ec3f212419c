"""What a potential was trained on, kept in its file: outside of it predictions are guesses."""

from dataclasses import asdict, dataclass
from typing import Any, Self

import numpy as np
import torch
from ase.data import chemical_symbols
from numpy.typing import NDArray

from priorbench.errors import PriorbenchError
from priorbench.frames import Frames, items_of
from priorbench.training.labels import ROWS
from priorbench.training.store import Store

CHUNK = 64  # structures
RIGID = 1e-3  # Å, within which the bonds of one kind are as long as each other; constraints leave 1e-5
ORIGIN = ("source", "licence", "citation", "url")


@dataclass(frozen=True)
class Domain:
    """Elements, distances and sizes among the training structures, and where these come from."""

    elements: list[int]  # atomic numbers, ascending
    closest: dict[str, float]  # Å, by pair of elements ("1-8", the smaller first); pairs never seen are absent
    atoms: tuple[int, int]  # of the smallest and the largest structure
    structures: int
    periodic: bool  # every structure, in all three directions
    rigid: bool  # molecules whose bonds never change length
    origin: dict[str, str]  # source, licence, citation and address of the data

    @classmethod
    def of(cls, store: Store, frames: Frames, structures: NDArray[np.int64]) -> Self:
        """Of the training ``store``, which holds the ``structures`` (S,) of ``frames``."""
        numbers = torch.unique(store.atomic_numbers).tolist()
        sizes = frames.sizes[structures]
        return cls(
            elements=numbers,
            closest=_closest(store, numbers),
            atoms=(int(sizes.min()), int(sizes.max())),
            structures=len(structures),
            periodic=bool(store.pbc.all()),
            rigid=is_rigid(frames, structures),
            origin={key: str(frames.metadata[key]) for key in ORIGIN if frames.metadata.get(key)},
        )

    def to_json(self) -> dict[str, Any]:
        """As stored with a model."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Self:
        """From :meth:`to_json`."""
        return cls(**{**data, "atoms": tuple(data["atoms"])})

    def check_elements(self, numbers: NDArray[Any], where: str) -> None:
        """Raise for atomic ``numbers`` (N,) that were not in the training structures."""
        unknown = sorted(set(np.unique(numbers).tolist()) - set(self.elements))
        if unknown:
            names, known = (", ".join(chemical_symbols[z] for z in zs) for zs in (unknown, self.elements))
            raise PriorbenchError(f"{where}: was trained on {known} and knows nothing of {names}")

    def thresholds(self) -> NDArray[np.float64]:
        """Closest approach by two atomic numbers, (119, 119) Å; zero where never seen."""
        table = np.zeros((ROWS, ROWS))
        for pair, length in self.closest.items():
            a, b = (int(z) for z in pair.split("-"))
            table[a, b] = table[b, a] = length
        return table


def _closest(store: Store, elements: list[int]) -> dict[str, float]:
    """The shortest edge of each pair of elements in Å; of pairs within the cutoff."""
    place = torch.zeros(max(elements) + 1, dtype=torch.int64)
    place[elements] = torch.arange(len(elements))
    count = len(elements)
    shortest = torch.full((count * count,), torch.inf, dtype=store.positions.dtype)
    for chunk in torch.arange(len(store)).split(CHUNK):
        graph = store.batch(chunk.to(store.positions.device)).graph
        r, z = graph.positions, graph.atomic_numbers
        lengths = (r[graph.senders] - r[graph.receivers] + graph.shifts).norm(dim=1).cpu()
        a, b = (place[z[side].cpu()] for side in (graph.senders, graph.receivers))
        shortest.scatter_reduce_(0, torch.minimum(a, b) * count + torch.maximum(a, b), lengths, "amin")
    found = shortest.view(count, count).tolist()
    return {
        f"{elements[a]}-{elements[b]}": found[a][b]
        for a in range(count)
        for b in range(a, count)
        if found[a][b] < float("inf")
    }


def is_rigid(frames: Frames, structures: NDArray[np.int64]) -> bool:
    """Whether bonds of two elements always have the same length, among the first hundred of ``structures``."""
    lengths: dict[tuple[int, int], list[NDArray[np.float64]]] = {}
    for structure in structures[:100].tolist():
        bonds = np.asarray(frames.bonds[items_of(frames.bond_offsets, np.array([structure]))])
        atoms = frames.atoms_of(structure)
        vectors = frames.positions[atoms][bonds[:, 1]] - frames.positions[atoms][bonds[:, 0]]
        vectors = _nearest(vectors, np.array(frames.cells[structure]), np.array(frames.pbc[structure]))
        kinds = np.sort(np.array(frames.atomic_numbers[atoms])[bonds], axis=1)
        for kind in np.unique(kinds, axis=0):
            chosen = (kinds == kind).all(axis=1)
            lengths.setdefault((int(kind[0]), int(kind[1])), []).append(np.linalg.norm(vectors[chosen], axis=1))
    return bool(lengths) and all(np.ptp(np.concatenate(found)) < RIGID for found in lengths.values())


def _nearest(vectors: NDArray[np.float64], cell: NDArray[np.float64], pbc: NDArray[np.bool_]) -> NDArray[np.float64]:
    """The shortest periodic images of bond vectors (B, 3)."""
    from ase.geometry import find_mic

    return np.asarray(find_mic(vectors, cell, pbc)[0]) if pbc.any() and len(vectors) else vectors
