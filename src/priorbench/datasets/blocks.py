"""From the rectangular arrays that sources deliver to the flat arrays of :class:`~priorbench.frames.Frames`."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from priorbench.frames import Frames
from priorbench.molecules import perceive_molecules


@dataclass(frozen=True)
class Block:
    """F periodic structures of the same n atoms, in Å, eV and eV/Å."""

    positions: NDArray[np.float64]  # (F, n, 3) Å
    forces: NDArray[np.float64]  # (F, n, 3) eV/Å
    energies: NDArray[np.float64]  # (F,) eV
    cells: NDArray[np.float64]  # (F, 3, 3) Å, rows
    atomic_numbers: NDArray[np.int16]  # (n,)
    groups: NDArray[np.int32]  # (F,) counted from 0 within the block
    subsystem: int = 0  # index into metadata["subsystems"]


def assemble(blocks: Sequence[Block], metadata: dict[str, Any]) -> Frames:
    """Lay ``blocks`` end to end, their groups kept apart, and perceive the molecules of every structure."""
    starts = np.concatenate([[0], np.cumsum([int(b.groups.max(initial=-1)) + 1 for b in blocks])])
    sizes = np.concatenate([np.full(len(b.energies), len(b.atomic_numbers)) for b in blocks])
    return Frames(
        positions=np.concatenate([b.positions.reshape(-1, 3) for b in blocks]).astype(np.float64),
        forces=np.concatenate([b.forces.reshape(-1, 3) for b in blocks]).astype(np.float64),
        energies=np.concatenate([b.energies for b in blocks]).astype(np.float64),
        cells=np.concatenate([b.cells for b in blocks]).astype(np.float64),
        pbc=np.ones((len(sizes), 3), np.bool_),
        atomic_numbers=np.concatenate([np.tile(b.atomic_numbers, len(b.energies)) for b in blocks]).astype(np.int16),
        offsets=np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64),
        groups=np.concatenate([b.groups + start for b, start in zip(blocks, starts, strict=False)]).astype(np.int32),
        subsystems=np.concatenate([np.full(len(b.energies), b.subsystem) for b in blocks]).astype(np.int16),
        molecules=np.concatenate([_molecules(b) for b in blocks]),
        metadata=metadata,
    )


def take(frames: Frames, structures: NDArray[np.int64]) -> Frames:
    """Only ``structures`` of ``frames``, in the order given; groups are numbered from 0 again."""
    slices = [frames.atoms_of(int(structure)) for structure in structures]
    atoms = np.concatenate([np.arange(s.start, s.stop) for s in slices] or [np.zeros(0, np.int64)])
    return Frames(
        positions=frames.positions[atoms],
        forces=frames.forces[atoms],
        energies=frames.energies[structures],
        cells=frames.cells[structures],
        pbc=frames.pbc[structures],
        atomic_numbers=frames.atomic_numbers[atoms],
        offsets=np.concatenate([[0], np.cumsum(frames.sizes[structures])]).astype(np.int64),
        groups=np.unique(frames.groups[structures], return_inverse=True)[1].astype(np.int32),
        subsystems=frames.subsystems[structures],
        molecules=frames.molecules[atoms],
        metadata=frames.metadata,
    )


def all_intact(frames: Frames) -> NDArray[np.bool_]:
    """Whether every atom of a structure belongs to an intact molecule, (S,)."""
    return np.minimum.reduceat(frames.molecules, frames.offsets[:-1]) >= 0


def _molecules(block: Block) -> NDArray[np.int32]:
    pbc = np.ones(3, np.bool_)
    numbers = block.atomic_numbers
    perceived = [
        perceive_molecules(x, cell, pbc, numbers) for x, cell in zip(block.positions, block.cells, strict=True)
    ]
    return np.concatenate([*perceived, np.zeros(0, np.int32)])
