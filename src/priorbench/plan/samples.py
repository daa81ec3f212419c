"""A few structures to count and time steps on: some of the experiment's own, or water of the same numbers of atoms."""

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from priorbench.bench.boxes import WATER, water_boxes
from priorbench.datasets.blocks import Block, assemble, rectangular, take
from priorbench.frames import Frames
from priorbench.neighbours import Neighbours, build

SMALLEST = 24  # atoms of a periodic box
CLUSTER = 384  # atoms of the box that molecules without a cell are cut from
NARROWER = 0.85  # of the distances between its molecules


def sample(
    folder: Path, cutoff: float, atoms: list[int], periodic: bool, frames: str | None, structures: list[int]
) -> tuple[Frames, Neighbours]:
    """Structures of about so many ``atoms``, with their neighbours within ``cutoff`` (Å), by files in ``folder``.

    They are ``structures`` of the file ``frames``, or where there is none water with random labels.
    """
    content = take(Frames.load(Path(frames)), np.array(structures)) if frames else water(atoms, cutoff, periodic)
    # Of an experiment's own frames the masking of labels that some lack would refuse the subset.
    metadata = {key: value for key, value in content.metadata.items() if key not in ("hash", "unlabelled", "relabels")}
    content = Frames(**content.arrays(), metadata=metadata)
    content.save(folder / "frames.safetensors")
    build(folder / "frames.safetensors", cutoff, folder / "neighbours.safetensors")
    loaded = Frames.load(folder / "frames.safetensors")
    return loaded, Neighbours.load(folder / "neighbours.safetensors", loaded.metadata["hash"], cutoff)


def water(atoms: list[int], cutoff: float, periodic: bool) -> Frames:
    """Boxes, or clusters without a cell, of whole molecules: of ``atoms`` rounded to multiples of three."""
    least = SMALLEST if periodic else len(WATER)
    wanted = Counter(max(least, len(WATER) * round(n / len(WATER))) for n in atoms)
    make = _boxes if periodic else _clusters
    blocks = [make(size, cutoff, count) for size, count in sorted(wanted.items())]
    return assemble(blocks, {"source": "plan", "subsystems": ["water"]}, plausible=False)


def _boxes(atoms: int, cutoff: float, count: int) -> Block:
    positions, length = water_boxes(atoms, cutoff, count)
    return _labelled(positions, np.tile(np.eye(3) * length, (count, 1, 1)), periodic=True)


def _clusters(atoms: int, cutoff: float, count: int) -> Block:
    """The molecules nearest to the middle of a box of water, drawn together: within a third of rmd17's edges."""
    positions, length = water_boxes(CLUSTER, cutoff, count)
    molecules = positions.reshape(count, -1, *WATER.shape)
    oxygens = molecules[:, :, :1]
    molecules = molecules - oxygens + NARROWER * oxygens
    length *= NARROWER
    far = np.linalg.norm(molecules[:, :, 0] - length / 2, axis=2)
    nearest = np.argsort(far, axis=1)[:, : atoms // len(WATER), None, None]
    chosen = np.take_along_axis(molecules, nearest, axis=1).reshape(count, -1, 3)
    return _labelled(chosen, np.zeros((count, 3, 3)), periodic=False)


def _labelled(positions: NDArray[np.float64], cells: NDArray[np.float64], periodic: bool) -> Block:
    rng = np.random.default_rng(0)
    count, atoms = positions.shape[:2]
    pbc: Any = (periodic,) * 3
    return rectangular(
        positions=positions,
        forces=rng.normal(scale=0.7, size=positions.shape),
        energies=rng.normal(-100.0 * (atoms // 3), 0.3, count),
        cells=cells,
        atomic_numbers=np.tile(np.array([8, 1, 1], np.int16), atoms // 3),
        groups=np.arange(count, dtype=np.int32),
        pbc=pbc,
    )
