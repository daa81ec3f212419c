"""Training, validation and test structures: whole groups, never single structures, go to one side."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from priorbench.errors import PriorbenchError
from priorbench.frames import Frames
from priorbench.io import read_json, write_json

SIDES = ("train", "validation", "test")
Split = dict[str, NDArray[np.int64]]


def split(frames: Path, spec: Mapping[str, Any], output: Path) -> None:
    """Split the structures of ``frames`` as ``spec`` says and write their indices to ``output`` (JSON).

    ``spec`` has the shares of the groups ``train`` and ``validation`` (the rest is the test set), ``seed``, and
    ``max_train``, ``max_validation``, ``max_test`` (structures kept on a side; null: all).
    """
    content = Frames.load(frames)
    owner = np.unique(content.groups, return_inverse=True)[1]
    order = _mixed_order(owner, content.subsystems, np.random.default_rng([spec["seed"], 0]))
    sides = np.split(order, _cuts(len(order), spec["train"], spec["validation"], str(frames)))
    structures = {
        side: _draw(np.flatnonzero(np.isin(owner, members)), spec[f"max_{side}"], spec["seed"], stream)
        for stream, (side, members) in enumerate(zip(SIDES, sides, strict=True), start=1)
    }
    groups = {side: len(np.unique(owner[chosen])) for side, chosen in structures.items()}
    indices = {side: chosen.tolist() for side, chosen in structures.items()}
    write_json(output, {"frames": content.metadata["hash"], "seed": spec["seed"], **indices, "groups": groups})


def load_split(path: Path, frames_hash: str, frames: Frames | None = None) -> Split:
    """Read a split: structure indices (int64, ascending) by side.

    A split of frames with another hash, and one that shares a structure between two sides, is refused; with ``frames``
    so are indices beyond its end and a group on two sides.
    """
    content = read_json(path)
    if not isinstance(content, dict) or not {"frames", *SIDES} <= set(content):
        raise PriorbenchError(f"{path}: not a split file; delete it and run again")
    if content["frames"] != frames_hash:
        raise PriorbenchError(f"{path}: the split was made for other frames; delete it and run again")
    sides = {side: np.asarray(content[side], np.int64) for side in SIDES}
    _refuse_shared(path, "structure", sides)
    if frames is not None:
        everything = np.concatenate(list(sides.values()))
        if everything.min(initial=0) < 0 or everything.max(initial=0) >= len(frames):
            raise PriorbenchError(f"{path}: the split names structures that the frames do not have; run it again")
        _refuse_shared(path, "group", {side: np.unique(frames.groups[chosen]) for side, chosen in sides.items()})
    return sides


def _refuse_shared(path: Path, what: str, sides: Mapping[str, NDArray[Any]]) -> None:
    values, counts = np.unique(np.concatenate(list(sides.values())), return_counts=True)
    if (counts > 1).any():
        raise PriorbenchError(
            f"{path}: {what} {int(values[counts > 1][0])} is more than once in the split; delete it and run again"
        )


def _mixed_order(
    owner: NDArray[np.int64], subsystems: NDArray[np.int16], random: np.random.Generator
) -> NDArray[np.int64]:
    """Groups in random order with every subsystem spread evenly, so that each stretch holds its share of all.

    ``owner`` (S,) is the group of each structure, counted from 0.
    """
    first = np.unique(owner, return_index=True)[1]
    strata = subsystems[first]
    position = np.empty(len(first))
    for stratum in np.unique(strata):
        members = np.flatnonzero(strata == stratum)
        position[members] = (random.permutation(len(members)) + random.random()) / len(members)
    return np.argsort(position, kind="stable")


def _cuts(groups: int, train: float, validation: float, where: str) -> list[int]:
    """Where the list of groups is cut into three sides, none of them empty."""
    if groups < len(SIDES):
        raise PriorbenchError(
            f"{where}: {groups} independent groups cannot be split into train, validation and test; "
            "take more trajectories or structures"
        )
    in_test = max(1, round((1 - train - validation) * groups))
    in_validation = max(1, round(validation * groups))
    in_train = max(1, groups - in_test - in_validation)
    return [in_train, min(in_train + in_validation, groups - 1)]


def _draw(structures: NDArray[np.int64], most: int | None, seed: int, stream: int) -> NDArray[np.int64]:
    """At most ``most`` of ``structures`` at random, ascending; fewer are always a subset of more."""
    shuffled = np.random.default_rng([seed, stream]).permutation(structures)
    return np.sort(shuffled[:most])
