"""Water boxes to time training on: any size, the edges per atom of real water, nothing downloaded or simulated.

Rigid molecules in random orientation sit on a jittered lattice; labels are random.  What a step costs depends on how
many atoms and edges there are, so the lattice constant is chosen for the latter; forces and energies are never fitted
well.
"""

import math
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from priorbench.datasets.blocks import assemble, rectangular
from priorbench.datasets.tip3p_simulation import ANGLE, BOND_LENGTH
from priorbench.errors import PriorbenchError
from priorbench.frames import Frames
from priorbench.neighbours import build, pairs_within

OH, HOH = BOND_LENGTH, math.radians(ANGLE)
WATER = np.array([[0, 0, 0], [OH, 0, 0], [OH * math.cos(HOH), OH * math.sin(HOH), 0]])
JITTER = 0.15  # Å, largest displacement of a molecule along each axis
# Edges per atom of revPBE0-D3 water (192 atoms) and of the paper's TIP3P water (774), by cutoff in Å.
REFERENCE = {192: {3.4: 12.6, 3.5: 14.0}, 774: {3.4: 14.8, 3.5: 16.5}}
TOLERANCE = 0.002  # of the edges per atom
NARROW, WIDE = 2.0, 8.0  # Å, bounds of the lattice constant
MULTIPLIERS = 48  # tried for the lattice
TILE = 64  # molecules at least in what is repeated along all three axes

Positions = NDArray[np.float64]  # (S, n, 3) Å


def edges_per_atom(atoms: int, cutoff: float) -> float:
    """What boxes of so many ``atoms`` are given at ``cutoff`` (Å): the reference of the nearest size."""
    reference = REFERENCE[min(REFERENCE, key=lambda size: abs(size - atoms))]
    if cutoff in reference:
        return reference[cutoff]
    return float(np.mean(list(reference.values()))) * (cutoff / float(np.mean(list(reference)))) ** 3


def water_boxes(atoms: int, cutoff: float, count: int, seed: int = 0) -> tuple[Positions, float]:
    """Positions (S, n, 3) of ``count`` boxes of rigid water and the edge of their cubic cell (Å)."""
    rng = np.random.default_rng(seed)
    molecules = atoms // 3
    sites = lattice(molecules)
    rotations = random_rotations(rng, count * molecules).reshape(count, molecules, 3, 3)
    local = np.einsum("smrk,ak->smar", rotations, WATER) + rng.uniform(-JITTER, JITTER, (count, molecules, 1, 3))

    def at(length: float) -> Positions:
        return np.asarray((local + length * sites[:, None]).reshape(count, atoms, 3))

    wanted, scale = edges_per_atom(atoms, cutoff), molecules ** (1 / 3)
    low, high = NARROW * scale, WIDE * scale
    while high - low > 1e-6:
        length = (low + high) / 2
        found = count_edges(at(length), length, cutoff) / (count * atoms)
        if abs(found / wanted - 1) <= TOLERANCE:
            return at(length), length
        low, high = (length, high) if found > wanted else (low, length)
    raise PriorbenchError(f"no box of {atoms} atoms has {wanted:.3g} edges per atom at {cutoff:g} Å; take another size")


def count_edges(positions: Positions, length: float, cutoff: float) -> int:
    """Directed edges within ``cutoff`` in all cubic boxes of edge ``length`` (Å)."""
    cell, pbc = np.eye(3) * length, np.ones(3, np.bool_)
    return 2 * sum(len(pairs_within(p, cell, pbc, cutoff).lengths) for p in positions)


def lattice(count: int) -> NDArray[np.float64]:
    """``count`` places in the periodic unit cube, all alike and far from each other, (count, 3).

    A rank-1 lattice, (i, a·i, b·i)/count mod 1 with the multipliers of the longest shortest vector: it exists for any
    number of molecules, where a cubic one would have vacancies.  A large one is made of copies of a small one, for the
    best of large ones are not among the multipliers that are tried, and so that molecules beside each other mostly
    have numbers near each other, as in boxes that a program has packed.
    """
    copies = max((m for m in range(1, round((count / TILE) ** (1 / 3)) + 1) if count % m**3 == 0), default=1)
    if copies > 1:
        corners = np.stack(np.meshgrid(*[np.arange(copies)] * 3, indexing="ij"), axis=-1).reshape(-1, 1, 3)
        return ((lattice(count // copies**3) + corners) / copies).reshape(-1, 3)
    places = np.arange(count, dtype=np.int64)
    squares = np.minimum(places, count - places) ** 2  # of the distance to the nearest image of 0
    tried = np.unique(np.linspace(1, max(count // 2, 1), MULTIPLIERS).astype(np.int64))
    along = squares[places * tried[:, None] % count][:, 1:]  # (K, count − 1)
    shortest = np.array([(squares[1:] + a + along).min(axis=1, initial=count**2) for a in along])
    a, b = np.unravel_index(int(shortest.argmax()), shortest.shape)
    return np.stack([places, places * tried[a], places * tried[b]], axis=1) % count / count


def random_rotations(rng: np.random.Generator, count: int) -> NDArray[np.float64]:
    """Rotation matrices of uniformly distributed unit quaternions, (count, 3, 3)."""
    q = rng.normal(size=(count, 4))
    w, x, y, z = (q / np.linalg.norm(q, axis=1, keepdims=True)).T
    rows = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
    ]
    return np.moveaxis(np.array(rows), 2, 0)


def make_frames(atoms: int, cutoff: float, count: int, seed: int = 0) -> Frames:
    """``count`` boxes with random forces (eV/Å) and energies (eV), every structure a group of its own."""
    positions, length = water_boxes(atoms, cutoff, count, seed)
    rng = np.random.default_rng(seed + 1)
    block = rectangular(
        positions=positions,
        forces=rng.normal(scale=0.7, size=positions.shape),
        energies=rng.normal(-100.0 * (atoms // 3), 0.3, count),
        cells=np.tile(np.eye(3) * length, (count, 1, 1)),
        atomic_numbers=np.tile(np.array([8, 1, 1], np.int16), atoms // 3),
        groups=np.arange(count, dtype=np.int32),
    )
    return assemble([block], {"source": "bench", "subsystems": ["box"]}, plausible=False)


def write_boxes(folder: Path, atoms: int, cutoff: float, count: int) -> Frames:
    """Write ``frames.safetensors`` and ``neighbours.safetensors`` of ``count`` boxes into ``folder``."""
    frames = make_frames(atoms, cutoff, count)
    frames.save(folder / "frames.safetensors")
    build(folder / "frames.safetensors", cutoff, folder / "neighbours.safetensors")
    return frames


def prepare(folder: str, backbones: list[str], atoms: list[int], count: int) -> dict[str, dict[str, str]]:
    """Write the boxes that the ``backbones`` need at their default cutoffs; their folders by backbone and size."""
    from priorbench.registry import load

    cutoffs = {name: float(load("backbone", name).Options().cutoff) for name in backbones}
    for size in atoms:
        for cutoff in sorted(set(cutoffs.values())):
            write_boxes(_place(folder, size, cutoff), size, cutoff, count)
    return {name: {str(size): str(_place(folder, size, c)) for size in atoms} for name, c in cutoffs.items()}


def _place(folder: str, atoms: int, cutoff: float) -> Path:
    return Path(folder) / f"{atoms}-{cutoff:g}"
