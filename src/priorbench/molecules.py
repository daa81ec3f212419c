"""Covalent bonds and intact molecules perceived from geometry, whatever the order of the atoms.

Non-metals are bonded where they are close, images counted: a hydrogen to any other at most :data:`STRETCH` times the
sum of their covalent radii apart (1.3 Å for oxygen), two others at most 1.25 times; two hydrogens never.  A molecule
is a set of bonded atoms; it is intact when each of its hydrogens has exactly one bond and, if it has only one other
atom and that is an oxygen, there are two hydrogens.  So a shared proton (H5O2+), hydronium and hydroxide make no
intact molecule, and neither does an atom without bonds or a metal.

Why 1.3 Å: quantum nuclei stretch covalent bonds in DFT water up to this length, and the shortest hydrogen bonds reach
down to it.  In the path-integral set revpbe0_d3 the number of structures that are not all intact water is 71 for
every length from 1.29 to 1.31 Å, the smallest number that any length gives; in 14 of them even the rule "each hydrogen
belongs to its nearest oxygen" leaves an oxygen without exactly two.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from priorbench.neighbours import Pairs, pairs_within

BOND = 1.3  # Å, oxygen to hydrogen
STRETCH = BOND / (0.66 + 0.31)  # of the covalent radii of 10.1039/b801115j, as in ASE
HEAVY_STRETCH = 1.25
HYDROGEN, OXYGEN = 1, 8
NON_METALS = (1, 5, 6, 7, 8, 9, 14, 15, 16, 17, 34, 35, 53)
REACH = 3.5  # Å, no bond between non-metals is longer


def covalent_radii() -> NDArray[np.float64]:
    """Covalent radius of each element, Å, by atomic number."""
    from ase.data import covalent_radii

    return np.asarray(covalent_radii, np.float64)


def bonded(pairs: Pairs, atomic_numbers: NDArray[Any], radii: NDArray[np.float64]) -> NDArray[np.int32]:
    """The bonds among ``pairs``, (B, 2), each once with the smaller index first, ascending."""
    a, b = atomic_numbers[pairs.first], atomic_numbers[pairs.second]
    hydrogens = (a == HYDROGEN).astype(np.int64) + (b == HYDROGEN)
    stretch = np.array([HEAVY_STRETCH, STRETCH, 0.0])[hydrogens]
    near = pairs.lengths <= stretch * (radii[a] + radii[b])
    near &= np.isin(a, NON_METALS) & np.isin(b, NON_METALS) & (pairs.first != pairs.second)
    ends = np.sort(np.column_stack([pairs.first[near], pairs.second[near]]), axis=1)
    return np.unique(ends, axis=0).astype(np.int32).reshape(-1, 2)


def intact_molecules(
    bonds: NDArray[Any], atomic_numbers: NDArray[Any], offsets: NDArray[np.int64]
) -> NDArray[np.int32]:
    """Number the intact molecules of each structure from 0, in the order of their first heavy atom; −1: in none.

    ``bonds`` (B, 2) are places in the atom arrays (A,) that ``offsets`` (S + 1,) divides into structures → (A,).
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    count = len(atomic_numbers)
    if count == 0:
        return np.zeros(0, np.int32)
    graph = coo_array((np.ones(len(bonds), np.int8), (bonds[:, 0], bonds[:, 1])), shape=(count, count))
    components, owner = connected_components(graph, directed=False)
    degree = np.bincount(bonds.ravel(), minlength=count)
    hydrogen = atomic_numbers == HYDROGEN
    intact = np.bincount(owner, minlength=components) > 1
    intact[owner[hydrogen & (degree != 1)]] = False
    heavy = np.bincount(owner[~hydrogen], minlength=components)
    oxygens = np.bincount(owner[atomic_numbers == OXYGEN], minlength=components)
    lone_oxygen = (heavy == 1) & (oxygens == 1)
    intact &= ~lone_oxygen | (np.bincount(owner[hydrogen], minlength=components) == 2)

    first = np.full(components, count, np.int64)
    places = np.flatnonzero(~hydrogen)
    np.minimum.at(first, owner[places], places)
    chosen = np.flatnonzero(intact)
    chosen = chosen[np.argsort(first[chosen], kind="stable")]
    structure = np.searchsorted(offsets, first[chosen], side="right") - 1
    before = np.searchsorted(structure, structure, side="left")
    number = np.full(components, -1, np.int32)
    number[chosen] = np.arange(len(chosen)) - before
    return np.asarray(number[owner], np.int32)


def perceive_molecules(
    positions: NDArray[np.float64],
    cell: NDArray[np.float64],
    pbc: NDArray[np.bool_],
    atomic_numbers: NDArray[Any],
) -> NDArray[np.int32]:
    """Number the intact molecules of one structure; −1 for other atoms.

    ``positions`` (n, 3) Å, wrapped or not; ``cell`` (3, 3) Å, rows; ``pbc`` (3,); ``atomic_numbers`` (n,) → (n,).
    """
    bonds = bonded(pairs_within(positions, cell, pbc, REACH), atomic_numbers, covalent_radii())
    return intact_molecules(bonds, atomic_numbers, np.array([0, len(atomic_numbers)]))
