"""Denoising pretraining (arXiv 2206.00133, 2303.02216): move every atom by Gaussian noise, predict the noise.

The target is the noise in units of σ, so that its size does not depend on σ; at σ = 1 Å this is the released form.
"""

from dataclasses import replace
from typing import Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from priorbench.backbones.base import Prediction
from priorbench.graph import Graph, shift_vectors
from priorbench.neighbours import neighbours_by_receiver
from priorbench.tasks.base import Counts, Example, Terms
from priorbench.tasks.readout import ReadoutOptions
from priorbench.training.store import Batch, Store


class DenoisingOptions(ReadoutOptions):
    """How much noise."""

    sigma: float = Field(0.05, gt=0, description="standard deviation of the noise on each coordinate in Å")


class Denoising:
    """Predict the Gaussian displacement of every atom."""

    Options = DenoisingOptions

    def __init__(self, options: DenoisingOptions) -> None:
        self.sigma, self.readout = options.sigma, options.readout
        self.weights = {"noise": 1.0}

    def check(self, store: Store) -> int:
        """Any structure can be denoised."""
        return 0

    def corrupt(self, batch: Batch, generator: torch.Generator) -> Example:
        """Displace every atom; the edges are those of the displaced structure."""
        moved, noise = with_noise(batch.graph, self.sigma, batch.cutoff, generator)
        return Example(moved, noise)

    def terms(self, prediction: Prediction, example: Example) -> Terms:
        """Squared error of each component of the noise in units of σ, summed."""
        return {"noise": (prediction.vectors - example.vectors).square().sum()}

    def counts(self, example: Example) -> Counts:
        """Three components an atom."""
        return {"noise": example.vectors.numel()}

    def floor(self, store: Store, readout: Literal["gradient", "vector"]) -> None:
        """Not known; predicting no noise at all gives a loss of 1."""
        return None


def with_noise(graph: Graph, sigma: float, cutoff: float, generator: torch.Generator) -> tuple[Graph, Tensor]:
    """The graph with every atom displaced by ``sigma`` (Å) times the noise (N, 3), and the noise; edges are new."""
    positions = graph.positions
    noise = torch.randn(positions.shape, generator=generator, device=generator.device, dtype=positions.dtype)
    noise = noise.to(positions.device)
    return with_fresh_edges(graph.with_positions(positions + sigma * noise), cutoff), noise


def with_fresh_edges(graph: Graph, cutoff: float) -> Graph:
    """The graph with neighbour lists computed anew for its positions: exact for any displacement."""
    counts = torch.bincount(graph.structure, minlength=graph.structures).tolist()
    positions = [p.numpy(force=True).astype(np.float64) for p in graph.positions.split(counts)]
    cells, pbc = graph.cells.numpy(force=True).astype(np.float64), graph.pbc.numpy(force=True)
    found = [neighbours_by_receiver(*structure, cutoff) for structure in zip(positions, cells, pbc, strict=True)]
    senders, receivers, shifts = (torch.from_numpy(np.concatenate(column)) for column in zip(*found, strict=True))
    edges = torch.tensor([len(sender) for sender, _, _ in found])
    owner = torch.repeat_interleave(torch.arange(len(found)), edges)
    start = torch.tensor([0, *counts[:-1]]).cumsum(0)[owner]
    device = graph.positions.device
    return replace(
        graph,
        senders=(senders + start).to(device),
        receivers=(receivers + start).to(device),
        shifts=shift_vectors(shifts.to(device), graph.cells, owner.to(device)),
    )
