"""Which motion of a molecule a force would set off: translation, rotation, or a change of its inner coordinates.

The forces f on the atoms of an intact molecule (masses m, places x from the centre of mass, M = Σ m) are divided into

    translation   (m_i / M) Σ f              every atom gets the acceleration of the centre of mass
    rotation      m_i α × x_i                with the angular acceleration α = I⁻¹ Σ x × f about the centre of mass
    internal      f_i less both              no net force, no torque

The three add up to f atom by atom.  They are projections that are orthogonal where squares are weighted by 1 / m (the
mass-weighted coordinates of Eckart, doi 10.1103/PhysRev.47.552): of each molecule Σ |f|² / m is the sum of
Σ |part|² / m over the parts, but Σ |f|² is **not** the sum of Σ |part|².  I is the inertia tensor; its pseudo-inverse
leaves out the axis of a linear molecule.
"""

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray

from priorbench.frames import Frames, items_of
from priorbench.graph import minimum_image

PARTS = ("translation", "rotation", "internal")
LINEAR = 1e-8  # of the largest moment of inertia: a smaller one is none

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


@dataclass(frozen=True)
class Molecules:
    """The M intact molecules of some structures, with n atoms in all."""

    atoms: Integers  # (n,) places among the atoms of these structures, which lie end to end
    owner: Integers  # (n,) molecule of each, from 0
    masses: Floats  # (n,) u
    arms: Floats  # (n, 3) Å, from the centre of mass of its molecule
    inverse: Floats  # (M, 3, 3) pseudo-inverse of the inertia tensor, 1/(u Å²)

    @classmethod
    def of(cls, frames: Frames, structures: Integers) -> Self:
        """Find those of ``structures`` (S,), made whole across the boundaries of the cell along their bonds."""
        from ase.data import atomic_masses

        places = items_of(frames.offsets, structures)
        home = np.repeat(np.arange(len(structures)), frames.sizes[structures])
        inside = np.flatnonzero(frames.molecules[places] >= 0)
        numbered = home[inside] * (int(frames.molecules.max(initial=0)) + 1) + frames.molecules[places][inside]
        _, first, owner = np.unique(numbered, return_index=True, return_inverse=True)
        masses = np.asarray(atomic_masses, np.float64)[frames.atomic_numbers[places][inside]]
        positions = whole(frames, structures, inside[first])[inside]
        total = _sums(masses, owner, len(first))
        centres = _sums(masses[:, None] * positions, owner, len(first)) / total[:, None]
        arms = positions - centres[owner]
        return cls(inside, owner, masses, arms, _inverse_inertia(masses, arms, owner, len(first)))

    def __len__(self) -> int:
        return len(self.inverse)

    def divide(self, forces: Floats) -> dict[str, Floats]:
        """By part the share (n, 3) in the ``forces`` (A, 3) on all atoms of the structures."""
        own = forces[self.atoms]
        net = _sums(own, self.owner, len(self))
        torque = _sums(np.cross(self.arms, own), self.owner, len(self))
        turning = np.einsum("mij,mj->mi", self.inverse, torque)
        mass = self.masses[:, None]
        translation = mass * (net / _sums(self.masses, self.owner, len(self))[:, None])[self.owner]
        rotation = mass * np.cross(turning[self.owner], self.arms)
        return dict(zip(PARTS, (translation, rotation, own - translation - rotation), strict=True))

    def shares(self, parts: dict[str, Floats]) -> dict[str, float]:
        """Each part's fraction of Σ |f|² / m over all molecules; they add up to one (all zero without any force)."""
        weighted = {name: float((part**2 / self.masses[:, None]).sum()) for name, part in parts.items()}
        total = sum(weighted.values())
        return {name: value / total if total else 0.0 for name, value in weighted.items()}


def whole(frames: Frames, structures: Integers, first: Integers) -> Floats:
    """Positions (A, 3) Å of all atoms of ``structures``, molecules in one piece around their atom ``first`` (M,).

    From the first atom of a molecule the others are reached along bonds, each by its minimum image.
    """
    positions = np.array(frames.positions[items_of(frames.offsets, structures)])
    starts = np.cumsum(frames.sizes[structures]) - frames.sizes[structures]
    home = np.repeat(np.arange(len(structures)), np.diff(frames.bond_offsets)[structures])
    bonds = frames.bonds[items_of(frames.bond_offsets, structures)].astype(np.int64) + starts[home][:, None]
    cells, pbc = (torch.from_numpy(np.array(values[structures][home])) for values in (frames.cells, frames.pbc))
    along = minimum_image(torch.from_numpy(positions[bonds[:, 1]] - positions[bonds[:, 0]]), cells, pbc).numpy()
    ends, vectors = np.concatenate([bonds, bonds[:, ::-1]]), np.concatenate([along, -along])
    reached = np.zeros(len(positions), bool)
    reached[first] = True
    while (ready := reached[ends[:, 0]] & ~reached[ends[:, 1]]).any():
        near, far = ends[ready].T
        positions[far] = positions[near] + vectors[ready]
        reached[far] = True
    return positions


def _sums(values: NDArray[Any], owner: Integers, count: int) -> Floats:
    """Sums of the values (n, …) by owner, (count, …)."""
    sums = np.zeros((count, *values.shape[1:]))
    np.add.at(sums, owner, values)
    return sums


def _inverse_inertia(masses: Floats, arms: Floats, owner: Integers, count: int) -> Floats:
    squares = (arms**2).sum(axis=1)[:, None, None] * np.eye(3) - arms[:, :, None] * arms[:, None, :]
    inertia = _sums(masses[:, None, None] * squares, owner, count)
    return np.asarray(np.linalg.pinv(inertia, rcond=LINEAR, hermitian=True))
