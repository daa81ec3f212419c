"""Scaling of labels: energies referenced to their composition, forces to rms 1, both by one energy unit."""

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from priorbench.errors import PriorbenchError
from priorbench.frames import Frames, items_of

ROWS = 119


@dataclass(frozen=True)
class Labels:
    """Energies in units of ``scale`` eV after the composition's reference is taken off; forces in ``scale`` eV/Å.

    One scale for both keeps forces the negative gradient of energies.
    """

    reference: tuple[float, ...]  # eV for an atom of each element, by atomic number, length 119
    scale: float  # eV; the rms force component of the training set in eV/Å

    @classmethod
    def fit(cls, frames: Frames, structures: NDArray[np.int64]) -> Self:
        """Fit on the training ``structures`` alone.

        The per-element reference is the least-squares solution of least norm: constant stoichiometry (pure water)
        leaves the split between elements open, which changes no energy difference between water structures.
        """
        counts, energies = compositions(frames, structures), frames.energies[structures]
        used = counts.any(axis=0)  # the least norm gives the others zero, and 119 columns would take a second
        reference = np.zeros(ROWS)
        reference[used] = np.linalg.lstsq(counts[:, used], energies, rcond=None)[0]
        atoms = items_of(frames.offsets, structures)
        scale = float(np.sqrt(np.mean(frames.forces[atoms] ** 2)))
        if not scale > 0:
            raise PriorbenchError("every training force is zero; the dataset cannot be trained on, check its forces")
        return cls(tuple(float(e) for e in reference), scale)

    def reference_energies(self, frames: Frames, structures: NDArray[np.int64]) -> NDArray[np.float64]:
        """Energy of each structure's composition, (S,) eV: the trivial predictor of the energy."""
        energies: NDArray[np.float64] = compositions(frames, structures) @ np.array(self.reference)
        return energies

    def to_json(self) -> dict[str, Any]:
        """As stored with a model."""
        return {"reference": list(self.reference), "scale": self.scale}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Self:
        """From :meth:`to_json`."""
        return cls(tuple(data["reference"]), data["scale"])


def compositions(frames: Frames, structures: NDArray[np.int64]) -> NDArray[np.float64]:
    """Atoms of each element in each structure, (S, 119)."""
    sizes = frames.sizes[structures]
    owner = np.repeat(np.arange(len(structures)), sizes)
    cells = owner * ROWS + frames.atomic_numbers[items_of(frames.offsets, structures)]
    return np.bincount(cells, minlength=len(structures) * ROWS).reshape(-1, ROWS).astype(float)
