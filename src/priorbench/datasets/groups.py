"""Which structures are not independent: near-duplicates, and stretches of one trajectory.

The distance of two structures is a root mean square in Å.  Structures are comparable, at a finite distance, when they
have the same sequence of atomic numbers, the same periodic directions and, along these, the same cell vectors.

- Periodic: over the coordinates of the displacements of the heavy atoms (of all where there is no heavy one), each to
  the nearest image along the periodic directions.
- Not periodic: over the differences of the distances between all atoms, so that turning and moving a molecule changes
  nothing; at most ``PAIRS`` distances, always the same ones.

Below ``DISTANCE`` (periodic) or ``FREE_DISTANCE`` (not periodic) two structures are near-duplicates.  The beads of a
path-integral frame of water are up to 0.07 Å apart, other frames at least 0.4 Å.  Molecules vibrate by less: in
revised MD17 the training structure nearest to a test structure is typically 0.04 Å (benzene) to 0.15 Å (aspirin) away,
and at most three of a hundred have one within 0.02 Å.

All pairs are first bounded from below by one matrix product of embeddings in single precision; the few that may be near
are then measured in double precision.
"""

from dataclasses import dataclass
from itertools import combinations, pairwise
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from priorbench.errors import PriorbenchError

DISTANCE, FREE_DISTANCE = 0.1, 0.02  # Å; see above
REACH = 1.0  # Å, up to which the distance to the nearest structure is measured
CELL_TOLERANCE = 1e-4  # Å, what writing a cell to a file may change
PAIRS = 1000
DECORRELATED = 0.1  # of the normalised force autocorrelation
BLOCK_ENTRIES = 8_000_000  # of the distance matrix held at a time

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


def near_duplicate_distance(pbc: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Distance in Å below which another structure is a near-duplicate, (S,), by the periodic directions (S, 3)."""
    return np.where(pbc.any(axis=1), DISTANCE, FREE_DISTANCE)


def near_duplicates(structures: Structures, distance: float | None = None) -> NDArray[np.int32]:
    """Group number of each structure, (S,), counted from 0 in order of first appearance.

    Structures nearer than ``distance`` (Å; None: :func:`near_duplicate_distance`) to each other, directly or through
    others, are one group.
    """
    everything = np.arange(len(structures.offsets) - 1)
    labels = everything.copy()
    kinds = _kinds(structures, everything)
    order = np.argsort(kinds, kind="stable")
    for members in np.split(order, np.flatnonzero(np.diff(kinds[order])) + 1):
        if len(members) > 1:
            own = near_duplicate_distance(structures.pbc[members[:1]])[0] if distance is None else distance
            labels[members] = members[_linked(_measure(structures, members), float(own))]
    return _by_first_appearance(labels)


def closest(structures: Structures, rows: Integers, columns: Integers, reach: float = REACH) -> NDArray[np.float64]:
    """Distance in Å of each structure of ``rows`` (R,) to the nearest comparable one of ``columns`` (C,), (R,).

    Exact where it is below ``reach``; ``inf`` where it is not or nothing is comparable.
    """
    found = np.full(len(rows), np.inf)
    kinds = _kinds(structures, np.concatenate([rows, columns]))
    of_rows, of_columns = kinds[: len(rows)], kinds[len(rows) :]
    for kind in np.intersect1d(of_rows, of_columns):
        places = np.flatnonzero(of_rows == kind)
        members = np.concatenate([rows[places], columns[of_columns == kind]])
        found[places] = _nearest(_measure(structures, members), len(places), reach)
    return found


def autocorrelation_time(forces: NDArray[np.float64]) -> float:
    """Frames until the force autocorrelation of a trajectory, ``forces`` (F, n, 3), first falls below ``DECORRELATED``.

    ⟨F(0)·F(t)⟩ / ⟨F·F⟩ over atoms and origins, interpolated between frames; at least 1, at most F (also where it
    never falls so low).
    """
    count = len(forces)
    power = np.zeros(count + 1)
    for atom in range(forces.shape[1]):  # one at a time, for memory
        power += (np.abs(np.fft.rfft(forces[:, atom], 2 * count, axis=0)) ** 2).sum(axis=1)
    correlation = np.fft.irfft(power)[:count] / np.arange(count, 0, -1)
    below = np.flatnonzero(correlation < DECORRELATED * correlation[0])
    if len(below) == 0:
        return float(max(count, 1))
    before, after = correlation[below[0] - 1 : below[0] + 1] / correlation[0]
    return max(1.0, float(below[0] - (DECORRELATED - after) / (before - after)))


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
    for start, end in _trajectories(offsets, atomic_numbers):
        whole = forces[offsets[start] : offsets[end]].reshape(end - start, -1, 3)
        size = length or int(np.ceil(2 * autocorrelation_time(whole)))
        last = max(1, (end - start) // size) - 1
        blocks[start:end] = first + np.minimum(np.arange(end - start) // size, last)
        first += last + 1
    return blocks


def _trajectories(offsets: Integers, atomic_numbers: NDArray[np.int16]) -> list[tuple[int, int]]:
    """First structure of each run of equal atomic numbers and the one after its last."""
    atoms = [atomic_numbers[a:b].tobytes() for a, b in pairwise(offsets)]
    starts = [s for s in range(len(atoms)) if s == 0 or atoms[s] != atoms[s - 1]]
    return list(zip(starts, [*starts[1:], len(atoms)], strict=False))


class _Measure(Protocol):
    """Distances between n comparable structures."""

    def embedding(self) -> NDArray[np.float32]:
        """Points (n, D) whose Euclidean distances are lower bounds of the structures' distances."""

    def distances(self, some: Integers, others: Integers) -> NDArray[np.float64]:
        """Distance of each of ``some`` (k,) to its partner in ``others`` (k,), Å."""


@dataclass(frozen=True)
class _Periodic:
    """Displacement to the nearest image.

    A squared length is the sum of weight · (difference of coordinates along two vectors of the lattice's superbase)²
    (Selling), so that a sum of chords of circles, on which images coincide, is a lower bound of it.
    """

    coordinates: NDArray[np.float64]  # (n, m, 3) in units of ``basis``
    basis: NDArray[np.float64]  # (3, 3) rows: d reduced lattice vectors, then orthonormal ones across them
    waves: list[tuple[float, NDArray[np.float64]]]  # weight in Å², coefficients (d,) of the coordinates

    def embedding(self) -> NDArray[np.float32]:
        m = self.coordinates.shape[1]
        d = len(self.waves[0][1])
        parts = [self.coordinates[:, :, axis] for axis in range(d, 3)]
        for weight, coefficients in self.waves:
            phase = 2 * np.pi * (self.coordinates[:, :, :d] @ coefficients)
            amplitude = np.sqrt(weight) / (2 * np.pi)
            parts += [(amplitude * wave(phase)).astype(np.float32) for wave in (np.cos, np.sin)]
        return np.concatenate(parts, axis=1, dtype=np.float32) / np.float32(np.sqrt(3 * m))

    def distances(self, some: Integers, others: Integers) -> NDArray[np.float64]:
        d = len(self.waves[0][1])
        apart = self.coordinates[some] - self.coordinates[others]
        apart[:, :, :d] -= np.rint(apart[:, :, :d])
        return np.asarray(np.sqrt(((apart @ self.basis) ** 2).mean(axis=(1, 2))))


@dataclass(frozen=True)
class _Free:
    """Differences of interatomic distances."""

    between: NDArray[np.float64]  # (n, pairs) Å

    def embedding(self) -> NDArray[np.float32]:
        return np.asarray(self.between / np.sqrt(self.between.shape[1]), np.float32)

    def distances(self, some: Integers, others: Integers) -> NDArray[np.float64]:
        return np.asarray(np.sqrt(((self.between[some] - self.between[others]) ** 2).mean(axis=1)))


def _measure(structures: Structures, members: Integers) -> _Measure:
    """The measure for ``members`` (n,), comparable structures."""
    offsets, first = structures.offsets, members[0]
    everything = np.arange(offsets[first + 1] - offsets[first])
    heavy = np.flatnonzero(structures.atomic_numbers[offsets[first] : offsets[first + 1]] > 1)
    periodic = structures.pbc[first]
    if not periodic.any():
        return _Free(_interatomic(structures.positions, offsets[members][:, None] + everything))
    places = offsets[members][:, None] + (heavy if len(heavy) else everything)
    vectors = np.nan_to_num(structures.cells[first])[periodic]
    superbase = _superbase(vectors)
    basis = np.concatenate([superbase[:-1], np.linalg.svd(vectors)[2][len(vectors) :]])
    coordinates = structures.positions[places] @ np.linalg.pinv(basis)
    return _Periodic(coordinates, basis, _waves(superbase))


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
    for part in _chunks(len(places), 3 * len(one)):
        between[part] = np.linalg.norm(positions[places[part][:, one]] - positions[places[part][:, two]], axis=2)
    return between


def _kinds(structures: Structures, chosen: Integers) -> Integers:
    """A number for each of ``chosen`` (n,), equal for comparable structures."""
    from scipy.spatial import KDTree

    offsets, known = structures.offsets, dict[tuple[bytes, bytes], int]()
    atoms = [
        known.setdefault(
            (structures.atomic_numbers[offsets[s] : offsets[s + 1]].tobytes(), structures.pbc[s].tobytes()), len(known)
        )
        for s in chosen
    ]
    periodic = np.where(structures.pbc[chosen][:, :, None], np.nan_to_num(structures.cells[chosen]), 0.0)
    cells, which = np.unique(periodic.reshape(len(chosen), 9), axis=0, return_inverse=True)
    equal = KDTree(cells).query_pairs(CELL_TOLERANCE, p=np.inf, output_type="ndarray")
    cell = _merged(np.arange(len(cells)), equal[:, 0], equal[:, 1])[which.ravel()]
    return np.asarray(np.unique(np.column_stack([atoms, cell]), axis=0, return_inverse=True)[1], np.int64).ravel()


class _Bounds:
    """Lower bounds of squared distances by blocks, with the error of single precision allowed for."""

    def __init__(self, measure: _Measure) -> None:
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


def _linked(measure: _Measure, distance: float) -> Integers:
    """Labels (n,), equal for structures linked by less than ``distance`` Å; each is the place of one of them."""
    bounds = _Bounds(measure)
    count = len(bounds.points)
    labels = np.arange(count)
    for rows in _chunks(count, count):
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
            labels = _merged(labels, start + some[near], start + others[near])
    return labels


def _nearest(measure: _Measure, count: int, reach: float) -> NDArray[np.float64]:
    """Distance of each of the first ``count`` structures to the nearest of the others, (count,), inf beyond reach."""
    bounds = _Bounds(measure)
    found = np.full(count, np.inf)
    columns = slice(count, len(bounds.points))
    for rows in _chunks(count, len(bounds.points)):
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


def _distances(measure: _Measure, some: Integers, others: Integers) -> NDArray[np.float64]:
    parts = [measure.distances(some[part], others[part]) for part in _chunks(len(some), 4000)]
    return np.concatenate([np.zeros(0), *parts])


def _chunks(count: int, width: int) -> list[slice]:
    """Slices of ``count`` rows of ``width`` entries, few enough to be held at a time."""
    size = max(1, BLOCK_ENTRIES // max(width, 1))
    return [slice(start, min(start + size, count)) for start in range(0, count, size)]


def _merged(labels: Integers, some: Integers, others: Integers) -> Integers:
    """``labels`` (n,), below n, with those of each pair made equal; each label is the place of one that has it."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    if len(some) == 0:
        return labels
    count = len(labels)
    graph = coo_array((np.ones(len(some)), (labels[some], labels[others])), shape=(count, count))
    merged = connected_components(graph, directed=False)[1][labels]
    _, first, inverse = np.unique(merged, return_index=True, return_inverse=True)
    return np.asarray(first[inverse], np.int64)


def _by_first_appearance(labels: Integers) -> NDArray[np.int32]:
    _, first, inverse = np.unique(labels, return_index=True, return_inverse=True)
    return np.asarray(np.argsort(np.argsort(first))[inverse], np.int32)
