"""The part of a force field between atoms that are near: screened charges and Lennard-Jones; nm, kJ/mol, kJ/mol/nm.

OpenMM 8.6.1 has this part too, but its Reference platform misses pairs in skewed boxes (up to 0.2 kJ/mol in water here;
for its CPU platform see openmm/openmm issue 5382), and no cutoff may exceed half the box.  The neighbour lists of this
package have neither fault.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from priorbench.neighbours import neighbours_by_receiver

COULOMB = 138.93545764438198  # kJ/mol nm, of two unit charges, as in OpenMM
SWITCH = 0.15  # nm, width over which Lennard-Jones is switched off below the cutoff

EnergyAndForces = tuple[float, NDArray[np.float64]]  # forces (3n, 3)
Terms = tuple[NDArray[np.float64], NDArray[np.float64]]  # energies and their derivatives by the distance, (P,) each


@dataclass(frozen=True)
class RealSpace:
    """Interactions of water molecules, atoms in the order O, H, H, within a cutoff, images included."""

    charges: NDArray[np.float64]  # (3,) of one molecule
    sigma: float  # nm, between oxygens
    epsilon: float  # kJ/mol
    cutoff: float  # nm
    screening: float  # 1/nm, the Ewald parameter

    def evaluate(
        self, positions: NDArray[np.float64], vectors: NDArray[np.float64]
    ) -> tuple[float, NDArray[np.float64]]:
        """Energy and forces (3n, 3) of whole molecules at ``positions`` (3n, 3) in the box ``vectors`` (3, 3), rows."""
        senders, receivers, shifts = neighbours_by_receiver(positions, vectors, np.ones(3, np.bool_), self.cutoff)
        arms = positions[senders] - positions[receivers] + shifts @ vectors
        lengths = np.linalg.norm(arms, axis=1)
        energies, slopes = self._pairs(senders, receivers, lengths)
        pulls = arms * (slopes / lengths)[:, None]
        forces = np.stack([np.bincount(receivers, pulls[:, axis], len(positions)) for axis in range(3)], axis=1)
        within, forces_within = self._within(positions.reshape(-1, 3, 3))
        tail = self._tail(len(positions) // 3, float(np.linalg.det(vectors)))
        return float(energies.sum()) / 2 - within + tail, forces - forces_within

    def _pairs(self, first: NDArray[Any], second: NDArray[Any], lengths: NDArray[np.float64]) -> Terms:
        energies, slopes = self._screened(self.charges[first % 3] * self.charges[second % 3], lengths)
        oxygens = np.flatnonzero((first % 3 == 0) & (second % 3 == 0))
        for total, part in zip((energies, slopes), self._lennard_jones(lengths[oxygens]), strict=True):
            total[oxygens] += part
        return energies, slopes

    def _screened(self, products: NDArray[np.float64], lengths: NDArray[np.float64]) -> Terms:
        from scipy.special import erfc

        energies = COULOMB * products * erfc(self.screening * lengths) / lengths
        width = 2 * self.screening / np.sqrt(np.pi)
        gaussian = COULOMB * products * width * np.exp(-((self.screening * lengths) ** 2))
        return energies, -(energies + gaussian) / lengths

    def _lennard_jones(self, lengths: NDArray[np.float64]) -> Terms:
        sixth = (self.sigma / lengths) ** 6
        energies = 4 * self.epsilon * (sixth**2 - sixth)
        slopes = -24 * self.epsilon * (2 * sixth**2 - sixth) / lengths
        kept, falling = self._switch(lengths)
        return energies * kept, slopes * kept + energies * falling

    def _switch(self, lengths: NDArray[np.float64]) -> Terms:
        """From 1 to 0 over the width of the switch, twice differentiable, as in OpenMM."""
        x = np.clip((lengths - (self.cutoff - SWITCH)) / SWITCH, 0, 1)
        return 1 - x**3 * (10 - 15 * x + 6 * x**2), -30 * (x * (1 - x)) ** 2 / SWITCH

    def _within(self, molecules: NDArray[np.float64]) -> EnergyAndForces:
        """Of the bare charges of each molecule (n, 3, 3): the force field leaves them out."""
        energy, forces = 0.0, np.zeros_like(molecules)
        for i, j in ((0, 1), (0, 2), (1, 2)):
            arms = molecules[:, j] - molecules[:, i]
            lengths = np.linalg.norm(arms, axis=1)
            energies = COULOMB * self.charges[i] * self.charges[j] / lengths
            pull = arms * (-energies / lengths**2)[:, None]
            energy += float(energies.sum())
            forces[:, i] += pull
            forces[:, j] -= pull
        return energy, forces.reshape(-1, 3)

    def _tail(self, molecules: int, volume: float) -> float:
        """What the switch and the cutoff take off Lennard-Jones, were oxygens distributed evenly."""
        nodes, weights = np.polynomial.legendre.leggauss(16)
        lengths = self.cutoff + (nodes - 1) / 2 * SWITCH
        sixth = (self.sigma / lengths) ** 6
        missing = 4 * self.epsilon * (sixth**2 - sixth) * (1 - self._switch(lengths)[0])
        switched = float((weights * lengths**2 * missing).sum()) / 2 * SWITCH
        sixth_at_end = (self.sigma / self.cutoff) ** 6
        beyond = 4 * self.epsilon * self.cutoff**3 * (sixth_at_end**2 / 9 - sixth_at_end / 3)
        return 2 * np.pi * molecules**2 / volume * (switched + beyond)
