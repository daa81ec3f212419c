"""Denoising pretraining (arXiv 2206.00133, 2303.02216): move every atom by Gaussian noise, predict the noise.

The target is the noise in units of σ, so that its size does not depend on σ; at σ = 1 Å this is the released form.
"""

from dataclasses import replace
from typing import Literal

import numpy as np
import torch
from pydantic import Field

from priorbench.backbones.base import Prediction
from priorbench.config import Strict
from priorbench.graph import Graph
from priorbench.neighbours import neighbour_list
from priorbench.tasks.base import Counts, Example, Terms
from priorbench.training.store import Batch, Store


class DenoisingOptions(Strict):
    """How much noise."""

    sigma: float = Field(0.05, gt=0, description="standard deviation of the noise on each coordinate in Å")


class Denoising:
    """Predict the Gaussian displacement of every atom."""

    Options = DenoisingOptions

    def __init__(self, options: DenoisingOptions) -> None:
        self.sigma = options.sigma
        self.weights = {"noise": 1.0}

    def check(self, store: Store) -> int:
        """Any structure can be denoised."""
        return 0

    def corrupt(self, batch: Batch, generator: torch.Generator) -> Example:
        """Displace every atom; the edges are those of the displaced structure."""
        positions = batch.graph.positions
        noise = torch.randn(positions.shape, generator=generator, device=generator.device, dtype=positions.dtype)
        noise = noise.to(positions.device)
        moved = batch.graph.with_positions(positions + self.sigma * noise)
        return Example(with_fresh_edges(moved, batch.cutoff), noise)

    def terms(self, prediction: Prediction, example: Example) -> Terms:
        """Squared error of each component of the noise in units of σ, summed."""
        return {"noise": (prediction.vectors - example.vectors).square().sum()}

    def counts(self, example: Example) -> Counts:
        """Three components an atom."""
        return {"noise": example.vectors.numel()}

    def floor(self, store: Store, readout: Literal["gradient", "vector"]) -> None:
        """Not known; predicting no noise at all gives a loss of 1."""
        return None


def with_fresh_edges(graph: Graph, cutoff: float) -> Graph:
    """The graph with neighbour lists computed anew for its positions: exact for any displacement."""
    counts = torch.bincount(graph.structure, minlength=graph.structures).tolist()
    positions = [p.numpy(force=True).astype(np.float64) for p in graph.positions.split(counts)]
    cells, pbc = graph.cells.numpy(force=True).astype(np.float64), graph.pbc.numpy(force=True)
    senders, receivers, shifts, start = [], [], [], 0
    for p, cell, periodic, count in zip(positions, cells, pbc, counts, strict=True):
        sender, receiver, shift = neighbour_list(p, cell, periodic, cutoff)
        senders.append(sender + start)
        receivers.append(receiver + start)
        shifts.append(shift @ cell)
        start += count
    device = graph.positions.device
    return replace(
        graph,
        senders=torch.as_tensor(np.concatenate(senders).astype(np.int64), device=device),
        receivers=torch.as_tensor(np.concatenate(receivers).astype(np.int64), device=device),
        shifts=torch.as_tensor(np.concatenate(shifts), device=device).to(graph.positions.dtype),
    )
