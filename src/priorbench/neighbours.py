"""Neighbour lists: built once per dataset and cutoff, stored with integer image shifts.

The vector of an edge points from its receiver i to its sender j: ``r_j - r_i + shift @ cell`` (Å), at most the cutoff
long.  Every pair is there in both directions; an atom meets its own images but never itself.  Edges are sorted by
receiver, then sender, then shift, so that the same frames give the same bytes.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from priorbench.errors import PriorbenchError
from priorbench.frames import Frames
from priorbench.tensors import read_tensors, write_tensors

EdgeList = tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.int8]]


@dataclass(frozen=True)
class Neighbours:
    """Edges of all structures as flat arrays: S structures, E edges over all of them."""

    edge_offsets: NDArray[np.int64]  # (S + 1,), edges of structure s are edge_offsets[s]:edge_offsets[s + 1]
    senders: NDArray[np.int32]  # (E,) atom j, counted within its structure
    receivers: NDArray[np.int32]  # (E,) atom i, counted within its structure
    shifts: NDArray[np.int8]  # (E, 3) cells by which the image of j that is meant is displaced
    cutoff: float  # Å
    frames_hash: str  # content hash of the frames the list belongs to

    def edges_of(self, structure: int) -> slice:
        """The slice of the edge arrays that belongs to ``structure``."""
        return slice(int(self.edge_offsets[structure]), int(self.edge_offsets[structure + 1]))

    @classmethod
    def load(cls, path: Path, frames_hash: str, cutoff: float) -> "Neighbours":
        """Read a list written by :func:`build`; one of other frames or another cutoff (Å) is refused."""
        arrays, metadata = read_tensors(path)
        if set(arrays) != {"edge_offsets", "senders", "receivers", "shifts"} or "cutoff" not in metadata:
            raise PriorbenchError(f"{path}: not a neighbour list (arrays {sorted(arrays)})")
        if metadata["frames"] != frames_hash:
            raise PriorbenchError(f"{path}: the neighbour list belongs to other frames; delete it and run again")
        if metadata["cutoff"] != cutoff:
            raise PriorbenchError(
                f"{path}: the neighbour list has cutoff {metadata['cutoff']:g} Å, not {cutoff:g} Å; "
                "build one with the cutoff of the backbone"
            )
        return cls(**arrays, cutoff=cutoff, frames_hash=frames_hash)


def neighbour_list(
    positions: NDArray[np.float64], cell: NDArray[np.float64], pbc: NDArray[np.bool_], cutoff: float
) -> EdgeList:
    """Return senders (E,), receivers (E,) and shifts (E, 3) of one structure, sorted.

    ``positions`` (n, 3) Å may lie outside the cell; ``cell`` (3, 3) Å has the vectors as rows, which may be zero where
    ``pbc`` (3,) is false; ``cutoff`` (Å) may exceed half the cell.
    """
    # vesin imports torch where torch is installed, and building the DAG must not.
    from vesin import NeighborList

    # One thread: many structures are small, and the order of the work stays fixed.
    search = NeighborList(cutoff=float(cutoff), full_list=True, n_threads=1)
    points, box = np.asarray(positions, np.float64), np.asarray(cell, np.float64)
    receivers, senders, shifts = search.compute(points, box, [bool(p) for p in pbc], "ijS")
    order = np.lexsort((shifts[:, 2], shifts[:, 1], shifts[:, 0], senders, receivers))
    if np.abs(shifts).max(initial=0) > np.iinfo(np.int8).max:
        raise PriorbenchError("an atom lies more than 127 cells away from another; wrap the positions into the cell")
    return senders[order].astype(np.int32), receivers[order].astype(np.int32), shifts[order].astype(np.int8)


def build(frames: Path, cutoff: float, output: Path) -> None:
    """Write the neighbour lists of all structures in ``frames`` within ``cutoff`` (Å) to ``output``."""
    if not (np.isfinite(cutoff) and cutoff > 0):
        raise PriorbenchError(f"cutoff: {cutoff:g} Å is not a positive length")
    content = Frames.load(frames)
    lists = [_edges(frames, content, structure, cutoff) for structure in range(len(content))]
    columns = list(zip(*lists, strict=True))
    arrays: dict[str, NDArray[Any]] = {
        "edge_offsets": np.concatenate([[0], np.cumsum([len(senders) for senders in columns[0]])]).astype(np.int64),
        "senders": np.concatenate(columns[0]),
        "receivers": np.concatenate(columns[1]),
        "shifts": np.concatenate(columns[2]),
    }
    write_tensors(output, arrays, {"frames": content.metadata["hash"], "cutoff": float(cutoff)})


def _edges(path: Path, frames: Frames, structure: int, cutoff: float) -> EdgeList:
    atoms = frames.atoms_of(structure)
    try:
        return neighbour_list(frames.positions[atoms], frames.cells[structure], frames.pbc[structure], cutoff)
    except PriorbenchError as error:
        raise PriorbenchError(f"{path}: structure {structure}: {error}") from None
