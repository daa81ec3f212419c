"""Neighbour lists: built once per dataset and cutoff, stored with integer image shifts.

The vector of an edge points from its receiver i to its sender j: ``r_j - r_i + shift @ cell`` (Å), at most the cutoff
long.  Every pair is there in both directions; an atom meets its own images but never itself.  Edges are sorted by
receiver, then sender, then shift, so that the same frames give the same bytes.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from priorbench.errors import PriorbenchError
from priorbench.frames import Frames
from priorbench.tensors import Arrays, Layout, map_tensors, misfit, write_tensors

EdgeList = tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.int8]]
LAYOUT: Layout = {
    "counts": ("u2", ("A",)),
    "edge_offsets": ("i8", ("S+1",)),
    "senders": ("i", ("E",)),
    "shift_codes": ("u", ("E",)),
    "shift_table": ("i1", ("K", 3)),
}


@dataclass(frozen=True)
class Neighbours:
    """Edges of all structures as flat arrays, three or five bytes an edge: A atoms, S structures, E edges in all."""

    counts: NDArray[np.uint16]  # (A,) edges that each atom receives; they lie together, in the order of the atoms
    edge_offsets: NDArray[np.int64]  # (S + 1,), edges of structure s are edge_offsets[s]:edge_offsets[s + 1]
    senders: NDArray[Any]  # (E,) atom j, counted within its structure; int16 or int32
    shift_codes: NDArray[Any]  # (E,) row of the table; uint8 or uint16
    shift_table: NDArray[np.int8]  # (K, 3) cells by which the image of j that is meant is displaced
    cutoff: float  # Å
    frames_hash: str  # content hash of the frames the list belongs to
    reach: float = 0.0  # Å by which edges are longer than the cutoff, for tasks that move atoms

    def edges_of(self, offsets: NDArray[np.int64], structure: int) -> EdgeList:
        """Senders (e,), receivers (e,) and shifts (e, 3) of one structure, given the frames' atom ``offsets``."""
        edges = slice(int(self.edge_offsets[structure]), int(self.edge_offsets[structure + 1]))
        counts = self.counts[offsets[structure] : offsets[structure + 1]]
        receivers = np.repeat(np.arange(len(counts), dtype=np.int32), counts)
        return self.senders[edges].astype(np.int32), receivers, self.shift_table[self.shift_codes[edges]]

    @classmethod
    def load(cls, path: Path, frames_hash: str, cutoff: float) -> "Neighbours":
        """Map a list written by :func:`build`; one of other frames or another cutoff (Å) is refused."""
        arrays, metadata = map_tensors(path)
        if set(arrays) != set(LAYOUT) or not {"frames", "cutoff"} <= set(metadata):
            raise PriorbenchError(f"{path}: not a neighbour list (arrays {sorted(arrays)}); delete it and run again")
        # Lists of earlier versions have no hash.
        if misfit(arrays, LAYOUT) is not None or metadata.get("hash", "") not in ("", _hash(arrays)):
            raise PriorbenchError(f"{path}: the neighbour list does not match its hash; delete it and run again")
        if metadata["frames"] != frames_hash:
            raise PriorbenchError(f"{path}: the neighbour list belongs to other frames; delete it and run again")
        if metadata["cutoff"] != cutoff:
            raise PriorbenchError(
                f"{path}: the neighbour list has cutoff {metadata['cutoff']:g} Å, not {cutoff:g} Å; "
                "build one with the cutoff of the backbone"
            )
        return cls(**arrays, cutoff=cutoff, frames_hash=frames_hash, reach=0.0)


@dataclass(frozen=True)
class Pairs:
    """Pairs of atoms of one structure, each once, images counted."""

    first: NDArray[np.int64]  # (P,)
    second: NDArray[np.int64]  # (P,)
    lengths: NDArray[np.float64]  # (P,) Å


def pairs_within(
    positions: NDArray[np.float64], cell: NDArray[np.float64], pbc: NDArray[np.bool_], cutoff: float
) -> Pairs:
    """All pairs at most ``cutoff`` (Å) apart, in no particular order; arguments as in :func:`neighbour_list`."""
    first, second, lengths = _search(positions, cell, pbc, cutoff, full=False, quantities="ijd")
    return Pairs(first.astype(np.int64), second.astype(np.int64), lengths)


def neighbour_list(
    positions: NDArray[np.float64], cell: NDArray[np.float64], pbc: NDArray[np.bool_], cutoff: float
) -> EdgeList:
    """Return senders (E,), receivers (E,) and shifts (E, 3) of one structure, sorted.

    ``positions`` (n, 3) Å may lie outside the cell; ``cell`` (3, 3) Å has the vectors as rows, which may be zero where
    ``pbc`` (3,) is false; ``cutoff`` (Å) may exceed half the cell.
    """
    receivers, senders, shifts = _search(positions, cell, pbc, cutoff, full=True, quantities="ijS")
    _refuse_far(shifts)
    low, high = (shifts.min(axis=0), shifts.max(axis=0)) if len(shifts) else (np.zeros(3, int),) * 2
    # One sort by one key instead of five.
    wide = (high - low + 1).astype(np.int64)
    key = receivers.astype(np.int64) * len(positions) + senders
    for axis in range(3):
        key = key * wide[axis] + (shifts[:, axis] - low[axis])
    order = np.argsort(key)
    return senders[order].astype(np.int32), receivers[order].astype(np.int32), shifts[order].astype(np.int8)


def neighbours_by_receiver(
    positions: NDArray[np.float64], cell: NDArray[np.float64], pbc: NDArray[np.bool_], cutoff: float
) -> EdgeList:
    """The edges of :func:`neighbour_list` sorted by receiver alone: for lists used once, at two thirds of the cost."""
    receivers, senders, shifts = _search(positions, cell, pbc, cutoff, full=True, quantities="ijS")
    _refuse_far(shifts)
    # Of 16-bit keys numpy's stable sort is a radix sort.
    keys = receivers.astype(np.uint16 if len(positions) <= np.iinfo(np.uint16).max else np.int64)
    order = np.argsort(keys, kind="stable")
    return senders[order].astype(np.int32), receivers[order].astype(np.int32), shifts[order].astype(np.int8)


def _refuse_far(shifts: NDArray[Any]) -> None:
    """Raise for shifts (E, 3) that int8 does not hold."""
    if len(shifts) and max(-shifts.min(), shifts.max()) > np.iinfo(np.int8).max:
        raise PriorbenchError("an atom lies more than 127 cells away from another; wrap the positions into the cell")


def _search(
    positions: NDArray[np.float64],
    cell: NDArray[np.float64],
    pbc: NDArray[np.bool_],
    cutoff: float,
    full: bool,
    quantities: str,
) -> list[NDArray[Any]]:
    # vesin imports torch where torch is installed, and building the DAG must not.
    from vesin import NeighborList

    # One thread: many structures are small, and the order of the work stays fixed.
    search = NeighborList(cutoff=float(cutoff), full_list=full, n_threads=1)
    points, box = np.asarray(positions, np.float64), np.asarray(cell, np.float64)
    if len(points) == 0:
        points = np.zeros((0, 3))
    found: list[NDArray[Any]] = search.compute(points, box, [bool(p) for p in pbc], quantities)
    return found


def build(frames: Path, cutoff: float, output: Path) -> None:
    """Write the neighbour lists of all structures in ``frames`` within ``cutoff`` (Å) to ``output``."""
    if not (np.isfinite(cutoff) and cutoff > 0):
        raise PriorbenchError(f"cutoff: {cutoff:g} Å is not a positive length")
    content = Frames.load(frames, verify=True)
    arrays = _lists(content, cutoff, str(frames))
    metadata = {"frames": content.metadata["hash"], "cutoff": float(cutoff), "hash": _hash(arrays)}
    write_tensors(output, arrays, metadata)


def reaching(frames: Frames, neighbours: Neighbours, reach: float) -> Neighbours:
    """Lists of the ``frames`` that go ``reach`` (Å) further than the ``neighbours``; these themselves where it is 0."""
    if reach == 0:
        return neighbours
    arrays = _lists(frames, neighbours.cutoff + reach, f"{reach:g} Å beyond the cutoff")
    return Neighbours(**arrays, cutoff=neighbours.cutoff, frames_hash=neighbours.frames_hash, reach=reach)


def _lists(content: Frames, cutoff: float, where: str) -> dict[str, Any]:
    """The arrays of :class:`Neighbours`; ``where`` is said where a structure has none."""
    codes: dict[bytes, int] = {}
    small = content.sizes.max(initial=0) <= np.iinfo(np.int16).max
    counts, senders, shift_codes = [], [], []
    for structure in range(len(content)):
        sender, receiver, shift = _edges(where, content, structure, cutoff)
        counts.append(_counts(receiver, int(content.sizes[structure])))
        senders.append(sender.astype(np.int16 if small else np.int32))
        shift_codes.append(_coded(shift, codes))
    return {
        "counts": np.concatenate(counts),
        "edge_offsets": np.concatenate([[0], np.cumsum([len(sender) for sender in senders])]).astype(np.int64),
        "senders": np.concatenate(senders),
        "shift_codes": np.concatenate(shift_codes).astype(np.uint8 if len(codes) <= 256 else np.uint16),
        "shift_table": np.frombuffer(b"".join(codes), np.int8).reshape(-1, 3),
    }


def _hash(arrays: Arrays) -> str:
    """SHA-256 over the bytes of all arrays, hexadecimal."""
    digest = hashlib.sha256()
    for name in LAYOUT:
        digest.update(np.ascontiguousarray(arrays[name]).data)
    return digest.hexdigest()


def _counts(receivers: NDArray[np.int32], atoms: int) -> NDArray[np.uint16]:
    counts = np.bincount(receivers, minlength=atoms)
    if counts.max(initial=0) > np.iinfo(np.uint16).max:
        raise PriorbenchError(f"an atom has {counts.max()} neighbours; lower the cutoff")
    return counts.astype(np.uint16)


def _coded(shifts: NDArray[np.int8], codes: dict[bytes, int]) -> NDArray[np.uint16]:
    """Row of each shift (e, 3) in the growing table ``codes``, whose keys are the shifts' bytes in order."""
    flat = (shifts.astype(np.int64) + 128) @ np.array([65536, 256, 1])
    distinct, places = np.unique(flat, return_inverse=True)
    rows = [bytes(((value >> bits & 255) - 128) & 255 for bits in (16, 8, 0)) for value in distinct.tolist()]
    table = np.array([codes.setdefault(row, len(codes)) for row in rows], np.int64)
    if len(codes) > np.iinfo(np.uint16).max:
        raise PriorbenchError("atoms lie in more than 65535 different cells; wrap the positions into the cell")
    return table[places].astype(np.uint16) if len(table) else np.zeros(0, np.uint16)


def _edges(where: str, frames: Frames, structure: int, cutoff: float) -> EdgeList:
    atoms = frames.atoms_of(structure)
    try:
        return neighbour_list(frames.positions[atoms], frames.cells[structure], frames.pbc[structure], cutoff)
    except PriorbenchError as error:
        raise PriorbenchError(f"{where}: structure {structure}: {error}") from None
