"""From what a source read of one file to the flat arrays of :class:`~priorbench.frames.Frames`."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from priorbench.datasets.distances import by_value, kinds
from priorbench.datasets.groups import draw_groups
from priorbench.datasets.plausibility import (
    Survey,
    check_density,
    check_labels,
    check_lengths,
    check_overlap,
    survey,
)
from priorbench.datasets.validity import check_block
from priorbench.frames import NEITHER, Frames, items_of
from priorbench.molecules import intact_molecules

FAR = 8  # cells
FAR_AWAY = 100.0  # Å


@dataclass(frozen=True)
class Block:
    """S structures with A atoms in all from one file, in its order, in Å, eV and eV/Å."""

    positions: NDArray[np.float64]  # (A, 3) Å, wrapped or not
    forces: NDArray[np.float64]  # (A, 3) eV/Å
    energies: NDArray[np.float64]  # (S,) eV
    cells: NDArray[np.float64]  # (S, 3, 3) Å, rows
    pbc: NDArray[np.bool_]  # (S, 3)
    atomic_numbers: NDArray[np.int16]  # (A,)
    offsets: NDArray[np.int64]  # (S + 1,)
    groups: NDArray[np.int32]  # (S,) counted from 0 within the block
    where: str = "structures"  # what an error names: the file or the part
    subsystem: int = 0  # index into metadata["subsystems"]
    official: int = NEITHER  # side that the source itself assigns


def rectangular(
    positions: NDArray[np.float64],
    forces: NDArray[np.float64],
    energies: NDArray[np.float64],
    cells: NDArray[np.float64],
    atomic_numbers: NDArray[np.int16],
    groups: NDArray[np.int32],
    pbc: tuple[bool, bool, bool] = (True, True, True),
    where: str = "structures",
    subsystem: int = 0,
    official: int = NEITHER,
) -> Block:
    """A block of F structures of the same n atoms: positions and forces (F, n, 3), atomic numbers (n,)."""
    count, atoms = positions.shape[:2]
    return Block(
        positions=positions.reshape(-1, 3),
        forces=forces.reshape(-1, 3),
        energies=energies,
        cells=cells,
        pbc=np.tile(np.array(pbc, np.bool_), (count, 1)),
        atomic_numbers=np.tile(atomic_numbers, count).astype(np.int16),
        offsets=np.arange(count + 1, dtype=np.int64) * atoms,
        groups=groups,
        where=where,
        subsystem=subsystem,
        official=official,
    )


def assemble(blocks: Sequence[Block], metadata: dict[str, Any], plausible: bool = True) -> Frames:
    """Check ``blocks``, lay them end to end, their groups kept apart, and perceive bonds and molecules.

    What cannot be trained on is refused with file, structure and reason; so are units that are not Å, eV and eV/Å as
    far as physical ranges tell, unless ``plausible`` is false.
    """
    surveys = [check(block, plausible) for block in blocks]
    blocks = [tidied(block) for block in blocks]
    starts = np.concatenate([[0], np.cumsum([int(b.groups.max(initial=-1)) + 1 for b in blocks])])
    sizes = np.concatenate([np.diff(b.offsets) for b in blocks])
    offsets = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
    bonds = np.concatenate([s.bonds for s in surveys])
    bond_counts = np.concatenate([s.bond_counts for s in surveys])
    numbers = np.concatenate([b.atomic_numbers for b in blocks]).astype(np.int16)
    first_atom = np.repeat(offsets[:-1], bond_counts)[:, None]
    return Frames(
        positions=np.concatenate([b.positions for b in blocks]).astype(np.float64),
        forces=np.concatenate([b.forces for b in blocks]).astype(np.float64),
        energies=np.concatenate([b.energies for b in blocks]).astype(np.float64),
        cells=np.concatenate([b.cells for b in blocks]).astype(np.float64),
        pbc=np.concatenate([b.pbc for b in blocks]).astype(np.bool_),
        atomic_numbers=numbers,
        offsets=offsets,
        groups=np.concatenate([b.groups + start for b, start in zip(blocks, starts, strict=False)]).astype(np.int32),
        subsystems=np.concatenate([np.full(len(b.energies), b.subsystem) for b in blocks]).astype(np.int16),
        official=np.concatenate([np.full(len(b.energies), b.official) for b in blocks]).astype(np.int8),
        molecules=intact_molecules(bonds + first_atom, numbers, offsets),
        bonds=bonds,
        bond_offsets=np.concatenate([[0], np.cumsum(bond_counts)]).astype(np.int64),
        metadata={**metadata, "shortest_distances_A": _shortest(surveys)},
    )


def check(block: Block, plausible: bool = True) -> Survey:
    """Refuse a ``block`` that cannot be trained on, and unless ``plausible`` is false one in other units."""
    check_block(block)
    if plausible:
        check_density(block)
    found = survey(block)
    if plausible:
        check_lengths(block, found)
    check_overlap(block, found)
    if plausible:
        check_labels(block)
    return found


def tidied(block: Block) -> Block:
    """The same structures with coordinates that single precision can hold, in cells whose nearest images are near.

    Only what needs it is changed: a skewed cell is replaced by a reduced one of the same lattice, atoms that have
    drifted ``FAR`` cells away are wrapped, and a molecule ``FAR_AWAY`` from the origin is moved there.
    """
    from ase.geometry.minkowski_reduction import minkowski_reduce

    owner = np.repeat(np.arange(len(block.energies)), np.diff(block.offsets))
    cells, positions = block.cells.copy(), block.positions.copy()
    places = np.flatnonzero(block.pbc.any(axis=1))
    for kind in by_value(kinds(block, places)):
        # One integer matrix for all similar cells: each reduced by itself would have a basis of its own.
        members, structure = places[kind], int(places[kind[0]])
        # Directions without a vector get one, for the reduction leaves them alone.
        whole = np.where((np.abs(cells[structure]).sum(axis=1) > 0)[:, None], cells[structure], np.eye(3))
        reduced, matrix = minkowski_reduce(whole, block.pbc[structure])
        if (reduced**2).sum() < (1 - 1e-9) * (whole**2).sum():  # not only in another order
            cells[members] = np.where(block.pbc[structure][:, None], matrix @ cells[members], cells[members])
    periodic = np.where(block.pbc[:, :, None], cells, 0.0)
    whole_cells = np.floor(np.einsum("ak,akc->ac", positions, np.linalg.pinv(periodic)[owner])) * block.pbc[owner]
    far = np.bincount(owner[(np.abs(whole_cells) > FAR).any(axis=1)], minlength=len(cells)) > 0
    atoms = np.flatnonzero(far[owner])
    positions[atoms] -= np.einsum("ak,akc->ac", whole_cells[atoms], periodic[owner[atoms]])
    for s in np.flatnonzero(~block.pbc.any(axis=1)):
        own = slice(int(block.offsets[s]), int(block.offsets[s + 1]))
        if np.abs(positions[own]).max() > FAR_AWAY:
            positions[own] -= positions[own].mean(axis=0)
    return replace(block, cells=cells, positions=positions)


def take(frames: Frames, structures: NDArray[np.int64]) -> Frames:
    """Only ``structures`` of ``frames``, in the order given; groups are numbered from 0 again."""
    if np.array_equal(structures, np.arange(len(frames))):
        return frames
    atoms, bonds = items_of(frames.offsets, structures), items_of(frames.bond_offsets, structures)
    taken = Frames(
        positions=frames.positions[atoms],
        forces=frames.forces[atoms],
        energies=frames.energies[structures],
        cells=frames.cells[structures],
        pbc=frames.pbc[structures],
        atomic_numbers=frames.atomic_numbers[atoms],
        offsets=np.concatenate([[0], np.cumsum(frames.sizes[structures])]).astype(np.int64),
        groups=np.unique(frames.groups[structures], return_inverse=True)[1].astype(np.int32),
        subsystems=frames.subsystems[structures],
        official=frames.official[structures],
        molecules=frames.molecules[atoms],
        bonds=frames.bonds[bonds],
        bond_offsets=np.concatenate([[0], np.cumsum(np.diff(frames.bond_offsets)[structures])]).astype(np.int64),
        metadata=frames.metadata,
    )
    return replace(taken, metadata={**taken.metadata, "shortest_distances_A": survey(taken).shortest})


def filtered(frames: Frames, intact_only: bool, max_structures: int | None) -> Frames:
    """``frames``, or only the intact ones, and of these whole groups with at most so many structures; may be none."""
    chosen = np.flatnonzero(all_intact(frames)) if intact_only else np.arange(len(frames))
    if max_structures is not None and len(chosen):
        groups = np.unique(frames.groups[chosen], return_inverse=True)[1].astype(np.int32)
        chosen = chosen[draw_groups(groups, max_structures)]
    return take(frames, chosen)


def all_intact(frames: Frames) -> NDArray[np.bool_]:
    """Whether every atom of a structure belongs to an intact molecule, (S,)."""
    return np.minimum.reduceat(frames.molecules, frames.offsets[:-1]) >= 0


def _shortest(surveys: Sequence[Survey]) -> dict[str, float]:
    pairs = sorted({pair for found in surveys for pair in found.shortest})
    return {pair: min(found.shortest.get(pair, np.inf) for found in surveys) for pair in pairs}
