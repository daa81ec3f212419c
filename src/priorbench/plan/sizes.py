"""How many structures of how many atoms each side of a split will have: from the frames where they exist already, else
from what the source expects.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from priorbench.config import Config
from priorbench.datasets.base import Expected
from priorbench.datasets.pipeline import expected
from priorbench.errors import PriorbenchError
from priorbench.frames import Frames
from priorbench.runs import dataset_spec, split_spec
from priorbench.splits import SIDES, whole_sides

Kind = TypeVar("Kind", bound=np.generic)
Origin = Literal["frames", "options"]


@dataclass(frozen=True)
class Sizes:
    """Of one dataset; ``counts`` of validation and test are those before near-duplicates are left out."""

    origin: Origin
    counts: dict[str, list[int]]  # structures of a side, one number a seed
    atoms: list[int]  # of each training structure of the first seed
    structures: list[int]  # places of these among the frames
    total: int  # structures of the dataset
    periodic: bool
    frames: Path | None = None  # where they are

    @property
    def mean_atoms(self) -> float:
        """Of a training structure."""
        return float(np.mean(self.atoms))

    def typical(self, count: int) -> list[int]:
        """Positions in ``atoms`` of ``count`` training structures whose sizes are spread as those of all."""
        order = np.argsort(self.atoms, kind="stable")
        places = ((np.arange(count) + 0.5) / count * len(order)).astype(int)
        return [int(i) for i in order[places]]


def sizes_of(config: Config, dataset: str, results: Path) -> Sizes | None:
    """Sizes of ``dataset``; None where they are unknown until it is read.

    Frames under ``results``/<experiment> count only where they were made from the options that the configuration has.
    """
    spec = dataset_spec(config, dataset)
    path = results / config.experiment / "data" / dataset / "frames.safetensors"
    frames = Frames.load(path) if path.is_file() else None
    if frames is not None and frames.metadata.get("dataset") == spec:
        periodic = bool(np.asarray(frames.pbc).any())
        return _sizes(config, dataset, frames, "frames", periodic, path)
    entries = expected(spec)
    if not entries:
        return None
    return _sizes(config, dataset, outline(entries), "options", all(e.periodic for e in entries), None)


def outline(entries: list[Expected]) -> Frames:
    """Frames of the expected structures with nothing in them but sizes, groups and official sides.

    The other arrays are views of one number, so that millions of atoms take no memory.
    """
    counts = [e.structures for e in entries]
    offsets = np.concatenate([[0], np.cumsum(np.repeat([e.atoms for e in entries], counts))]).astype(np.int64)
    total, atoms = sum(counts), int(offsets[-1])
    groups, first = [], 0
    for entry in entries:
        number = entry.groups or entry.structures
        groups.append(first + np.arange(entry.structures) * number // entry.structures)
        first += number
    official = np.repeat([e.official for e in entries], counts).astype(np.int8)
    return Frames(
        positions=_nothing(np.float64, atoms, 3),
        forces=_nothing(np.float64, atoms, 3),
        energies=_nothing(np.float64, total),
        cells=_nothing(np.float64, total, 3, 3),
        pbc=_nothing(np.bool_, total, 3),
        atomic_numbers=_nothing(np.int16, atoms),
        offsets=offsets,
        groups=np.concatenate(groups).astype(np.int32),
        subsystems=_nothing(np.int16, total),
        official=official,
        molecules=_nothing(np.int32, atoms),
        bonds=_nothing(np.int32, 0, 2),
        bond_offsets=_nothing(np.int64, total + 1),
    )


def limited(available: int, wanted: int | None, where: str) -> int:
    """Training structures of a stage that asks for so many (None: all)."""
    if wanted is not None and wanted > available:
        raise PriorbenchError(f"{where}: structures: {wanted} are asked for, the training side has {available}")
    return available if wanted is None else wanted


def _sizes(config: Config, dataset: str, frames: Frames, origin: Origin, periodic: bool, path: Path | None) -> Sizes:
    where = str(path) if path else f"dataset {dataset}"
    splits = [whole_sides(frames, split_spec(config, seed), where) for seed in config.seeds]
    train = splits[0]["train"]
    return Sizes(
        origin,
        {side: [len(split[side]) for split in splits] for side in SIDES},
        [int(n) for n in frames.sizes[train]],
        [int(s) for s in train],
        len(frames),
        periodic,
        path,
    )


def _nothing(kind: type[Kind], *shape: int) -> NDArray[Kind]:
    return np.broadcast_to(np.zeros((), kind), shape)
