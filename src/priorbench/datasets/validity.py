"""What a source delivers must be whole, finite and possible in space; what is not is refused by number."""

from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from priorbench.errors import PriorbenchError
from priorbench.frames import volume_of_periodic

if TYPE_CHECKING:
    from priorbench.datasets.blocks import Block

LARGEST = 1000.0  # Å, extent along directions that are not periodic
OUTSIDE = 1e-6  # of a cell vector
LONGEST = 1e4  # Å, of a cell vector; a million atoms of water fill a box of 215 Å
FARTHEST = 1e6  # Å, of an atom from the origin
THINNEST = 0.05  # Å, of a periodic cell; the images of a thinner one are without number
CROWDED = 200.0  # atoms in a cubic Å, of which neighbours would fill the memory; nm taken for Å have a hundred
STRONGEST = 1e12  # eV and eV/Å; what is trained on has single precision


def check_block(block: "Block") -> None:
    """Refuse arrays that do not fit each other, and the first structure with a value that cannot be used."""
    structures, atoms = len(block.energies), len(block.atomic_numbers)
    sizes = np.diff(block.offsets)
    if (
        len(block.offsets) != structures + 1
        or block.offsets[0] != 0
        or block.offsets[-1] != atoms
        or (sizes <= 0).any()
        or block.positions.shape != (atoms, 3)
        or block.forces.shape != (atoms, 3)
        or block.cells.shape != (structures, 3, 3)
        or block.pbc.shape != (structures, 3)
        or block.groups.shape != (structures,)
    ):
        raise PriorbenchError(f"{block.where}: its arrays do not fit each other; the file is damaged, fetch it again")
    owner = np.repeat(np.arange(structures), sizes)

    def of_atoms(bad: Any) -> NDArray[np.bool_]:
        return np.bincount(owner[bad], minlength=structures) > 0

    mend = "mend or remove the structure"
    checks = [
        ("its energy is missing or not finite", ~np.isfinite(block.energies)),
        ("a cell vector is not finite", ~np.isfinite(block.cells).all(axis=(1, 2))),
        ("a position is missing or not finite", of_atoms(~np.isfinite(block.positions).all(axis=1))),
        ("a force is missing or not finite", of_atoms(~np.isfinite(block.forces).all(axis=1))),
        (
            "an element is outside the periodic table",
            of_atoms((block.atomic_numbers < 1) | (block.atomic_numbers > 118)),
        ),
    ]
    for reason, bad in checks:
        _refuse_first(block, bad, f"{reason}; {mend}")
    far, strong = np.abs(block.positions) > FARTHEST, np.abs(block.forces) > STRONGEST
    bounds = [
        (f"a cell vector is longer than {LONGEST:g} Å", np.asarray((np.abs(block.cells) > LONGEST).any(axis=(1, 2)))),
        (f"an atom is farther than {FARTHEST:g} Å from the origin", of_atoms(far.any(axis=1))),
        (f"its energy is larger than {STRONGEST:g} eV", np.abs(block.energies) > STRONGEST),
        (f"a force is larger than {STRONGEST:g} eV/Å", of_atoms(strong.any(axis=1))),
    ]
    for reason, bad in bounds:
        _refuse_first(block, bad, f"{reason}; {mend}")
    volumes = volume_of_periodic(block.cells, block.pbc)
    flat = block.pbc.any(axis=1) & ((volumes < 1e-6) | (_thickness(block, volumes) < THINNEST))
    _refuse_first(block, flat, f"its periodic cell has zero volume; {mend}, or correct its pbc")
    crowded = block.pbc.all(axis=1) & (sizes > CROWDED * volumes)
    _refuse_first(block, crowded, f"it has more than {CROWDED:g} atoms in a cubic Å; {mend}, or correct its cell")
    outside = of_atoms(_outside(block, owner))
    _refuse_first(
        block,
        outside,
        "an atom lies outside the cell along a non-periodic direction; correct the cell or the pbc, or leave the cell "
        "vector out",
    )
    wide = _extents(block, owner) > LARGEST
    _refuse_first(
        block,
        wide,
        f"atoms lie more than {LARGEST:g} Å apart along a non-periodic direction; {mend}, or correct its pbc",
    )


def _thickness(block: "Block", volumes: NDArray[np.float64]) -> NDArray[np.float64]:
    """Smallest distance between opposite faces of each periodic cell, (S,) Å; infinite where nothing is periodic."""
    found = np.full(len(block.energies), np.inf)
    for axis in range(3):
        others = block.pbc & (np.arange(3) != axis)
        faces = volume_of_periodic(block.cells, others)
        with np.errstate(divide="ignore", invalid="ignore"):
            found = np.where(block.pbc[:, axis], np.fmin(found, volumes / faces), found)
    return found


def _extents(block: "Block", owner: NDArray[np.int64]) -> NDArray[np.float64]:
    """Largest extent of each structure across its periodic directions, (S,) Å."""
    if block.pbc.all():
        return np.zeros(len(block.energies))
    periodic = np.where(block.pbc[:, :, None], block.cells, 0.0)
    across = np.eye(3) - np.linalg.pinv(periodic) @ periodic
    apart = np.einsum("ak,akc->ac", block.positions, across[owner])
    low, high = (f.reduceat(apart, block.offsets[:-1], axis=0) for f in (np.minimum, np.maximum))
    return np.asarray((high - low).max(axis=1))


def _outside(block: "Block", owner: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Whether an atom lies beyond a cell vector that is there but not periodic, (A,)."""
    given = np.linalg.norm(block.cells, axis=2) > 0
    bounded = (given & ~block.pbc) & (np.abs(np.linalg.det(block.cells)) > 1e-6)[:, None]
    if not bounded.any():
        return np.zeros(len(block.positions), np.bool_)
    whole = np.where(bounded.any(axis=1)[:, None, None], block.cells, np.eye(3))
    fractional = np.einsum("ak,akc->ac", block.positions, np.linalg.inv(whole)[owner])
    beyond = (fractional < -OUTSIDE) | (fractional > 1 + OUTSIDE)
    return np.asarray((beyond & bounded[owner]).any(axis=1))


def _refuse_first(block: "Block", bad: Any, reason: str) -> None:
    if bad.any():
        refuse(block, int(bad.argmax()), reason)


def refuse(block: "Block", structure: int, reason: str) -> NoReturn:
    """Refuse a structure of ``block``, by its number."""
    raise PriorbenchError(f"{block.where}: structure {structure}: {reason}")
