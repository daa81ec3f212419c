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
from priorbench.graph import Graph, edge_vectors, inverse_cells, shift_vectors, with_edges
from priorbench.neighbours import neighbours_by_receiver
from priorbench.tasks.base import Counts, Example, Terms
from priorbench.tasks.readout import ReadoutOptions
from priorbench.training.store import Batch, Store

REACH = 11  # σ: the two largest of 12,000 displacements add up to more once in a thousand times
LARGEST = 0.1  # Å


class DenoisingOptions(ReadoutOptions):
    """How much noise."""

    sigma: float = Field(0.05, gt=0, description="standard deviation of the noise on each coordinate in Å")


class Denoising:
    """Predict the Gaussian displacement of every atom."""

    Options = DenoisingOptions

    def __init__(self, options: DenoisingOptions) -> None:
        self.sigma, self.readout = options.sigma, options.readout
        self.weights, self.reach = {"noise": 1.0}, reach_of(options.sigma)

    def check(self, store: Store) -> int:
        """Any structure can be denoised."""
        return 0

    def corrupt(self, batch: Batch, generator: torch.Generator) -> Example:
        """Displace every atom; the edges are those of the displaced structure."""
        moved, noise = with_noise(batch.graph, self.sigma, batch, generator)
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


def reach_of(sigma: float) -> float:
    """Å beyond the cutoff within which noise of ``sigma`` (Å) hardly ever brings a pair to the cutoff from outside.

    0 for noise so large that a search costs less than lists that long.
    """
    return REACH * sigma if sigma <= LARGEST else 0.0


def with_noise(graph: Graph, sigma: float, batch: Batch, generator: torch.Generator) -> tuple[Graph, Tensor]:
    """The graph with every atom displaced by ``sigma`` (Å) times the noise (N, 3), and the noise.

    Its edges are those of the displaced atoms within the cutoff of the ``batch`` that the graph comes from: of the
    edges at hand, which reach further, those that are short enough now; where two atoms may have moved too far for
    that, the result of a new search.
    """
    positions = graph.positions
    noise = torch.randn(positions.shape, generator=generator, device=generator.device, dtype=positions.dtype)
    farthest = sigma * float(noise.norm(dim=1).topk(min(2, len(noise))).values.sum())
    noise = noise.to(positions.device)
    moved = graph.with_positions(positions + sigma * noise)
    if farthest > batch.reach:
        return with_fresh_edges(moved, batch.cutoff), noise
    near = edge_vectors(moved).square().sum(1) <= batch.cutoff**2
    return with_edges(moved, near.nonzero().squeeze(1)), noise


def with_fresh_edges(graph: Graph, cutoff: float) -> Graph:
    """The graph with neighbour lists computed anew for its positions: exact for any displacement.

    On a GPU all pairs are looked at there where each has one image at most within the cutoff; else by the CPU.
    """
    if graph.positions.is_cuda and wide_enough(graph, cutoff):
        return with_edges_of_all_pairs(graph, cutoff)
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


def wide_enough(graph: Graph, cutoff: float) -> bool:
    """Whether every cell is twice the ``cutoff`` (Å) wide between its periodic faces: then no pair is met twice."""
    widths = 1 / inverse_cells(graph).norm(dim=1)
    return bool(((widths >= 2 * cutoff) | ~graph.pbc).all())


def with_edges_of_all_pairs(graph: Graph, cutoff: float) -> Graph:
    """:func:`with_fresh_edges` by looking at all pairs of each structure at once, without leaving the device.

    A vector within half the widths of its cell has fractional coordinates within ½, so rounding them finds the one
    image that may be near; the cells must be :func:`wide_enough`.
    """
    counts = torch.bincount(graph.structure, minlength=graph.structures)
    most, first = int(counts.max()), counts.cumsum(0) - counts
    place = torch.arange(graph.atoms, device=counts.device) - first[graph.structure]
    positions = graph.positions.new_zeros(graph.structures, most, 3)
    positions[graph.structure, place] = graph.positions
    vectors = positions[:, None] - positions[:, :, None]  # (G, i, j, 3): from receiver i to sender j
    # Not as matrix products, which a GPU may round to 10 bits.
    whole = _times(vectors, inverse_cells(graph)).round() * graph.pbc[:, None, None]
    shifts = -_times(whole, graph.cells)
    there = torch.arange(most, device=counts.device) < counts[:, None]
    pairs = there[:, None] & there[:, :, None] & ~torch.eye(most, dtype=torch.bool, device=counts.device)
    near = ((vectors + shifts).square().sum(3) <= cutoff**2) & pairs
    owner, receivers, senders = near.nonzero().unbind(1)
    return replace(
        graph, senders=senders + first[owner], receivers=receivers + first[owner], shifts=shifts[near].contiguous()
    )


def _times(vectors: Tensor, matrices: Tensor) -> Tensor:
    """Vectors (G, i, j, 3) times a matrix (G, 3, 3) for each structure."""
    x, y, z = (vectors[..., k : k + 1] * matrices[:, None, None, k] for k in range(3))
    return x + y + z
