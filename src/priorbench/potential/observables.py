"""What is read off trajectories: pair and angle distributions, mean square displacement, drift of an energy."""

from dataclasses import dataclass, field
from itertools import combinations_with_replacement

import numpy as np
from ase.data import chemical_symbols
from numpy.typing import NDArray

from priorbench.neighbours import neighbour_list, pairs_within

Floats = NDArray[np.float64]
BINS = 120
FARTHEST = 6.0  # Å
SHELL = 3.5  # Å, neighbours whose angles are counted
ANGLES = 90  # bins of 2 degrees


def pair_names(elements: list[int]) -> list[str]:
    """Names of the pairs of ``elements``, as O-O, the heavier element first."""
    heavy_first = sorted(elements, reverse=True)
    return ["-".join(chemical_symbols[z] for z in pair) for pair in combinations_with_replacement(heavy_first, 2)]


@dataclass
class Distributions:
    """Sums over structures of the same atoms: distances by pair of elements, and angles between heavy neighbours.

    Periodic structures give the radial distribution g(r), which is 1 without structure; others the density h(r) of all
    distances, whose integral is 1 (arXiv 2210.07237, eq. 4).  Angles are those at an atom of the heaviest element
    between two of its kind within ``SHELL``; in liquid water O–O–O.
    """

    numbers: NDArray[np.int64]  # (N,)
    reach: float  # Å, of distances
    periodic: bool
    frames: int = 0
    pairs: dict[str, Floats] = field(default_factory=dict)  # sums (BINS,)
    angles: Floats = field(default_factory=lambda: np.zeros(ANGLES))

    @classmethod
    def like(cls, numbers: NDArray[np.int64], cell: Floats, pbc: NDArray[np.bool_]) -> "Distributions":
        """None yet, of ``numbers`` (N,) in ``cell`` (3, 3) Å: up to half its narrowest width, at most 6 Å."""
        periodic, reach = bool(pbc.all()), FARTHEST
        if periodic:
            volume = abs(np.linalg.det(cell))
            widths = [volume / np.linalg.norm(np.cross(cell[(k + 1) % 3], cell[(k + 2) % 3])) for k in range(3)]
            reach = min(reach, min(widths) / 2)
        elements = np.unique(numbers).tolist()
        return cls(numbers, reach, periodic, pairs={name: np.zeros(BINS) for name in pair_names(elements)})

    def add(self, positions: Floats, cell: Floats, pbc: NDArray[np.bool_]) -> None:
        """Count one structure, ``positions`` (N, 3) Å."""
        found = pairs_within(positions, cell, pbc, self.reach)
        first, second = self.numbers[found.first], self.numbers[found.second]
        high, low = np.maximum(first, second), np.minimum(first, second)
        volume = abs(np.linalg.det(cell)) if self.periodic else 1.0
        for name, sums in self.pairs.items():
            a, b = (chemical_symbols.index(symbol) for symbol in name.split("-"))
            counts = np.histogram(found.lengths[(high == a) & (low == b)], BINS, (0, self.reach))[0]
            sums += counts * self._norm(a, b, volume)
        self._add_angles(positions, cell, pbc)
        self.frames += 1

    def _norm(self, a: int, b: int, volume: float) -> Floats:
        """What a pair counts in each bin, (BINS,): over those of an ideal gas there, or over all pairs and the bin."""
        n_a, n_b = int((self.numbers == a).sum()), int((self.numbers == b).sum())
        pairs = n_a * (n_a - 1) / 2 if a == b else n_a * n_b
        edges = np.linspace(0, self.reach, BINS + 1)
        width = np.diff(edges)
        if not self.periodic:
            return 1 / (max(pairs, 1) * width)
        shells = 4 / 3 * np.pi * np.diff(edges**3)
        return volume / (max(pairs, 1) * shells)

    def _add_angles(self, positions: Floats, cell: Floats, pbc: NDArray[np.bool_]) -> None:
        chosen = np.flatnonzero(self.numbers == self.numbers.max())
        r = positions[chosen]
        senders, receivers, shifts = neighbour_list(r, cell, pbc, SHELL)
        vectors = r[senders] - r[receivers] + shifts @ cell
        units = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
        for neighbours in np.split(units, np.flatnonzero(np.diff(receivers)) + 1):
            cosines = (neighbours @ neighbours.T)[np.triu_indices(len(neighbours), 1)]
            degrees = np.degrees(np.arccos(np.clip(cosines, -1, 1)))
            self.angles += np.histogram(degrees, ANGLES, (0, 180))[0]

    @property
    def distances(self) -> Floats:
        """Middles of the bins, (BINS,) Å."""
        return (np.arange(BINS) + 0.5) * self.reach / BINS

    def of(self, pair: str) -> Floats:
        """g(r) or h(r) of ``pair``, (BINS,)."""
        return self.pairs[pair] / max(self.frames, 1)

    def angle_density(self) -> Floats:
        """Density of the angles, (ANGLES,) per degree; zero where there are none."""
        total = self.angles.sum() * 180 / ANGLES
        return self.angles / total if total else self.angles

    def errors(self, reference: "Distributions") -> dict[str, float]:
        """By pair the mean absolute difference over all r (for h(r) its integral), and that of angles, 0 to 2."""
        found = {}
        for pair in self.pairs:
            difference = np.abs(self.of(pair) - reference.of(pair))
            mean = difference.mean() if self.periodic else difference.sum() * self.reach / BINS
            found[f"rdf_error_{pair}"] = float(mean)
        angles = np.abs(self.angle_density() - reference.angle_density()).sum() * 180 / ANGLES
        return {**found, "angle_error": float(angles)}


def diffusion(positions: Floats, times: Floats) -> float:
    """Self-diffusion coefficient in Å²/ps from unwrapped ``positions`` (T, N, 3) Å at ``times`` (T,) ps.

    A sixth of the slope of the mean square displacement over all origins, between a tenth and a half of the length; a
    drift of all atoms together is taken out.
    """
    positions = positions - positions.mean(axis=1, keepdims=True)
    lags = np.unique(np.linspace(len(times) // 10, len(times) // 2, 20).astype(int))
    lags = lags[lags > 0]
    means = [np.mean(((positions[lag:] - positions[:-lag]) ** 2).sum(axis=2)) for lag in lags]
    return float(np.polyfit((lags * (times[1] - times[0])), means, 1)[0] / 6)


def drift(values: Floats, times: Floats) -> tuple[float, float]:
    """Slope of a line through ``values`` (T,) at ``times`` (T,), and the root mean square about it."""
    slope, intercept = np.polyfit(times, values, 1)
    rest = values - (slope * times + intercept)
    return float(slope), float(np.sqrt(np.mean(rest**2)))
