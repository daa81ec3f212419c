"""Water molecules perceived from geometry, whatever the order of the atoms.

Oxygen and hydrogen are bonded where they are at most :data:`BOND` apart, images counted.  A molecule is intact when an
oxygen has exactly two hydrogens and neither of them is bonded to another oxygen: a stretched bond, a shared proton
(H5O2+), hydronium and hydroxide make no molecule.

Why 1.3 Å: quantum nuclei stretch covalent bonds in DFT water up to this length, and the shortest hydrogen bonds reach
down to it.  In the path-integral set revpbe0_d3 the number of structures that are not all intact water is 71 for
every length from 1.29 to 1.31 Å, the smallest number that any length gives; in 14 of them even the rule "each hydrogen
belongs to its nearest oxygen" leaves an oxygen without exactly two.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from priorbench.neighbours import neighbour_list

BOND = 1.3  # Å
HYDROGEN, OXYGEN = 1, 8


def perceive_molecules(
    positions: NDArray[np.float64],
    cell: NDArray[np.float64],
    pbc: NDArray[np.bool_],
    atomic_numbers: NDArray[Any],
) -> NDArray[np.int32]:
    """Number the intact water molecules of one structure from 0, in the order of their oxygens; -1 for other atoms.

    ``positions`` (n, 3) Å, wrapped or not; ``cell`` (3, 3) Å, rows; ``pbc`` (3,); ``atomic_numbers`` (n,) → (n,).
    """
    candidates = np.flatnonzero((atomic_numbers == HYDROGEN) | (atomic_numbers == OXYGEN))
    senders, receivers, _ = neighbour_list(positions[candidates], cell, pbc, BOND)
    hydrogens, oxygens = candidates[senders], candidates[receivers]
    bonds = (atomic_numbers[oxygens] == OXYGEN) & (atomic_numbers[hydrogens] == HYDROGEN)
    hydrogens, oxygens = hydrogens[bonds], oxygens[bonds]

    count = len(atomic_numbers)
    own = np.bincount(hydrogens, minlength=count)[hydrogens] == 1
    intact = np.bincount(oxygens, minlength=count) == 2
    intact &= np.bincount(oxygens[own], minlength=count) == 2

    molecules = np.full(count, -1, np.int32)
    molecules[intact] = np.arange(intact.sum())
    members = intact[oxygens]
    molecules[hydrogens[members]] = molecules[oxygens[members]]
    return molecules
