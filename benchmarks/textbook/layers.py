"""Building blocks that several of the networks share."""

import math

import torch
from torch import Tensor, nn
from torch_geometric.data import Data


class EdgeLinear(nn.Module):
    """Linear layer of the concatenation [h_i, h_j, e_ij]."""

    def __init__(self, width: int, edge_width: int, out: int) -> None:
        super().__init__()
        self.linear = nn.Linear(2 * width + edge_width, out)

    def forward(self, h_i: Tensor, h_j: Tensor, e: Tensor) -> Tensor:
        """Receivers (E, F), senders (E, F), edges (E, K) → (E, O)."""
        return self.linear(torch.cat([h_i, h_j, e], dim=1))


class BesselBasis(nn.Module):
    """√2 sin(nπd/r_c)/d, n = 1 … K (DimeNet, arXiv 2003.03123, eq. 7, without its factor 1/√r_c)."""

    def __init__(self, count: int, cutoff: float) -> None:
        super().__init__()
        self.register_buffer("frequencies", torch.arange(1, count + 1) * math.pi / cutoff, persistent=False)

    def forward(self, distances: Tensor) -> Tensor:
        """(E, 1) Å → (E, K)."""
        return math.sqrt(2) * torch.sin(self.frequencies * distances) / distances


def polynomial_envelope(distances: Tensor, cutoff: float, p: int = 6) -> Tensor:
    """Smooth cutoff 1 − (p+1)(p+2)/2 x^p + p(p+2) x^(p+1) − p(p+1)/2 x^(p+2), x = d/r_c (arXiv 2003.03123, eq. 8)."""
    x = (distances / cutoff).clamp(max=1)
    return 1 - (p + 1) * (p + 2) / 2 * x**p + p * (p + 2) * x ** (p + 1) - p * (p + 1) / 2 * x ** (p + 2)


def edge_vectors(data: Data) -> Tensor:
    """From each receiver i to the image of its sender j that is meant, r_j − r_i + shift, (E, 3) Å."""
    sender, receiver = data.edge_index
    return data.pos[sender] - data.pos[receiver] + data.shift
