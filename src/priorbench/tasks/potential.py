"""Fitting energies and forces: L1 energy + 500 × L1 force on scaled labels, as the paper's recipe has it."""

from typing import Literal

import torch
from pydantic import Field

from priorbench.backbones.base import Prediction
from priorbench.config import Strict
from priorbench.graph import sum_over_atoms
from priorbench.tasks.base import Counts, Example, Readout, Terms
from priorbench.training.store import Batch, Store

TERMS = ("energy", "force", "energy_squared", "force_squared")


class PotentialOptions(Strict):
    """Weights of the two errors, and the units in which they are counted."""

    energy_weight: float = Field(1.0, ge=0, description="weight of the L1 energy error of a structure")
    force_weight: float = Field(500.0, ge=0, description="weight of the L1 error of a force component")
    label_spread: Literal["force-rms", "energy-per-atom", "energy"] = Field(
        "force-rms",
        description="unit of the network's outputs: rms force component of the training structures, or, as released, "
        "the standard deviation of their energies per atom (DFT water) or of their energies (TIP3P)",
    )
    energy_reference: Literal["composition", "mean-per-atom", "mean"] = Field(
        "composition",
        description="taken off every energy: what its composition has on average, or, as released, the mean energy "
        "per atom, taken off once (DFT water), or the mean energy (TIP3P)",
    )
    target_rms: float = Field(
        1.0, gt=0, description="the unit is smaller by this factor; with force-rms the rms of the force targets"
    )


class Potential:
    """Predict energies and forces."""

    Options = PotentialOptions
    readout: Readout = "own"
    reach = 0.0

    def __init__(self, options: PotentialOptions) -> None:
        self.weights = {"energy": options.energy_weight, "force": options.force_weight}

    def check(self, store: Store) -> int:
        """Any labelled structure can be fitted."""
        return 0

    def corrupt(self, batch: Batch, generator: torch.Generator) -> Example:
        """Nothing is hidden."""
        return Example(batch.graph, batch.forces, energies=batch.energies)

    def terms(self, prediction: Prediction, example: Example) -> Terms:
        """L1 sums of the loss, and the squares that the validation RMSEs are made of (energy per atom)."""
        assert example.energies is not None
        energy, force = prediction.energies - example.energies, prediction.vectors - example.vectors
        atoms = sum_over_atoms(torch.ones_like(force[:, :1]), example.graph).squeeze(1)
        per_atom = energy.detach() / atoms
        return {
            "energy": energy.abs().sum(),
            "force": force.abs().sum(),
            "energy_squared": per_atom.square().sum(),
            "force_squared": force.detach().square().sum(),
        }

    def counts(self, example: Example) -> Counts:
        """An energy for each structure, three force components for each atom."""
        assert example.energies is not None
        structures, components = example.energies.numel(), example.vectors.numel()
        return {name: structures if "energy" in name else components for name in TERMS}

    def floor(self, store: Store, readout: Literal["gradient", "vector"]) -> None:
        """Not known."""
        return None
