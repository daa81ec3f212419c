"""How far two structures are from each other, and which can be compared at all.

The distance of two structures is a root mean square over coordinates in Å.  Structures are comparable when they have
the same sequence of atomic numbers, the same periodic directions and, along these, cells that differ by little
(``SIMILAR``, also through others between them).

- Periodic: over the displacements of the atoms relative to their cells, each to the nearest image along the periodic
  directions, together with what the difference of the cells displaces an atom by in the mean.
- Not periodic: over the differences of the distances between the atoms, so that turning and moving a molecule changes
  nothing; at most ``PAIRS`` distances, always the same ones.
"""

from dataclasses import dataclass
from itertools import combinations
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

SIMILAR = 0.02  # of the length of a cell vector
PAIRS = 1000

Integers = NDArray[np.int64]


class Structures(Protocol):
    """S structures with A atoms in all: Frames, a Block, or anything with these arrays."""

    @property
    def positions(self) -> NDArray[np.float64]:
        """(A, 3) Å, wrapped or not."""

    @property
    def cells(self) -> NDArray[np.float64]:
        """(S, 3, 3) Å, rows are the cell vectors."""

    @property
    def pbc(self) -> NDArray[np.bool_]:
        """(S, 3)."""

    @property
    def atomic_numbers(self) -> NDArray[np.int16]:
        """(A,)."""

    @property
    def offsets(self) -> NDArray[np.int64]:
        """(S + 1,)."""


class Measure(Protocol):
    """Distances between n comparable structures."""

    def embedding(self) -> NDArray[np.float32]:
        """Points (n, D) whose Euclidean distances are lower bounds of the structures' distances."""

    def distances(self, some: Integers, others: Integers) -> NDArray[np.float64]:
        """Distance of each of ``some`` (k,) to its partner in ``others`` (k,), Å."""


def measure(structures: Structures, members: Integers, heavy: bool) -> Measure:
    """The measure for ``members`` (n,), comparable structures; ``heavy``: without the hydrogens of periodic ones."""
    first = members[0]
    atoms = slice(int(structures.offsets[first]), int(structures.offsets[first + 1]))
    counting = np.arange(atoms.stop - atoms.start)
    periodic = structures.pbc[first]
    if heavy and periodic.any() and (structures.atomic_numbers[atoms] > 1).any():
        counting = np.flatnonzero(structures.atomic_numbers[atoms] > 1)
    places = structures.offsets[members][:, None] + counting
    if not periodic.any():
        return _Free(_interatomic(structures.positions, places))
    cells = np.nan_to_num(structures.cells[members][:, periodic])
    superbase = _superbase(cells[0])
    whole = np.rint(superbase[:-1] @ np.linalg.pinv(cells[0]))  # reduces the first cell, and similar ones nearly
    across = np.linalg.svd(cells[0])[2][len(cells[0]) :]
    bases = np.concatenate([whole @ cells, np.broadcast_to(across, (len(cells), *across.shape))], axis=1)
    coordinates = np.empty((*places.shape, 3))
    for part in chunks(len(places), 3 * places.shape[1]):
        coordinates[part] = structures.positions[places[part]] @ np.linalg.inv(bases[part])
    return _Periodic(coordinates, bases, _waves(superbase))


def kinds(structures: Structures, chosen: Integers) -> Integers:
    """A number for each of ``chosen`` (n,), equal for comparable structures."""
    offsets, known = structures.offsets, dict[tuple[bytes, bytes], int]()
    atoms = np.array(
        [
            known.setdefault(
                (structures.atomic_numbers[offsets[s] : offsets[s + 1]].tobytes(), structures.pbc[s].tobytes()),
                len(known),
            )
            for s in chosen
        ],
        np.int64,
    )
    periodic = np.where(structures.pbc[chosen][:, :, None], np.nan_to_num(structures.cells[chosen]), 0.0)
    found = np.zeros(len(chosen), np.int64)
    count = 0
    for members in by_value(atoms):
        found[members] = count + _similar(periodic[members])
        count = int(found[members].max(initial=count)) + 1
    return found


def by_value(values: Integers) -> list[Integers]:
    """Places of each distinct value."""
    order = np.argsort(values, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(values[order])) + 1) if len(values) else []


def chunks(count: int, width: int, entries: int = 8_000_000) -> list[slice]:
    """Slices of ``count`` rows of ``width`` entries, at most ``entries`` (or one row) at a time."""
    size = max(1, entries // max(width, 1))
    return [slice(start, min(start + size, count)) for start in range(0, count, size)]


def merged(labels: Integers, some: Integers, others: Integers) -> Integers:
    """``labels`` (n,), below n, with those of each pair made equal; each label is the place of one that has it."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    if len(some) == 0:
        return labels
    count = len(labels)
    graph = coo_array((np.ones(len(some)), (labels[some], labels[others])), shape=(count, count))
    together = connected_components(graph, directed=False)[1][labels]
    _, first, inverse = np.unique(together, return_index=True, return_inverse=True)
    return np.asarray(first[inverse], np.int64)


def _similar(cells: NDArray[np.float64]) -> Integers:
    """A number from 0 for each of ``cells`` (n, 3, 3), equal for those linked by differences of at most ``SIMILAR``."""
    leader = np.full(len(cells), -1)
    leaders: list[NDArray[np.float64]] = []
    while (rest := np.flatnonzero(leader < 0)).size:
        first = cells[rest[0]]
        leader[rest[_near(cells[rest], first, 1)]] = len(leaders)
        leaders.append(first)
    every = np.array(leaders)
    pairs = [(a, b) for a in range(len(every)) for b in np.flatnonzero(_near(every[a + 1 :], every[a], 2)) + a + 1]
    one, two = np.array(pairs, np.int64).reshape(-1, 2).T
    joined = merged(np.arange(len(every)), one, two)
    return np.asarray(np.unique(joined[leader], return_inverse=True)[1], np.int64)


def _near(cells: NDArray[np.float64], one: NDArray[np.float64], times: int) -> NDArray[np.bool_]:
    tolerance = times * SIMILAR * np.linalg.norm(one, axis=1, keepdims=True)
    return np.asarray((np.abs(cells - one) <= tolerance).all(axis=(1, 2)))


@dataclass(frozen=True)
class _Periodic:
    """Displacement to the nearest image.

    A squared length is the sum of weight · (difference of coordinates along two vectors of the lattice's superbase)²
    (Selling), so that a sum of chords of circles, on which images coincide, is a lower bound of it.
    """

    coordinates: NDArray[np.float64]  # (n, m, 3) in units of ``bases``
    bases: NDArray[np.float64]  # (n, 3, 3) rows: d reduced lattice vectors, then orthonormal ones across them
    waves: list[tuple[float, NDArray[np.float64]]]  # weight in Å², coefficients (d,) of the coordinates; of the first

    def embedding(self) -> NDArray[np.float32]:
        m = self.coordinates.shape[1]
        d = len(self.waves[0][1])
        parts = [self.coordinates[:, :, axis].astype(np.float32) for axis in range(d, 3)]
        for weight, coefficients in self.waves:
            phase = 2 * np.pi * (self.coordinates[:, :, :d] @ coefficients)
            amplitude = np.sqrt(weight) / (2 * np.pi)
            parts += [(amplitude * wave(phase)).astype(np.float32) for wave in (np.cos, np.sin)]
        points = np.concatenate(parts, axis=1) * np.float32(self._least_stretch() / np.sqrt(3 * m))
        return np.concatenate([points, (self._strain(self.bases) - self._strain(self.bases[:1]))], 1, dtype=np.float32)

    def distances(self, some: Integers, others: Integers) -> NDArray[np.float64]:
        d = len(self.waves[0][1])
        apart = self.coordinates[some] - self.coordinates[others]
        apart[:, :, :d] -= np.rint(apart[:, :, :d])
        squares = ((apart @ self.bases[some]) ** 2).mean(axis=(1, 2))
        strains = self._strain(self.bases[some] - self.bases[others])
        return np.asarray(np.sqrt(squares + (strains**2).sum(1)))

    def _strain(self, bases: NDArray[np.float64]) -> NDArray[np.float64]:
        """(k, 9); its length is the root mean square of what ``bases`` (k, 3, 3) do to atoms anywhere in the cell."""
        return bases.reshape(len(bases), 9) / 6

    def _least_stretch(self) -> float:
        """What a displacement in the first cell is multiplied by at least in any other; 1 where all are equal."""
        relative = np.linalg.inv(self.bases[0]) @ self.bases
        return min(1.0, float(np.linalg.svd(relative, compute_uv=False).min()))


@dataclass(frozen=True)
class _Free:
    """Differences of interatomic distances."""

    between: NDArray[np.float64]  # (n, pairs) Å

    def embedding(self) -> NDArray[np.float32]:
        return np.asarray(self.between / np.sqrt(self.between.shape[1]), np.float32)

    def distances(self, some: Integers, others: Integers) -> NDArray[np.float64]:
        return np.asarray(np.sqrt(((self.between[some] - self.between[others]) ** 2).mean(axis=1)))


def _superbase(vectors: NDArray[np.float64]) -> NDArray[np.float64]:
    """Vectors (d + 1, 3) that sum to zero, no two at an acute angle, d of which span the lattice of ``vectors``."""
    base = np.concatenate([vectors, -vectors.sum(axis=0, keepdims=True)])
    for _ in range(1000):
        products = np.triu(base @ base.T, 1)
        one, two = np.unravel_index(products.argmax(), products.shape)
        if not products[one, two] > 1e-9 * (base**2).sum():
            break
        others = np.setdiff1d(np.arange(len(base)), [one, two])
        base[others] += 2 / len(others) * base[one]
        base[one] *= -1
    return base


def _waves(superbase: NDArray[np.float64]) -> list[tuple[float, NDArray[np.float64]]]:
    unit = np.eye(len(superbase))[:, :-1]
    pairs = list(combinations(range(len(superbase)), 2))
    weights = np.array([-superbase[i] @ superbase[j] for i, j in pairs])
    kept = weights >= 1e-6 * weights.max()  # leaving one out keeps a lower bound
    return [(float(w), unit[i] - unit[j]) for w, (i, j), keep in zip(weights, pairs, kept, strict=True) if keep]


def _interatomic(positions: NDArray[np.float64], places: Integers) -> NDArray[np.float64]:
    """Distances (n, pairs) between the atoms at ``places`` (n, m); one atom alone has the distance 0 to itself."""
    m = places.shape[1]
    one, two = np.triu_indices(m, min(1, m - 1))
    if len(one) > PAIRS:
        chosen = np.sort(np.random.default_rng(0).choice(len(one), PAIRS, replace=False))
        one, two = one[chosen], two[chosen]
    between = np.empty((len(places), len(one)))
    for part in chunks(len(places), 3 * len(one)):
        between[part] = np.linalg.norm(positions[places[part][:, one]] - positions[places[part][:, two]], axis=2)
    return between
