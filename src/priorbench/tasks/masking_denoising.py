"""Masking and denoising at once, the third variant of arXiv 2402.15921, which adds both losses.

Hydrogens are hidden as in :mod:`~priorbench.tasks.masking`, by the same draws, and Gaussian noise is added to every
atom left; the edges are those of the noisy structure.  There is one vector for each atom, and none that both points to
a lost hydrogen and equals the atom's noise.  So each atom is asked one thing: atoms left of a masked molecule the
direction from where the noise has put them to where the hydrogen was, by the cosine loss; all others their noise in
units of σ, by the mean squared error.  The mask embedding tells which is asked.  Each loss is averaged over its own
atoms, and the two means are added with their weights.
"""

from dataclasses import replace
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from priorbench.backbones.base import Prediction
from priorbench.tasks.base import Counts, Example, Terms
from priorbench.tasks.denoising import reach_of, with_noise
from priorbench.tasks.masking import Masking, MaskingOptions
from priorbench.tasks.readout import ReadoutOptions
from priorbench.training.store import Batch, Store


class MaskingDenoisingOptions(ReadoutOptions):
    """How much is hidden, how much noise, and what each counts."""

    ratio: float = Field(
        0.5, gt=0, le=1, description="fraction of a structure's sites (in water: molecules) that lose a hydrogen"
    )
    sigma: float = Field(0.05, gt=0, description="standard deviation of the noise on each coordinate in Å")
    masking_weight: float = Field(1.0, ge=0, description="weight of the cosine loss")
    denoising_weight: float = Field(1.0, ge=0, description="weight of the mean squared error of the noise over σ")


class MaskingDenoising:
    """Predict directions to removed hydrogens, and the noise of the atoms that have none to point to."""

    Options = MaskingDenoisingOptions

    def __init__(self, options: MaskingDenoisingOptions) -> None:
        self.masking = Masking(MaskingOptions(ratio=options.ratio))
        self.sigma, self.readout = options.sigma, options.readout
        self.reach = reach_of(options.sigma)
        self.weights = {"cosine": options.masking_weight, "noise": options.denoising_weight}

    def check(self, store: Store) -> int:
        """Masking must be possible somewhere; a structure without it has its noise."""
        self.masking.check(store)
        return 0

    def corrupt(self, batch: Batch, generator: torch.Generator) -> Example:
        """Remove hydrogens, then displace the atoms left; ``selected`` have a direction as target, the others noise."""
        masked = self.masking.corrupt(batch, generator)
        assert masked.selected is not None
        moved, vectors = with_noise(masked.graph, self.sigma, batch, generator)
        pointing = masked.selected
        displaced = self.sigma * vectors[pointing]
        vectors[pointing] = masked.vectors[pointing] - displaced
        return replace(masked, graph=moved, vectors=vectors)

    def terms(self, prediction: Prediction, example: Example) -> Terms:
        """One minus the cosine similarity, and the squared error of each component of the other atoms' noise."""
        noise = (prediction.vectors - example.vectors).masked_fill(_pointing(example)[:, None], 0)
        return {**self.masking.terms(prediction, example), "noise": noise.square().sum()}

    def counts(self, example: Example) -> Counts:
        """Atoms that point to a hydrogen, and three components of every other."""
        return {**self.masking.counts(example), "noise": 3 * int((~_pointing(example)).sum())}

    def floor(self, store: Store, readout: Literal["gradient", "vector"]) -> None:
        """Not known; the loss of masking alone cannot be told from the sum."""
        return None


def _pointing(example: Example) -> Tensor:
    """Which atoms have a direction as target, (N,) bool."""
    assert example.selected is not None
    pointing = torch.zeros(len(example.vectors), dtype=torch.bool, device=example.vectors.device)
    return pointing.index_fill(0, example.selected, True)
