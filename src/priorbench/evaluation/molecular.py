"""What can be asked of the features of a water molecule: its bonds, its angle and its hydrogen bonds.

A hydrogen bond goes from an oxygen with a hydrogen covalently bonded to it (the donor) to another oxygen, whatever
molecules both belong to, where O…O is shorter than 3.5 Å and the angle H–O…O at the donor smaller than 30° (Luzar &
Chandler, doi 10.1038/379055a0).  Periodic images count, which in cells wider than 7 Å is the minimum image.
"""

import math
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray

from priorbench.frames import Frames, items_of
from priorbench.graph import minimum_image
from priorbench.molecules import HYDROGEN, OXYGEN
from priorbench.neighbours import neighbours_by_receiver

#: By quantity the standard deviation up to which it counts as constant (Å, degrees, bonds); the constraints of rigid
#: water leave 1e-5 Å.
CONSTANT = {"oh_length": 1e-3, "hoh_angle": 0.1, "hydrogen_bonds": 0.0}
LONGEST = 3.5  # Å, O…O of a hydrogen bond
WIDEST = 30.0  # degrees, H–O…O of a hydrogen bond

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


@dataclass(frozen=True)
class Waters:
    """The M intact water molecules of some structures."""

    oxygens: Integers  # (M,) places among the atoms of these structures, which lie end to end
    targets: dict[str, Floats]  # by quantity (M,): mean O–H length Å, angle degrees, hydrogen bonds donated + accepted

    @classmethod
    def of(cls, frames: Frames, structures: Integers) -> Self:
        """Find and measure those of ``structures`` (S,)."""
        starts = np.cumsum(frames.sizes[structures]) - frames.sizes[structures]
        found = [_measured(frames, int(structure)) for structure in structures]
        return cls(
            np.concatenate([start + oxygens for start, (oxygens, _) in zip(starts, found, strict=True)]),
            {name: np.concatenate([values[name] for _, values in found]) for name in CONSTANT},
        )

    def __len__(self) -> int:
        return len(self.oxygens)


def _measured(frames: Frames, structure: int) -> tuple[Integers, dict[str, Floats]]:
    """Oxygens (M,) of the water molecules of one structure, counted within it, and the quantities (M,) of each."""
    atoms = frames.atoms_of(structure)
    positions, numbers = np.array(frames.positions[atoms]), np.array(frames.atomic_numbers[atoms])
    cell, pbc = np.array(frames.cells[structure]), np.array(frames.pbc[structure])
    bonds = frames.bonds[frames.bond_offsets[structure] : frames.bond_offsets[structure + 1]]
    oxygens, hydrogens = water_molecules(numbers, np.array(frames.molecules[atoms]))
    lengths, angles = bond_geometry(positions, cell, pbc, oxygens, hydrogens)
    counts = hydrogen_bonds(positions, cell, pbc, numbers, np.array(bonds, np.int64))
    return oxygens, {"oh_length": lengths, "hoh_angle": angles, "hydrogen_bonds": counts[oxygens].astype(np.float64)}


def water_molecules(atomic_numbers: NDArray[Any], molecules: NDArray[Any]) -> tuple[Integers, Integers]:
    """Oxygens (M,) and hydrogens (M, 2) of the water molecules among the intact ``molecules`` (n,; −1: in none)."""
    inside = molecules >= 0
    oxygen, hydrogen = inside & (atomic_numbers == OXYGEN), inside & (atomic_numbers == HYDROGEN)
    count = int(molecules.max(initial=-1)) + 1
    sizes, oxygens, hydrogens = (
        np.bincount(molecules[chosen], minlength=count) for chosen in (inside, oxygen, hydrogen)
    )
    water = np.isin(molecules, np.flatnonzero((sizes == 3) & (oxygens == 1) & (hydrogens == 2)))
    own = [np.flatnonzero(water & chosen) for chosen in (oxygen, hydrogen)]
    first, second = (atoms[np.argsort(molecules[atoms], kind="stable")] for atoms in own)
    return first, second.reshape(-1, 2)


def bond_geometry(
    positions: Floats, cell: Floats, pbc: NDArray[np.bool_], oxygens: Integers, hydrogens: Integers
) -> tuple[Floats, Floats]:
    """Mean length of the two O–H bonds (M,) Å and the angle between them (M,) degrees."""
    bonds = _vectors(positions, cell, pbc, np.repeat(oxygens, 2), hydrogens.ravel()).reshape(-1, 2, 3)
    lengths = np.linalg.norm(bonds, axis=2)
    cosines = (bonds[:, 0] * bonds[:, 1]).sum(axis=1) / lengths.prod(axis=1)
    return lengths.mean(axis=1), np.degrees(np.arccos(np.clip(cosines, -1, 1)))


def hydrogen_bonds(
    positions: Floats, cell: Floats, pbc: NDArray[np.bool_], atomic_numbers: NDArray[Any], bonds: Integers
) -> Integers:
    """Hydrogen bonds that each atom donates and accepts as an oxygen, (n,); covalent ``bonds`` (B, 2)."""
    oxygens = np.flatnonzero(atomic_numbers == OXYGEN)
    senders, receivers, shifts = neighbours_by_receiver(positions[oxygens], cell, pbc, LONGEST)
    between = positions[oxygens[senders]] - positions[oxygens[receivers]] + shifts @ cell
    counts = np.bincount(receivers, minlength=len(oxygens))
    offsets = np.concatenate([[0], np.cumsum(counts)])

    donors, hydrogens = _donors(atomic_numbers, bonds)
    places = np.searchsorted(oxygens, donors)
    edges, donor = items_of(offsets, places), np.repeat(np.arange(len(donors)), counts[places])
    to_hydrogen, to_oxygen = _vectors(positions, cell, pbc, donors, hydrogens)[donor], between[edges]
    lengths = np.linalg.norm(to_oxygen, axis=1)
    cosines = (to_hydrogen * to_oxygen).sum(axis=1) / np.linalg.norm(to_hydrogen, axis=1) / lengths
    bonded = cosines > math.cos(math.radians(WIDEST))
    ends = np.concatenate([donors[donor[bonded]], oxygens[senders[edges[bonded]]]])
    return np.bincount(ends, minlength=len(positions))


def _donors(atomic_numbers: NDArray[Any], bonds: Integers) -> tuple[Integers, Integers]:
    """Oxygen and hydrogen of every O–H bond, (D,) each."""
    both = np.concatenate([bonds, bonds[:, ::-1]])
    chosen = both[(atomic_numbers[both[:, 0]] == OXYGEN) & (atomic_numbers[both[:, 1]] == HYDROGEN)]
    return chosen[:, 0], chosen[:, 1]


def _vectors(positions: Floats, cell: Floats, pbc: NDArray[np.bool_], start: Integers, end: Integers) -> Floats:
    """Minimum-image vectors (B, 3) Å from the atoms ``start`` (B,) to ``end`` (B,)."""
    vectors = torch.from_numpy(positions[end] - positions[start])
    cells, periodic = torch.from_numpy(cell).expand(len(end), 3, 3), torch.from_numpy(pbc).expand(len(end), 3)
    shortest: Floats = minimum_image(vectors, cells, periodic).numpy()
    return shortest
