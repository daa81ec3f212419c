"""Constraints for ASE that keep distances as they are, all molecules at once.

SHAKE for positions (doi 10.1016/0021-9991(77)90098-5) and RATTLE for velocities (doi 10.1016/0021-9991(83)90014-1).
``ase.constraints.FixBondLengths`` does the same pair by pair in Python: seconds a step for a box of water.
"""

from typing import Any

import numpy as np
from ase import Atoms
from ase.constraints import FixConstraint
from numpy.typing import NDArray

from priorbench.errors import PriorbenchError

Floats = NDArray[np.float64]
TOLERANCE = 1e-10  # of a squared length, relative
MOST = 500  # iterations


class RigidDistances(FixConstraint):
    """Keeps the distances of ``pairs`` (P, 2) at ``lengths`` (P,) Å; molecules must not be cut by the boundary."""

    def __init__(self, pairs: NDArray[np.int64], lengths: Floats) -> None:
        self.pairs, self.lengths = pairs, lengths
        self._colours = [(pairs[chosen].T, lengths[chosen] ** 2) for chosen in _disjoint(pairs)]

    def get_removed_dof(self, atoms: Atoms) -> int:
        """One for each pair."""
        return len(self.pairs)

    def adjust_positions(self, atoms: Atoms, new: Floats) -> None:
        """Move ``new`` (N, 3) to where the distances hold, along the pairs as they lay before."""
        old, inverse = atoms.positions, 1 / atoms.get_masses()
        for _ in range(MOST):
            worst = 0.0
            for (a, b), squares in self._colours:
                now, before = new[a] - new[b], old[a] - old[b]
                off = squares - (now**2).sum(axis=1)
                worst = np.maximum(worst, np.abs(off / squares).max())  # a NaN stays one
                along = 2 * (now * before).sum(axis=1) * (inverse[a] + inverse[b])
                step = (off / along)[:, None] * before
                new[a] += step * inverse[a][:, None]
                new[b] -= step * inverse[b][:, None]
            if worst < TOLERANCE:
                return
            if not np.isfinite(worst):
                break
        raise PriorbenchError("rigid molecules cannot be kept: atoms move too far in a step")

    def adjust_momenta(self, atoms: Atoms, momenta: Floats) -> None:
        """Take out of ``momenta`` (N, 3) what would change a distance."""
        inverse, r = 1 / atoms.get_masses(), atoms.positions
        scale = max(float(np.abs(momenta * inverse[:, None]).max()), 1e-300)
        for _ in range(MOST):
            worst = 0.0
            for (a, b), squares in self._colours:
                d = r[a] - r[b]
                closing = ((momenta[a] * inverse[a][:, None] - momenta[b] * inverse[b][:, None]) * d).sum(axis=1)
                worst = np.maximum(worst, np.abs(closing / np.sqrt(squares)).max())
                step = (closing / ((d**2).sum(axis=1) * (inverse[a] + inverse[b])))[:, None] * d
                momenta[a] -= step
                momenta[b] += step
            if worst < TOLERANCE * scale:
                return
            if not np.isfinite(worst):
                break
        raise PriorbenchError("rigid molecules cannot be kept: velocities have exploded")

    def adjust_forces(self, atoms: Atoms, forces: Floats) -> None:
        """Take out of ``forces`` (N, 3) what would change a distance."""
        self.adjust_momenta(atoms, forces)

    def todict(self) -> dict[str, Any]:
        """As ASE stores constraints."""
        return {"name": "RigidDistances", "kwargs": {"pairs": self.pairs.tolist(), "lengths": self.lengths.tolist()}}


def _disjoint(pairs: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """Places of ``pairs`` in sets whose pairs share no atom: of water three."""
    sets: list[list[int]] = []
    taken: list[set[int]] = []
    for place, (a, b) in enumerate(pairs.tolist()):
        k = next((k for k, atoms in enumerate(taken) if a not in atoms and b not in atoms), len(sets))
        if k == len(sets):
            sets.append([])
            taken.append(set())
        sets[k].append(place)
        taken[k] |= {a, b}
    return [np.array(chosen) for chosen in sets]
