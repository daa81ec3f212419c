"""Nine properties of every element, scaled to [0, 1], by which ForceNet tells atoms apart.

ForceNet (arXiv 2103.01436) uses nine tabulated atomic properties.  Here they are: place in the periodic table (atomic
number, period, group, block, electrons outside the noble-gas core, electrons missing to the next noble gas) and
mass, covalent and van der Waals radius from ASE's tables.  Rows are indexed by atomic number; row 0 is unused.
"""

from functools import cache

import numpy as np
from ase.data import atomic_masses, covalent_radii, vdw_radii
from numpy.typing import NDArray

NOBLE_GASES = (0, 2, 10, 18, 36, 54, 86, 118)
ELEMENTS = 118


def _place(z: int) -> tuple[int, int, int, int, int]:
    """(period, group, block s=0 p=1 d=2 f=3, electrons outside the noble-gas core, electrons missing to the next)."""
    period = next(p for p, last in enumerate(NOBLE_GASES) if z <= last)
    core, closed = NOBLE_GASES[period - 1], NOBLE_GASES[period]
    outside, missing, length = z - core, closed - z, closed - core
    if z == 2:
        return period, 18, 0, outside, missing
    if outside <= 2:
        return period, outside, 0, outside, missing
    if missing < 6:
        return period, 18 - missing, 1, outside, missing
    if length == 32 and outside <= 16:
        return period, 3, 3, outside, missing
    return period, 18 - missing, 2, outside, missing


def _column(table: NDArray[np.float64]) -> NDArray[np.float64]:
    """A table of ASE's without its row 0, NaN where it ends before the last element."""
    values = np.asarray(table[1 : ELEMENTS + 1], dtype=float)
    return np.concatenate([values, np.full(ELEMENTS - len(values), np.nan)])


@cache
def element_properties() -> NDArray[np.float64]:
    """(119, 9): each column scaled over the elements to [0, 1]; a radius that is not tabulated counts as the median."""
    numbers = range(1, ELEMENTS + 1)
    columns = [
        np.array([[z, *_place(z)] for z in numbers], dtype=float),
        np.stack([_column(table) for table in (atomic_masses, covalent_radii, vdw_radii)], axis=1),
    ]
    values = np.concatenate(columns, axis=1)
    values = np.where(np.isfinite(values), values, np.nanmedian(values, axis=0))
    low, high = values.min(axis=0), values.max(axis=0)
    return np.concatenate([np.zeros((1, values.shape[1])), (values - low) / (high - low)])


def atomic_radii() -> NDArray[np.float64]:
    """Covalent radii by atomic number, (119,) Å."""
    return np.concatenate([[0.0], _column(covalent_radii)])
