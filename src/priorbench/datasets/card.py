"""The data card: what a dataset is, where it comes from, how it was split, and numbers to recognise it by."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from priorbench.datasets.blocks import all_intact
from priorbench.frames import Frames
from priorbench.io import read_object, to_json, write_text
from priorbench.splits import SIDES, Split, load_split
from priorbench.training.labels import Labels, compositions

MEV = 1e3
DALTON_PER_A3 = 1.66053906660  # g/cm³
SPLIT_KEYS = (  # of a split file, shown in the card
    "seed",
    "official",
    "separation",
    "left_out",
    "nearer_than_separation",
    "closest",
    "not_comparable",
    "groups",
)
POLICY = (
    "Molecules are perceived from geometry. Masking skips atoms outside intact molecules; energies and forces are "
    "trained on and tested with every structure."
)


def card(frames: Path, splits: Sequence[Path], output: Path) -> None:
    """Write ``card.json``, ``card.md`` and ``card.{png,pdf}`` of ``frames`` into ``output``.

    ``splits`` are all split files of the experiment; what is fitted or drawn by side is so for the first of them.
    """
    from priorbench.datasets.card_figure import draw
    from priorbench.datasets.card_page import page

    content = Frames.load(frames, verify=True)
    sides = [load_split(path, content.metadata["hash"], content) for path in splits]
    residual, reference = energy_reference(content, sides[0])
    description = {
        **describe(content),
        "energy_reference": reference,
        "sides": {side: _side(content, chosen, residual) for side, chosen in sides[0].items()},
        "splits": [_split(path, content) for path in splits],
        "policy": POLICY,
    }
    text, values = page(description), to_json(description)
    draw(content, sides[0], residual, output / "card")
    write_text(output / "card.md", text)
    write_text(output / "card.json", values)


def describe(frames: Frames) -> dict[str, Any]:
    """Provenance from the frames' metadata, and counts and spreads from their arrays; JSON throughout."""
    names = frames.metadata["subsystems"]
    per_atom = frames.energies / frames.sizes
    sizes, numbers = np.unique(frames.sizes, return_counts=True)
    group_sizes = np.unique(frames.groups, return_counts=True)[1]
    return {
        **frames.metadata,
        "hash": frames.metadata.get("hash") or frames.hash(),
        "structures": len(frames),
        "atoms": len(frames.positions),
        "structures_by_atoms": {str(size): int(number) for size, number in zip(sizes, numbers, strict=True)},
        "structures_by_subsystem": {name: int((frames.subsystems == i).sum()) for i, name in enumerate(names)},
        "force_std_by_subsystem_eV_per_A": _force_std_by_subsystem(frames),
        "atoms_by_element": _atoms_by_element(frames),
        "density_g_per_cm3": density_range(frames),
        "groups": len(group_sizes),
        "largest_group": int(group_sizes.max()),
        "force_std_eV_per_A": float(frames.forces.std()),
        "largest_net_force_eV_per_A": _largest_net_force(frames),
        "energy_mean_eV_per_atom": float(per_atom.mean()),
        "energy_std_meV_per_atom": float(per_atom.std() * MEV),
        "bonds": len(frames.bonds),
        "intact_molecules": _intact_molecules(frames),
        "structures_not_all_intact": int((~all_intact(frames)).sum()),
    }


def energy_reference(frames: Frames, split: Split) -> tuple[NDArray[np.float64], dict[str, Any]]:
    """What is left of every structure's energy (S,) eV after the reference, and the reference; fit on training alone.

    Where the compositions of the training structures do not tell the elements apart (pure water, one molecule), only
    the sum over a composition is determined; the split between elements is then the one of least norm.
    """
    labels = Labels.fit(frames, split["train"])
    counts = compositions(frames, split["train"])
    elements = np.flatnonzero(counts.any(axis=0))
    rank = int(np.linalg.matrix_rank(counts[:, elements]))
    residual = frames.energies - labels.composition_energies(frames, np.arange(len(frames)))
    return residual, {
        "eV_per_atom": {_symbol(z): labels.reference[z] for z in elements},
        "elements": len(elements),
        "rank": rank,
        "determined": rank == len(elements),
        "fitted_on": "training structures of the first split",
        "label_scale_eV": labels.scale,
    }


def density_range(frames: Frames) -> list[float] | None:
    """Lowest and highest mass density of the structures that are periodic in all directions, g/cm³."""
    from ase.data import atomic_masses

    whole = frames.pbc.all(axis=1)
    if not whole.any():
        return None
    masses = np.add.reduceat(atomic_masses[frames.atomic_numbers], frames.offsets[:-1])
    densities = masses[whole] / np.abs(np.linalg.det(frames.cells[whole])) * DALTON_PER_A3
    return [float(densities.min()), float(densities.max())]


def _side(frames: Frames, chosen: NDArray[np.int64], residual: NDArray[np.float64]) -> dict[str, Any]:
    from priorbench.frames import items_of

    return {
        "structures": len(chosen),
        "groups": len(np.unique(frames.groups[chosen])),
        "force_std_eV_per_A": float(frames.forces[items_of(frames.offsets, chosen)].std()),
        "energy_std_after_reference_meV_per_atom": float((residual[chosen] / frames.sizes[chosen]).std() * MEV),
        "energy_mean_after_reference_meV_per_atom": float((residual[chosen] / frames.sizes[chosen]).mean() * MEV),
    }


def _split(path: Path, frames: Frames) -> dict[str, Any]:
    content = read_object(path, (*SPLIT_KEYS, *SIDES), "delete it and run again")
    return {
        **{key: content[key] for key in SPLIT_KEYS},
        "structures": {side: len(content[side]) for side in SIDES},
    }


def _force_std_by_subsystem(frames: Frames) -> dict[str, float]:
    owner = np.repeat(frames.subsystems, frames.sizes)
    names = frames.metadata["subsystems"]
    return {n: float(frames.forces[owner == i].std()) for i, n in enumerate(names) if (owner == i).any()}


def _atoms_by_element(frames: Frames) -> dict[str, int]:
    elements, counts = np.unique(frames.atomic_numbers, return_counts=True)
    return {_symbol(element): int(count) for element, count in zip(elements, counts, strict=True)}


def _largest_net_force(frames: Frames) -> float:
    net = np.add.reduceat(frames.forces, frames.offsets[:-1], axis=0)
    return float(np.linalg.norm(net, axis=1).max())


def _intact_molecules(frames: Frames) -> int:
    return int((np.maximum.reduceat(frames.molecules, frames.offsets[:-1]) + 1).sum())


def _symbol(number: Any) -> str:
    from ase.data import chemical_symbols

    return str(chemical_symbols[int(number)])
