"""Scaling of labels: energies referenced, forces and energies both divided by one energy unit.

By default energies are referenced to their composition and forces have rms 1.  The other choices are those of the
paper's released code, and a scan of how large the targets are in the units of the network's outputs.
"""

from dataclasses import dataclass
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray

from priorbench.errors import PriorbenchError
from priorbench.frames import Frames, items_of

ROWS = 119
Spread = Literal["force-rms", "energy-per-atom", "energy"]
Reference = Literal["composition", "mean-per-atom", "mean"]


@dataclass(frozen=True)
class Labels:
    """Energies in units of ``scale`` eV after a reference is taken off; forces in ``scale`` eV/Å.

    One scale for both keeps forces the negative gradient of energies.
    """

    reference: tuple[float, ...]  # eV for an atom of each element, by atomic number, length 119
    scale: float  # eV; by default the rms force component of the training set in eV/Å
    constant: float | None = None  # eV, what is taken off every structure's energy in place of its composition's

    @classmethod
    def fit(
        cls,
        frames: Frames,
        structures: NDArray[np.int64],
        spread: Spread = "force-rms",
        reference: Reference = "composition",
        target_rms: float = 1.0,
    ) -> Self:
        """Fit on the training ``structures`` alone.

        The unit is the ``spread`` (rms force component; standard deviation of the energies per atom, or of the
        energies) over ``target_rms``.  The per-element reference is the least-squares solution of least norm: constant
        stoichiometry (pure water) leaves the split between elements open, which changes no energy difference between
        water structures.
        """
        counts, energies = compositions(frames, structures), frames.energies[structures]
        used = counts.any(axis=0)  # the least norm gives the others zero, and 119 columns would take a second
        by_element = np.zeros(ROWS)
        by_element[used] = np.linalg.lstsq(counts[:, used], energies, rcond=None)[0]
        forces = frames.forces[items_of(frames.offsets, structures)]
        per_atom = energies / frames.sizes[structures]
        unit = {
            "force-rms": np.sqrt(np.mean(forces**2)),
            "energy-per-atom": np.std(per_atom),
            "energy": np.std(energies),
        }[spread]
        if not unit > 0:
            what = "every training force is zero" if spread == "force-rms" else "all training energies are equal"
            raise PriorbenchError(f"{what}; the dataset cannot be trained on, check its labels")
        constant = {"composition": None, "mean-per-atom": float(per_atom.mean()), "mean": float(energies.mean())}
        return cls(tuple(float(e) for e in by_element), float(unit) / target_rms, constant[reference])

    def reference_energies(self, frames: Frames, structures: NDArray[np.int64]) -> NDArray[np.float64]:
        """What is taken off each structure's energy, (S,) eV."""
        if self.constant is not None:
            return np.full(len(structures), self.constant)
        return self.composition_energies(frames, structures)

    def composition_energies(self, frames: Frames, structures: NDArray[np.int64]) -> NDArray[np.float64]:
        """Energy of each structure's composition, (S,) eV: the trivial predictor of the energy."""
        energies: NDArray[np.float64] = compositions(frames, structures) @ np.array(self.reference)
        return energies

    def to_json(self) -> dict[str, Any]:
        """As stored with a model."""
        return {"reference": list(self.reference), "scale": self.scale, "constant": self.constant}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Self:
        """From :meth:`to_json`."""
        return cls(tuple(data["reference"]), data["scale"], data.get("constant"))


def compositions(frames: Frames, structures: NDArray[np.int64]) -> NDArray[np.float64]:
    """Atoms of each element in each structure, (S, 119)."""
    sizes = frames.sizes[structures]
    owner = np.repeat(np.arange(len(structures)), sizes)
    cells = owner * ROWS + frames.atomic_numbers[items_of(frames.offsets, structures)]
    return np.bincount(cells, minlength=len(structures) * ROWS).reshape(-1, ROWS).astype(float)
