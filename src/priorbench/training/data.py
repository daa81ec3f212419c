"""What runs read: frames and neighbours once a process, and of each seed's split the structures that may be seen."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from priorbench.errors import PriorbenchError
from priorbench.frames import Frames
from priorbench.io import sha256_file
from priorbench.neighbours import Neighbours, reaching
from priorbench.runs import Spec
from priorbench.splits import draw, load_split
from priorbench.training.labels import Labels
from priorbench.training.store import Store

MEV = 1000.0


@dataclass(frozen=True)
class Inputs:
    """Files that a run reads."""

    frames: Path
    neighbours: Path
    split: Path
    parent: Path | None = None  # weights that finetuning starts from
    budget: Path | None = None  # record of the pretraining whose FLOPs a longer run spends


def inputs_by_run(
    frames: Path,
    neighbours: Path,
    splits: Sequence[Path],
    parents: Sequence[Path] | None = None,
    budgets: Sequence[Path] | None = None,
) -> list[Inputs]:
    """The inputs of each run of a process: frames and neighbours are shared, the rest is one a run, in their order."""
    count = len(splits)
    for option, given in (("--parent", parents), ("--budget", budgets)):
        if given is not None and len(given) != count:
            raise PriorbenchError(f"{option}: {len(given)} given, but {count} of --split; give one for each seed")
    return [
        Inputs(frames, neighbours, split, parents[i] if parents else None, budgets[i] if budgets else None)
        for i, split in enumerate(splits)
    ]


@dataclass(frozen=True)
class Source:
    """Frames and neighbour lists of a dataset, mapped and verified; what is read of them is up to the caller."""

    frames: Frames
    neighbours: Neighbours

    @classmethod
    def load(cls, inputs: Inputs, cutoff: float, reach: float = 0.0) -> Self:
        """Of the files of ``inputs``; ``cutoff`` (Å) must be that of the neighbour lists.

        Lists that are to ``reach`` (Å) further are searched anew.
        """
        frames = Frames.load(inputs.frames, verify=True)
        of = frames.metadata.get("relabels") or frames.metadata["hash"]
        return cls(frames, reaching(frames, Neighbours.load(inputs.neighbours, of, cutoff), reach))

    @property
    def hash(self) -> str:
        """Content hash of the frames; with new labels that of the frames that were labelled."""
        return str(self.frames.metadata.get("relabels") or self.frames.metadata["hash"])

    def side(self, split: Path, name: str) -> NDArray[np.int64]:
        """Indices of the structures on one side of a split file of these frames; those without labels are left out."""
        found = np.asarray(load_split(split, self.hash, self.frames)[name], dtype=np.int64)
        return np.setdiff1d(found, np.asarray(self.frames.metadata.get("unlabelled", []), np.int64))


@dataclass(frozen=True)
class Data:
    """What the network is trained and chosen on."""

    train: Store
    validation: Store
    structures: NDArray[np.int64]  # those of the frames that ``train`` holds
    labels: Labels
    data_hash: str
    split_hash: str
    trivial_force_rmse: float  # meV/Å on the validation split

    @classmethod
    def build(cls, source: Source, split: Path, spec: Spec) -> Self:
        """Training and validation structures of a split on the device of ``spec``; the test structures stay on disk.

        Of the training structures as many as ``structures`` of the spec says are taken, drawn by its seed.
        """
        training, validation = source.side(split, "train"), source.side(split, "validation")
        training = drawn(training, spec.get("structures"), spec["seed"])
        options = {key: spec["task"][name] for key, name in _LABEL_OPTIONS.items() if name in spec["task"]}
        labels = Labels.fit(source.frames, training, **options)
        stores = [
            Store.build(source.frames, source.neighbours, s, labels, spec["device"]) for s in (training, validation)
        ]
        trivial = float(stores[1].forces.double().square().mean().sqrt())
        return cls(
            stores[0], stores[1], training, labels, source.hash, sha256_file(split), trivial * labels.scale * MEV
        )


def fingerprints(frames: Frames, structures: NDArray[np.int64]) -> list[str]:
    """What each structure is recognised by in another dataset: a hash of its elements and positions, (S,)."""
    found = []
    for structure in structures:
        atoms = frames.atoms_of(int(structure))
        digest = hashlib.sha256(np.ascontiguousarray(frames.atomic_numbers[atoms]).tobytes())
        digest.update(np.ascontiguousarray(frames.positions[atoms]).tobytes())
        found.append(digest.hexdigest()[:16])
    return found


_LABEL_OPTIONS = {"spread": "label_spread", "reference": "energy_reference", "target_rms": "target_rms"}
_DRAW = 5  # stream of random numbers


def drawn(structures: NDArray[np.int64], count: int | None, seed: int) -> NDArray[np.int64]:
    """``count`` of the ``structures`` at random, ascending; fewer are among more."""
    if count is None:
        return structures
    if count > len(structures):
        raise PriorbenchError(f"structures: {count} are asked for, the training side has {len(structures)}")
    return draw(structures, count, seed, _DRAW)
