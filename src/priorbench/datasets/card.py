"""The data card: what a dataset is, where it comes from and the numbers by which a copy is recognised."""

from itertools import combinations_with_replacement
from typing import Any

import numpy as np

from priorbench.datasets.blocks import all_intact
from priorbench.frames import Frames
from priorbench.neighbours import neighbour_list

SEARCHED = 3.0  # Å within which the shortest distances are sought


def describe(frames: Frames) -> dict[str, Any]:
    """Provenance from the frames' metadata, and counts and spreads from their arrays; JSON throughout."""
    names = frames.metadata["subsystems"]
    per_atom = frames.energies / frames.sizes
    sizes, numbers = np.unique(frames.sizes, return_counts=True)
    return {
        **frames.metadata,
        "hash": frames.hash(),
        "structures": len(frames),
        "atoms": len(frames.positions),
        "structures_by_atoms": {str(size): int(number) for size, number in zip(sizes, numbers, strict=True)},
        "structures_by_subsystem": {name: int((frames.subsystems == i).sum()) for i, name in enumerate(names)},
        "atoms_by_element": _atoms_by_element(frames),
        "groups": len(np.unique(frames.groups)),
        "force_std_eV_per_A": float(frames.forces.std()),
        "largest_net_force_eV_per_A": _largest_net_force(frames),
        "energy_mean_eV_per_atom": float(per_atom.mean()),
        "energy_std_meV_per_atom": float(per_atom.std() * 1e3),
        "shortest_distances_A": shortest_distances(frames),
        "intact_molecules": _intact_molecules(frames),
        "structures_not_all_intact": int((~all_intact(frames)).sum()),
    }


def shortest_distances(frames: Frames) -> dict[str, float]:
    """Shortest distance (Å) by pair of elements ("H-O"), images counted; pairs never within 3 Å are left out."""
    elements = np.unique(frames.atomic_numbers).astype(np.int64)
    shortest = np.full((len(elements), len(elements)), np.inf)
    for structure in range(len(frames)):
        atoms, cell = frames.atoms_of(structure), frames.cells[structure]
        positions = frames.positions[atoms]
        senders, receivers, shifts = neighbour_list(positions, cell, frames.pbc[structure], SEARCHED)
        lengths = np.linalg.norm(positions[senders] - positions[receivers] + shifts @ cell, axis=1)
        kinds = np.searchsorted(elements, frames.atomic_numbers[atoms])
        np.minimum.at(shortest, (kinds[receivers], kinds[senders]), lengths)
    pairs = combinations_with_replacement(range(len(elements)), 2)
    symbols = [_symbol(number) for number in elements]
    return {f"{symbols[a]}-{symbols[b]}": float(shortest[a, b]) for a, b in pairs if np.isfinite(shortest[a, b])}


def _atoms_by_element(frames: Frames) -> dict[str, int]:
    elements, counts = np.unique(frames.atomic_numbers, return_counts=True)
    return {_symbol(element): int(count) for element, count in zip(elements, counts, strict=True)}


def _largest_net_force(frames: Frames) -> float:
    net = np.add.reduceat(frames.forces, frames.offsets[:-1], axis=0)
    return float(np.linalg.norm(net, axis=1).max())


def _intact_molecules(frames: Frames) -> int:
    return int((np.maximum.reduceat(frames.molecules, frames.offsets[:-1]) + 1).sum())


def _symbol(number: Any) -> str:
    from ase.data import chemical_symbols

    return str(chemical_symbols[int(number)])
