"""Training, validation and test structures: whole groups go to one side, and the sides are kept apart in space."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from priorbench.datasets.groups import REACH, Nearness, closest
from priorbench.errors import PriorbenchError
from priorbench.frames import NEITHER, TEST, TRAIN, Frames
from priorbench.io import read_object, write_json

SIDES = ("train", "validation", "test")
Split = dict[str, NDArray[np.int64]]


def split(frames: Path, spec: Mapping[str, Any], output: Path) -> None:
    """Split the structures of ``frames`` as ``spec`` says and write their indices to ``output`` (JSON).

    ``spec`` has the shares of the structures ``train`` and ``validation`` (the rest is the test set), ``seed``,
    ``separation`` (Å; null: what the source takes for near-duplicates, :class:`~priorbench.datasets.groups.Nearness`)
    and ``max_train``, ``max_validation``, ``max_test`` (structures kept on a side; null: all).

    Where the source assigns sides, its test set is the test side and its training set is divided between training and
    validation.  Elsewhere, structures of validation and test nearer than ``separation`` to the training side (test
    also to the validation side) are left out, before ``max_…`` are drawn: the test set never depends on ``max_train``.

    The file also says how near the sides are: ``nearer_than_separation`` counts the structures found too near, of
    which ``left_out`` were left out; ``closest`` is the smallest distance in Å from what remains of a side to the
    training side, null where it is not below the measured range; ``not_comparable`` counts the structures that no
    training structure can be compared to (:func:`~priorbench.datasets.groups.closest`).
    """
    content = Frames.load(frames, verify=True)
    official = bool((content.official != NEITHER).any())
    whole = (_official_sides if official else _drawn_sides)(content, spec, str(frames))
    separation = Nearness.of(content.metadata).distance if spec["separation"] is None else spec["separation"]
    nearer, distances = _nearer(content, whole, separation, official)
    left_out = {side: 0 if official else int(bad.sum()) for side, bad in nearer.items()}
    remaining = dict(whole)
    for side, bad in nearer.items():
        if not official:
            remaining[side], distances[side] = whole[side][~bad], distances[side][~bad]
        if len(remaining[side]) == 0:
            raise PriorbenchError(
                f"{frames}: all {len(whole[side])} {side} structures are nearer than {separation:g} Å to other sides; "
                "lower split.separation or take longer or more trajectories"
            )
    sides = {
        side: draw(remaining[side], spec[f"max_{side}"], spec["seed"], stream)
        for stream, side in enumerate(SIDES, start=1)
    }
    write_json(
        output,
        {
            "frames": content.metadata["hash"],
            "seed": spec["seed"],
            "official": official,
            "separation": separation,
            "nearer_than_separation": {side: int(bad.sum()) for side, bad in nearer.items()},
            "left_out": left_out,
            "closest": {side: _smallest(near) for side, near in distances.items()},
            "not_comparable": {side: int(np.isnan(near).sum()) for side, near in distances.items()},
            "groups": {side: len(np.unique(content.groups[chosen])) for side, chosen in sides.items()},
            "strata": _strata_by_side(content, sides),
            **{side: chosen.tolist() for side, chosen in sides.items()},
        },
    )


def whole_sides(frames: Frames, spec: Mapping[str, Any], where: str) -> Split:
    """The sides that :func:`split` draws, before structures too near to other sides are left out.

    Only validation and test lose some, so the training side is the very one.  Groups, sub-systems, sizes and official
    sides of ``frames`` are all that is read.
    """
    official = bool((frames.official != NEITHER).any())
    whole = (_official_sides if official else _drawn_sides)(frames, spec, where)
    return {s: draw(whole[s], spec[f"max_{s}"], spec["seed"], stream) for stream, s in enumerate(SIDES, start=1)}


def load_split(path: Path, frames_hash: str, frames: Frames | None = None) -> Split:
    """Read a split: structure indices (int64, ascending) by side.

    A split of frames with another hash, and one that shares a structure between two sides, is refused; with ``frames``
    so are indices beyond its end and a group on two sides.
    """
    content = read_object(path, ("frames", *SIDES), "delete it and run again")
    if content["frames"] != frames_hash:
        raise PriorbenchError(f"{path}: the split was made for other frames; delete it and run again")
    sides = {side: _indices(path, side, content[side]) for side in SIDES}
    _refuse_shared(path, "structure", sides)
    if frames is not None:
        everything = np.concatenate(list(sides.values()))
        if everything.min() < 0 or everything.max() >= len(frames):
            raise PriorbenchError(f"{path}: the split names structures that the frames do not have; run it again")
        _refuse_shared(path, "group", {side: np.unique(frames.groups[chosen]) for side, chosen in sides.items()})
    return sides


def _indices(path: Path, side: str, values: Any) -> NDArray[np.int64]:
    """The structures of a side: one or more whole numbers."""
    if (
        not isinstance(values, list)
        or not values
        or any(type(value) is not int or abs(value) >= 2**31 for value in values)
    ):
        raise PriorbenchError(f"{path}: {side} is no list of structure numbers; delete it and run again")
    return np.asarray(values, np.int64)


def _refuse_shared(path: Path, what: str, sides: Mapping[str, NDArray[Any]]) -> None:
    values, counts = np.unique(np.concatenate(list(sides.values())), return_counts=True)
    if (counts > 1).any():
        raise PriorbenchError(
            f"{path}: {what} {int(values[counts > 1][0])} is more than once in the split; delete it and run again"
        )


def _drawn_sides(frames: Frames, spec: Mapping[str, Any], where: str) -> Split:
    """All structures, divided by whole groups in the shares of ``spec``."""
    everything = np.arange(len(frames))
    order, owner = _mixed_order(frames, everything, spec["seed"])
    sizes = np.bincount(owner)
    shares = (spec["train"], spec["validation"], 1 - spec["train"] - spec["validation"])
    # A group that would more than fill a small side by itself goes to the largest, whatever its place in the order.
    large = sizes[order] > 1.5 * min(shares) * len(frames)
    if not large.all() and max(shares) in (shares[0], shares[2]):
        ends = [order[large], order[~large]]
        order = np.concatenate(ends if shares[0] == max(shares) else ends[::-1])
    cuts = _cuts(sizes[order], shares, where)
    return {
        side: np.flatnonzero(np.isin(owner, members))
        for side, members in zip(SIDES, np.split(order, cuts), strict=True)
    }


def _official_sides(frames: Frames, spec: Mapping[str, Any], where: str) -> Split:
    """The source's own test set; its training set divided by group in the proportion of ``spec``."""
    neither = int((frames.official == NEITHER).sum())
    if neither:
        raise PriorbenchError(
            f"{where}: {neither} of {len(frames)} structures are on neither official side; assign all or none in the "
            "source"
        )
    training, test = np.flatnonzero(frames.official == TRAIN), np.flatnonzero(frames.official == TEST)
    both = np.intersect1d(frames.groups[training], frames.groups[test])
    if len(both):
        raise PriorbenchError(
            f"{where}: group {both[0]} is on both official sides; number its structures apart or assign it to one"
        )
    order, owner = _mixed_order(frames, training, spec["seed"])
    if len(test) == 0 or len(order) < 2:
        raise PriorbenchError(
            f"{where}: the official sides have {len(order)} training groups and {len(test)} test structures; "
            "at least 2 and 1 are needed, take more structures"
        )
    ends = np.concatenate([[0], np.cumsum(np.bincount(owner)[order])])
    share = spec["train"] / (spec["train"] + spec["validation"])
    validation = np.isin(owner, order[_nearest_cut(ends, share * ends[-1], 1, len(order) - 1) :])
    return {"train": training[~validation], "validation": training[validation], "test": test}


def _nearer(
    frames: Frames, sides: Split, separation: float, official: bool
) -> tuple[dict[str, NDArray[np.bool_]], dict[str, NDArray[np.float64]]]:
    """Which structures of validation and test are too near to be kept, and all their distances to training in Å.

    Test structures are compared to those of validation that are kept: of official sides all, else those far enough
    from training.
    """
    nearness, reach = Nearness.of(frames.metadata), max(REACH, separation)
    distances = {side: closest(frames, sides[side], sides["train"], reach, nearness) for side in SIDES[1:]}
    nearer = {side: near < separation for side, near in distances.items()}
    kept = sides["validation"][~nearer["validation"] | official]
    nearer["test"] |= closest(frames, sides["test"], kept, separation, nearness) < separation
    return nearer, distances


def _smallest(distances: NDArray[np.float64]) -> float | None:
    finite = distances[np.isfinite(distances)]
    return float(finite.min()) if len(finite) else None


def _strata(frames: Frames, structures: NDArray[np.int64]) -> NDArray[np.int64]:
    """Sub-system and number of atoms of each of ``structures`` (n,), (n, 2)."""
    return np.column_stack([frames.subsystems[structures], frames.sizes[structures]]).astype(np.int64)


def _strata_by_side(frames: Frames, sides: Split) -> list[dict[str, int]]:
    """Structures on each side by sub-system and number of atoms."""
    strata, which = np.unique(_strata(frames, np.concatenate(list(sides.values()))), axis=0, return_inverse=True)
    counts = np.zeros((len(strata), len(sides)), np.int64)
    np.add.at(counts, (which.ravel(), np.repeat(np.arange(len(sides)), [len(s) for s in sides.values()])), 1)
    return [
        {"subsystem": subsystem, "atoms": atoms, **dict(zip(sides, numbers, strict=True))}
        for (subsystem, atoms), numbers in zip(strata.tolist(), counts.tolist(), strict=True)
    ]


def _mixed_order(
    frames: Frames, structures: NDArray[np.int64], seed: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Groups (g,) of ``structures`` (n,) in random order, counted from 0, and that of each structure (n,).

    Every stratum, by the sub-system and the number of atoms of a group's first structure, is spread evenly, so that
    each stretch holds its share of all.
    """
    _, first, owner = np.unique(frames.groups[structures], return_index=True, return_inverse=True)
    strata = np.unique(_strata(frames, structures[first]), axis=0, return_inverse=True)[1].ravel()
    random = np.random.default_rng([seed, 0])
    position = np.empty(len(first))
    for stratum in range(strata.max() + 1):
        members = np.flatnonzero(strata == stratum)
        position[members] = (random.permutation(len(members)) + random.random()) / len(members)
    return np.argsort(position, kind="stable"), owner


def _cuts(sizes: NDArray[np.int64], shares: tuple[float, float, float], where: str) -> list[int]:
    """Where the list of groups with ``sizes`` (g,) is cut into three sides of about these shares, none empty."""
    groups = len(sizes)
    if groups < len(SIDES):
        raise PriorbenchError(
            f"{where}: {groups} independent groups cannot be split into train, validation and test; take more "
            "trajectories or structures, or tell groups apart (of your own file: group_key, block or distance)"
        )
    ends = np.concatenate([[0], np.cumsum(sizes)])
    in_train = _nearest_cut(ends, shares[0] * ends[-1], 1, groups - 2)
    behind = shares[1] / (shares[1] + shares[2])
    in_both = _nearest_cut(ends, ends[in_train] + behind * (ends[-1] - ends[in_train]), in_train + 1, groups - 1)
    return [in_train, in_both]


def _nearest_cut(ends: NDArray[np.int64], target: float, least: int, most: int) -> int:
    """The number of groups, between ``least`` and ``most``, whose ``ends`` come nearest to ``target`` structures."""
    # Of two equally near numbers the smaller, however the target was rounded.
    return least + int(np.abs(ends[least : most + 1] - target + 1e-9).argmin())


def draw(structures: NDArray[np.int64], most: int | None, seed: int, stream: int) -> NDArray[np.int64]:
    """At most ``most`` of ``structures`` at random, ascending; fewer are always a subset of more."""
    shuffled = np.random.default_rng([seed, stream]).permutation(structures)
    return np.sort(shuffled[:most])
