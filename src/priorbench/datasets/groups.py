"""Which structures are not independent: near-duplicates, repeated labels, and stretches of one trajectory.

Distances are those of :mod:`priorbench.datasets.distances`.  All pairs are first bounded from below by one matrix
product of embeddings in single precision; the few that may be near are then measured in double precision.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from priorbench.datasets.distances import Integers, Measure, Structures, by_value, chunks, kinds, measure, merged
from priorbench.errors import PriorbenchError

REACH = 1.0  # Å, up to which the distance to the nearest structure is measured
DECORRELATED = 0.1  # of the normalised force autocorrelation
SAME_ENERGY, SAME_FORCE = 1e-4, 2e-4  # eV, eV/Å: what printing labels with four decimals may change
LEAST_FORCE = 1e-3  # eV/Å, root mean square below which equal forces say nothing


@dataclass(frozen=True)
class Nearness:
    """When two structures count as near-duplicates of each other.

    The default finds copies, steps of an optimisation and neighbouring frames of a trajectory, and tells apart what
    thermal motion does to crystals (0.06 Å in diamond at 300 K) and molecules (in revised MD17 the training structure
    nearest to a test structure is typically 0.04 Å away for benzene and 0.15 Å for aspirin, and at most three of a
    hundred have one within 0.02 Å).  For liquid water and ice the heavy atoms tell more: the beads of a path-integral
    frame, whose hydrogens differ, are up to 0.07 Å apart by their oxygens, other frames at least 0.4 Å.
    """

    distance: float = 0.02  # Å
    heavy: bool = False  # whether only heavy atoms count in periodic structures

    @classmethod
    def of(cls, metadata: Mapping[str, Any]) -> "Nearness":
        """What the source of some frames says in its ``metadata``."""
        return cls(**metadata.get("nearness", {}))


class Labelled(Structures, Protocol):
    """Structures with their labels."""

    @property
    def energies(self) -> NDArray[np.float64]:
        """(S,) eV."""

    @property
    def forces(self) -> NDArray[np.float64]:
        """(A, 3) eV/Å."""


DEFAULT = Nearness()
WATER = Nearness(0.1, heavy=True)


def near_duplicates(structures: Structures, nearness: Nearness = DEFAULT) -> NDArray[np.int32]:
    """Group number of each structure, (S,), counted from 0 in order of first appearance.

    Structures nearer than ``nearness.distance`` to each other, directly or through others, are one group.
    """
    everything = np.arange(len(structures.offsets) - 1)
    labels = everything.copy()
    for members in by_value(kinds(structures, everything)):
        if len(members) > 1:
            labels[members] = members[_linked(measure(structures, members, nearness.heavy), nearness.distance)]
    return by_first_appearance(labels)


def with_repeats(groups: NDArray[np.int32], structures: Labelled) -> NDArray[np.int32]:
    """``groups`` (S,), those made one that hold the same structure, whatever its place, orientation or order of atoms.

    Structures are the same where composition, energy and the sorted lengths of the forces agree.
    """
    energies, atomic_numbers, offsets = structures.energies, structures.atomic_numbers, structures.offsets
    lengths = np.linalg.norm(structures.forces, axis=1)
    spread = np.sqrt(np.add.reduceat(lengths**2, offsets[:-1]) / np.diff(offsets))
    order, candidates = np.argsort(spread, kind="stable"), []
    for ahead in range(1, len(order)):
        first, second = order[:-ahead], order[ahead:]
        near = (spread[second] - spread[first] < SAME_FORCE) & (spread[first] > LEAST_FORCE)
        if not near.any():
            break
        near &= np.abs(energies[first] - energies[second]) < SAME_ENERGY
        candidates += list(zip(first[near].tolist(), second[near].tolist(), strict=True))
    pairs = [
        (a, b)
        for a, b in candidates
        if _agree(atomic_numbers, offsets, a, b, 0) and _agree(lengths, offsets, a, b, SAME_FORCE)
    ]
    one, two = np.array(pairs, np.int64).reshape(-1, 2).T
    count = int(groups.max(initial=-1)) + 1
    joined = merged(np.arange(count), groups[one].astype(np.int64), groups[two].astype(np.int64))
    return by_first_appearance(joined[groups])


def _agree(values: NDArray[Any], offsets: Integers, one: int, two: int, tolerance: float) -> bool:
    a, b = (np.sort(values[offsets[s] : offsets[s + 1]]) for s in (one, two))
    return len(a) == len(b) and bool((np.abs(a - b) <= tolerance).all())


def closest(
    structures: Structures, rows: Integers, columns: Integers, reach: float = REACH, nearness: Nearness = DEFAULT
) -> NDArray[np.float64]:
    """Distance in Å of each structure of ``rows`` (R,) to the nearest comparable one of ``columns`` (C,), (R,).

    Exact where it is below ``reach``, ``inf`` beyond, ``nan`` where nothing is comparable.
    """
    found = np.full(len(rows), np.nan)
    every = kinds(structures, np.concatenate([rows, columns]))
    of_rows, of_columns = every[: len(rows)], every[len(rows) :]
    for kind in np.intersect1d(of_rows, of_columns):
        places = np.flatnonzero(of_rows == kind)
        members = np.concatenate([rows[places], columns[of_columns == kind]])
        found[places] = _nearest(measure(structures, members, nearness.heavy), len(places), reach)
    return found


def typical_distance(structures: Structures, chosen: Integers, nearness: Nearness = DEFAULT) -> float:
    """Median distance in Å between comparable ones of ``chosen`` (n,); ``inf`` where none are comparable."""
    found = []
    for members in by_value(kinds(structures, chosen)):
        one, two = np.triu_indices(len(members), 1)
        if len(one):
            found.append(measure(structures, chosen[members], nearness.heavy).distances(one, two))
    return float(np.median(np.concatenate(found))) if found else np.inf


def draw_groups(groups: NDArray[np.int32], most: int) -> NDArray[np.int64]:
    """Structures of randomly drawn whole groups, at most ``most`` of them, ascending; the same at every call."""
    order = np.random.default_rng(0).permutation(np.unique(groups))
    sizes = np.bincount(groups)[order]
    return np.flatnonzero(np.isin(groups, order[np.cumsum(sizes) <= most]))


def autocorrelation_time(forces: NDArray[np.float64]) -> float:
    """Frames after which the force autocorrelation of a trajectory stays below ``DECORRELATED``.

    Forces (F, n, 3) less their mean over the trajectory; |⟨F(0)·F(t)⟩| / ⟨F·F⟩ over atoms and origins, interpolated
    between frames, as far as half the trajectory, beyond which it is noise.  At least 1; F where it never stays below.
    """
    count = len(forces)
    power = np.zeros(count + 1)
    for atom in range(forces.shape[1]):  # one at a time, for memory
        moving = forces[:, atom] - forces[:, atom].mean(axis=0)
        power += (np.abs(np.fft.rfft(moving, 2 * count, axis=0)) ** 2).sum(axis=1)
    correlation = np.abs(np.fft.irfft(power)[:count] / np.arange(count, 0, -1))[: max(count // 2, 1)]
    if not correlation[0] > 1e-12 * float((forces**2).sum()) / max(count, 1):  # nothing moves
        return float(max(count, 1))
    above = np.flatnonzero(correlation >= DECORRELATED * correlation[0])
    last = int(above[-1])
    if last + 1 >= len(correlation):
        return float(max(count, 1))
    before, after = correlation[last : last + 2] / correlation[0]
    return max(1.0, float(last + (before - DECORRELATED) / (before - after)))


def time_blocks(
    forces: NDArray[np.float64],
    offsets: NDArray[np.int64],
    atomic_numbers: NDArray[np.int16],
    length: int | None = None,
) -> NDArray[np.int32]:
    """Number of the stretch of a trajectory that each structure lies in, (S,), counted from 0.

    Consecutive structures with the same atomic numbers (A,) are one trajectory.  Each is cut into blocks of ``length``
    structures, or of twice its autocorrelation time (forces (A, 3) in any unit) rounded up; what is left over at its
    end joins the last block.
    """
    if length is not None and length < 1:
        raise PriorbenchError(f"blocks of {length} structures: a block needs at least one; give a longer length")
    blocks, first = np.zeros(len(offsets) - 1, np.int32), 0
    trajectories = _trajectories(offsets, atomic_numbers)
    atoms = [atomic_numbers[offsets[start] : offsets[start + 1]].tobytes() for start, _ in trajectories]
    for (start, end), own in zip(trajectories, atoms, strict=True):
        whole = forces[offsets[start] : offsets[end]].reshape(end - start, -1, 3)
        size = length or int(np.ceil(2 * autocorrelation_time(whole)))
        if size > end - start and atoms.count(own) > 1:
            raise PriorbenchError(
                f"structures of different atoms alternate: there are {atoms.count(own)} stretches like that from "
                f"structure {start} to {end - 1}, shorter than a block of {size}, so that what belongs together cannot "
                "be told; sort them, or give group_key"
            )
        last = max(1, (end - start) // size) - 1
        blocks[start:end] = first + np.minimum(np.arange(end - start) // size, last)
        first += last + 1
    return blocks


def _trajectories(offsets: Integers, atomic_numbers: NDArray[np.int16]) -> list[tuple[int, int]]:
    """First structure of each run of equal atomic numbers and the one after its last."""
    atoms = [atomic_numbers[a:b].tobytes() for a, b in pairwise(offsets)]
    starts = [s for s in range(len(atoms)) if s == 0 or atoms[s] != atoms[s - 1]]
    return list(zip(starts, [*starts[1:], len(atoms)], strict=False))


class _Bounds:
    """Lower bounds of squared distances by blocks, with the error of single precision allowed for."""

    def __init__(self, measure: Measure) -> None:
        self.points = measure.embedding()
        self.points -= self.points.mean(axis=0, dtype=np.float64).astype(np.float32)
        squares = np.einsum("nd,nd->n", self.points, self.points, dtype=np.float64)
        error = 8 * np.sqrt(self.points.shape[1]) * np.finfo(np.float32).eps * squares.max(initial=0)
        self.squares = (squares - error / 2).astype(np.float32)

    def block(self, rows: slice, columns: slice) -> NDArray[np.float32]:
        bounds: NDArray[np.float32] = self.points[rows] @ self.points[columns].T
        bounds *= -2
        bounds += self.squares[rows, None]
        bounds += self.squares[columns]
        return bounds


def _linked(measure: Measure, distance: float) -> Integers:
    """Labels (n,), equal for structures linked by less than ``distance`` Å; each is the place of one of them."""
    bounds = _Bounds(measure)
    count = len(bounds.points)
    labels = np.arange(count)
    for rows in chunks(count, count):
        start = rows.start
        lower = bounds.block(rows, slice(start, count))
        lower[lower >= distance**2] = np.inf
        # each round tries for every structure the one candidate most likely near: where much is near, few need be tried
        while (columns := np.flatnonzero(np.isfinite(lower).any(axis=0))).size:
            lower[:, columns] = np.where(labels[rows][:, None] == labels[start + columns], np.inf, lower[:, columns])
            nearest = lower[:, columns].argmin(axis=0)
            open_ = np.isfinite(lower[nearest, columns])
            some, others = nearest[open_], columns[open_]
            lower[some, others] = np.inf
            near = _distances(measure, start + some, start + others) < distance
            labels = merged(labels, start + some[near], start + others[near])
    return labels


def _nearest(measure: Measure, count: int, reach: float) -> NDArray[np.float64]:
    """Distance of each of the first ``count`` structures to the nearest of the others, (count,), inf beyond reach."""
    bounds = _Bounds(measure)
    found = np.full(count, np.inf)
    columns = slice(count, len(bounds.points))
    for rows in chunks(count, len(bounds.points)):
        lower, open_ = bounds.block(rows, columns), np.arange(rows.start, rows.stop)
        while True:
            nearest = lower[open_ - rows.start].argmin(axis=1)
            possible = lower[open_ - rows.start, nearest] < np.minimum(found[open_], reach) ** 2
            open_, nearest = open_[possible], nearest[possible]
            if len(open_) == 0:
                break
            lower[open_ - rows.start, nearest] = np.inf
            found[open_] = np.minimum(found[open_], _distances(measure, open_, count + nearest))
    found[found >= reach] = np.inf
    return found


def _distances(measure: Measure, some: Integers, others: Integers) -> NDArray[np.float64]:
    parts = [measure.distances(some[part], others[part]) for part in chunks(len(some), 4000)]
    return np.concatenate([np.zeros(0), *parts])


def by_first_appearance(labels: NDArray[Any]) -> NDArray[np.int32]:
    """The same groups, counted from 0 in the order of their first structures."""
    _, first, inverse = np.unique(labels, return_index=True, return_inverse=True)
    return np.asarray(np.argsort(np.argsort(first))[inverse], np.int32)
