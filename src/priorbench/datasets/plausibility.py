"""What a source delivers must be in Å, eV and eV/Å; what is not is refused by number.

Units are judged by physical ranges that all condensed matter and molecules near their equilibrium keep:

- Most atoms have their nearest neighbour within 1.5 times the sum of the covalent radii.  In Bohr the ratio is 1.9
  times what it should be, in nm 0.1.  Noble gases and lone atoms, which have no bonds, are left out, and nothing is
  said of pure hydrogen.  No matter has more than ``DENSEST`` atoms in a cubic ångström; in nm there are a thousand
  times as many.
- Force components spread by 0.05 to 10 eV/Å.  Hartree/Bohr are 51 times smaller, kcal/mol/Å 23 times larger.
- No electronic energy lies far below that of the all-electron atoms, about −20.9 Z^(7/3) eV each (Thomas and Fermi,
  0.7687 Hartree with the leading correction); in kcal/mol or kJ/mol it does.
- The energies of one composition spread, per √atoms, by more than 0.02 Å times the spread of the forces; in Hartree,
  27 times smaller, they do not.  (Thermal water has 0.05 Å, mixed phases 0.2 to 0.8 Å.)  For oscillators it is 0.87
  times the distance between structures, so where these are less than 0.1 Å apart, less is asked for in proportion;
  and of fewer than ``MANY`` structures, which may be a short and correlated stretch of dynamics.
"""

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from priorbench.datasets.groups import typical_distance
from priorbench.datasets.validity import refuse
from priorbench.frames import volume_of_periodic
from priorbench.molecules import bonded, covalent_radii
from priorbench.neighbours import pairs_within

if TYPE_CHECKING:
    from priorbench.datasets.blocks import Block
    from priorbench.frames import Frames

SEARCHED = 3.0  # Å, within which every pair of elements has its shortest distance recorded
CLOSEST = 0.4  # of the sum of the covalent radii; nearer atoms overlap
NEAREST = 1.5  # of the sum of the covalent radii, median over the atoms; beyond it Bohr are taken for Å
FORCE_SPREAD = (0.05, 10.0)  # eV/Å
NO_FORCE = 1e-6  # eV/Å, what rounding leaves of forces that are zero by symmetry
LEAST_SPREAD_RATIO = 0.02  # Å
NOBLE_GASES = (2, 10, 18, 36, 54, 86)
FEWEST = 10  # structures from which a spread is judged
MANY = 100  # structures from which that ratio is asked for in full
SPREAD_OUT = 0.1  # Å, typical distance of structures from which that ratio is asked for in full
SAMPLED = 30  # structures between which that distance is measured
NANOMETRE = (0.03, 0.25)  # of the sum of the covalent radii, median over the atoms: nm taken for Å
DENSEST = 2.0  # atoms in a cubic Å
ADVICE = "convert them or declare the units (length_unit, energy_unit), or set check_units: false if they are right"


@dataclass(frozen=True)
class Survey:
    """What one pass over the near pairs of S structures finds."""

    bonds: NDArray[np.int32]  # (B, 2) counted within each structure
    bond_counts: NDArray[np.int64]  # (S,)
    closest: NDArray[np.float64]  # (S,) smallest distance over the sum of the covalent radii; inf where no pair is near
    closest_pair: list[str]  # (S,) the atoms and their distance, for an error
    nearest: float  # median over all atoms of the same ratio of their nearest neighbour
    shortest: dict[str, float]  # Å by pair of elements ("H-O")


def survey(block: "Block | Frames") -> Survey:
    """Bonds, closest pairs and shortest distances of every structure of ``block``."""
    radii = covalent_radii()
    elements = np.unique(block.atomic_numbers).astype(np.int64)
    bonding = [z for z in elements if z not in NOBLE_GASES]
    reach = max(SEARCHED, NEAREST * 2 * float(radii[bonding].max(initial=0.0)))
    kinds = np.full(len(radii), -1, np.int64)
    kinds[elements] = np.arange(len(elements))
    shortest = np.full(len(elements) ** 2, np.inf)
    bonds, closest, described, nearest = [], np.full(len(block.energies), np.inf), [], []
    for s in range(len(block.energies)):
        atoms = slice(int(block.offsets[s]), int(block.offsets[s + 1]))
        numbers = block.atomic_numbers[atoms].astype(np.int64)
        pairs = pairs_within(block.positions[atoms], block.cells[s], block.pbc[s], reach)
        bonds.append(bonded(pairs, numbers, radii))
        ratios = pairs.lengths / (radii[numbers[pairs.first]] + radii[numbers[pairs.second]])
        text = ""
        if len(ratios):
            at = int(ratios.argmin())
            closest[s] = ratios[at]
            text = f"atoms {pairs.first[at]} and {pairs.second[at]} are {pairs.lengths[at]:.3f} Å apart"
        described.append(text)
        own = np.full(len(numbers), np.inf)
        np.minimum.at(own, pairs.first, ratios)
        np.minimum.at(own, pairs.second, ratios)
        if len(numbers) > 1 or block.pbc[s].any():
            nearest.append(own[~np.isin(numbers, NOBLE_GASES)])
        a, b = kinds[numbers[pairs.first]], kinds[numbers[pairs.second]]
        np.minimum.at(shortest, np.minimum(a, b) * len(elements) + np.maximum(a, b), pairs.lengths)
    ratios = np.concatenate([*nearest, np.zeros(0)])
    return Survey(
        bonds=np.concatenate([*bonds, np.zeros((0, 2), np.int32)]).astype(np.int32),
        bond_counts=np.array([len(b) for b in bonds], np.int64),
        closest=closest,
        closest_pair=described,
        nearest=float(np.median(ratios)) if len(ratios) else np.nan,
        shortest=_by_symbols(elements, shortest),
    )


def check_density(block: "Block") -> None:
    """Refuse a block in nm before neighbours are sought, of which there would be a thousand times too many."""
    whole = block.pbc.all(axis=1)
    if not whole.any():
        return
    density = np.diff(block.offsets)[whole] / volume_of_periodic(block.cells[whole], block.pbc[whole])
    if np.median(density) > DENSEST:
        refuse(
            block,
            int(np.flatnonzero(whole)[density.argmax()]),
            f"it has {density.max():.0f} atoms in a cubic Å: positions seem to be in nm, not Å; {ADVICE}",
        )


def check_overlap(block: "Block", found: Survey) -> None:
    """Refuse the first structure in which two atoms lie on each other."""
    bad = found.closest < CLOSEST
    if bad.any():
        at = int(bad.argmax())
        refuse(block, at, f"{found.closest_pair[at]} and overlap; remove the structure or correct its cell")


def check_lengths(block: "Block", found: Survey) -> None:
    """Refuse a block whose lengths lie outside the ranges of the module's docstring."""
    if NANOMETRE[0] < found.nearest < NANOMETRE[1]:
        at = int(found.closest.argmin())
        fractional = bool(((block.positions >= -0.01) & (block.positions <= 1.01)).all())
        suspect = "fractional or in nm" if fractional else "in nm"
        refuse(
            block,
            at,
            f"{found.closest_pair[at]}, as in most of the file: positions seem to be {suspect}, not Å; {ADVICE}",
        )
    if found.nearest > NEAREST and (block.atomic_numbers > 1).any():
        refuse(
            block, 0, f"most atoms have no neighbour at a bond's length: positions seem to be in Bohr, not Å; {ADVICE}"
        )


def check_labels(block: "Block") -> None:
    """Refuse a block whose forces or energies lie outside the ranges of the module's docstring."""
    spread = float(block.forces.std())
    if len(block.forces) >= FEWEST and not _is_plausible(block, spread):
        suspect = "Hartree/Bohr" if spread < FORCE_SPREAD[0] else "kcal/mol/Å or kJ/mol/Å"
        at = int(np.searchsorted(block.offsets, np.abs(block.forces).max(axis=1).argmax(), side="right")) - 1
        refuse(
            block,
            at,
            f"forces spread by {spread:.3g} over the file: they seem to be in {suspect}, not eV/Å (or the structures "
            f"are all relaxed); {ADVICE}",
        )
    _check_energies(block, spread)


def _is_plausible(block: "Block", spread: float) -> bool:
    """Whether forces have a spread that eV/Å may have; none by symmetry and those of noble gases may be small."""
    small = spread < NO_FORCE or bool(np.isin(block.atomic_numbers, NOBLE_GASES).all())
    return spread <= FORCE_SPREAD[1] and (small or spread >= FORCE_SPREAD[0])


def _check_energies(block: "Block", spread: float) -> None:
    all_electron = np.add.reduceat(-20.9 * block.atomic_numbers.astype(float) ** (7 / 3), block.offsets[:-1])
    low = block.energies < 1.5 * all_electron - 50.0 * np.diff(block.offsets)
    if low.any():
        at = int(low.argmax())
        refuse(
            block,
            at,
            f"its energy {block.energies[at]:.6g} is below that of all electrons: energies seem to be in kcal/mol or "
            f"kJ/mol, not eV; {ADVICE}",
        )
    same = _commonest(block)
    if len(same) < FEWEST or spread < NO_FORCE:
        return
    ratio = float(block.energies[same].std() / np.sqrt(np.diff(block.offsets)[same[0]]) / spread)
    if ratio < 1e-9:
        refuse(
            block,
            int(same[0]),
            f"all {len(same)} structures of its composition have the same energy, though their forces differ: is it a "
            f"placeholder? give the energies; {ADVICE}",
        )
    apart = typical_distance(block, same[np.unique(np.linspace(0, len(same) - 1, SAMPLED).astype(int))])
    least = LEAST_SPREAD_RATIO * min(1.0, apart / SPREAD_OUT) * min(1.0, np.sqrt(len(same) / MANY))
    if ratio < least:
        refuse(
            block,
            int(same[0]),
            f"energies of one composition spread {least / ratio:.1f} times less than forces of {spread:.3g} eV/Å "
            f"allow: they seem to be in Hartree, not eV; {ADVICE}",
        )


def _commonest(block: "Block") -> NDArray[np.int64]:
    """The structures of the commonest composition."""
    known: dict[bytes, int] = {}
    composition = np.array(
        [known.setdefault(np.sort(block.atomic_numbers[a:b]).tobytes(), len(known)) for a, b in pairwise(block.offsets)]
    )
    return np.flatnonzero(composition == np.bincount(composition).argmax())


def _by_symbols(elements: NDArray[np.int64], shortest: NDArray[np.float64]) -> dict[str, float]:
    from ase.data import chemical_symbols

    names = [chemical_symbols[z] for z in elements]
    size = len(elements)
    return {
        f"{names[a]}-{names[b]}": float(shortest[a * size + b])
        for a in range(size)
        for b in range(a, size)
        if np.isfinite(shortest[a * size + b])
    }
