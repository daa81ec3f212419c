"""The figure of a data card: are the sides of the split alike, and do the labels look like physics?"""

from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from priorbench.analysis.style import RC, new_figure, save
from priorbench.frames import Frames, items_of
from priorbench.neighbours import pairs_within
from priorbench.splits import Split

COLOURS = {"train": "#000000", "validation": "#0072B2", "test": "#D55E00"}
REACH, WIDTH = 6.0, 0.05  # Å
SAMPLED = 40  # structures a side whose pair distances are counted
MEV = 1e3
HYDROGEN = 1


def draw(frames: Frames, split: Split, residual: NDArray[np.float64], stem: Path) -> None:
    """Write ``stem``.{pdf,png}: force components, energies after the reference, and pair distances, by side.

    ``residual`` (S,) eV is what the reference leaves of the energies.
    """
    with mpl.rc_context(RC):
        figure = new_figure(6.6, 4.3)
        axes = figure.subplots(2, 2)
        _forces(axes[0, 0], frames, split)
        _energies(axes[0, 1], frames, split, residual)
        for axis, (first, second) in zip(axes[1], _telling_pairs(frames), strict=True):
            _distances(axis, frames, split, first, second)
        for axis, letter in zip(axes.flat, "abcd", strict=True):
            axis.set_title(letter, loc="left", fontweight="bold")
        figure.legend(*axes[0, 0].get_legend_handles_labels(), frameon=False, loc="upper center", ncols=3, fontsize=7.5)
        figure.tight_layout(w_pad=2.5, h_pad=1.5, rect=(0, 0, 1, 0.97))
        save(figure, stem)


def _forces(axes: Axes, frames: Frames, split: Split) -> None:
    limit = float(np.quantile(np.abs(frames.forces[:: max(1, len(frames.forces) // 200_000)]), 0.9995)) * 1.05
    edges = np.linspace(-limit, limit, 81)
    for side, chosen in split.items():
        values = frames.forces[items_of(frames.offsets, chosen)].ravel()
        _steps(axes, edges, np.histogram(values, edges, density=True)[0], side)
    axes.set(yscale="log", xlabel="force component (eV/Å)", ylabel="density (Å/eV)")


def _energies(axes: Axes, frames: Frames, split: Split, residual: NDArray[np.float64]) -> None:
    per_atom = residual / frames.sizes * MEV
    everything = per_atom[np.concatenate(list(split.values()))]
    low, high = np.quantile(everything, [0.002, 0.998])
    margin = 0.08 * (high - low) or 1.0
    fewest = min(len(chosen) for chosen in split.values())
    edges = np.linspace(low - margin, high + margin, int(np.clip(np.sqrt(fewest), 8, 40)) + 1)
    for side, chosen in split.items():
        _steps(axes, edges, np.histogram(per_atom[chosen], edges, density=True)[0], side)
    axes.set(xlabel="energy after reference (meV/atom)", ylabel="density (atom/meV)", ylim=(0, None))


def _distances(axes: Axes, frames: Frames, split: Split, first: int, second: int) -> None:
    from ase.data import chemical_symbols

    edges = np.arange(0.0, REACH + WIDTH / 2, WIDTH)
    bulk = bool(frames.pbc.all())
    for side, chosen in split.items():
        sampled = chosen[np.unique(np.linspace(0, len(chosen) - 1, min(SAMPLED, len(chosen))).astype(int))]
        _steps(axes, edges, pair_distribution(frames, sampled, first, second, edges, bulk), side)
    pair = f"{chemical_symbols[first]}–{chemical_symbols[second]}"
    axes.set(xlabel=f"{pair} distance (Å)", xlim=(0.5, REACH))
    axes.set_ylabel(f"$g$({pair})" if bulk else f"{pair} pairs per atom and Å")
    highest = max(float(np.max(line.get_ydata())) for line in axes.lines)
    if bulk and highest > 6:  # the covalent peak would flatten everything else
        axes.set_ylim(0, 4)
    else:
        axes.set_ylim(0, None)


def pair_distribution(
    frames: Frames, chosen: NDArray[np.int64], first: int, second: int, edges: NDArray[np.float64], bulk: bool
) -> NDArray[np.float64]:
    """Radial distribution of the elements ``first`` and ``second`` over the bins between ``edges`` (Å).

    In bulk the density of pairs over that of independent atoms; elsewhere the pairs per atom of ``first`` and per Å.
    """
    counts, ideal = np.zeros(len(edges) - 1), np.zeros(len(edges) - 1)
    shells = 4 / 3 * np.pi * np.diff(edges**3)
    for s in chosen:
        atoms = frames.atoms_of(int(s))
        numbers = frames.atomic_numbers[atoms]
        pairs = pairs_within(frames.positions[atoms], frames.cells[s], frames.pbc[s], float(edges[-1]))
        a, b = numbers[pairs.first], numbers[pairs.second]
        wanted = ((a == first) & (b == second)) | ((a == second) & (b == first))
        counts += np.histogram(pairs.lengths[wanted], edges)[0] * (2.0 if first == second else 1.0)
        firsts, seconds = int((numbers == first).sum()), int((numbers == second).sum())
        if bulk:
            ideal += firsts * seconds / abs(np.linalg.det(frames.cells[s])) * shells
        else:
            ideal += firsts * np.diff(edges)
    return np.divide(counts, ideal, out=np.zeros_like(counts), where=ideal > 0)


def _telling_pairs(frames: Frames) -> list[tuple[int, int]]:
    """The commonest heavy element with itself, and it or the next one with hydrogen, among pairs that do meet.

    Without hydrogen, the commonest other pair; pairs are the metadata's ``shortest_distances_A``.
    """
    from ase.data import atomic_numbers

    elements, counts = np.unique(frames.atomic_numbers, return_counts=True)
    common = dict(zip(elements.tolist(), counts.tolist(), strict=True))
    heavy = max((z for z in common if z != HYDROGEN), key=lambda z: common[z], default=HYDROGEN)
    meeting = []
    for name in frames.metadata.get("shortest_distances_A", {}):
        low, high = sorted(int(atomic_numbers[symbol]) for symbol in name.split("-"))
        meeting.append((high, low))
    others = [pair for pair in meeting if pair != (heavy, heavy)]
    if not others:
        return [(heavy, heavy), (heavy, HYDROGEN if HYDROGEN in common else heavy)]
    best = max(others, key=lambda pair: (pair[1] == HYDROGEN and pair[0] > HYDROGEN, min(common[z] for z in pair)))
    return [(heavy, heavy), best]


def _steps(axes: Axes, edges: NDArray[np.float64], heights: NDArray[np.float64], side: str) -> None:
    width = {"train": 1.6}.get(side, 0.9)
    axes.step(edges, np.append(heights, heights[-1]), where="post", color=COLOURS[side], lw=width, label=side)
