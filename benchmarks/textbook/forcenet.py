"""ForceNet (arXiv 2103.01436, sec. 3 and app. A) with the spherical × sine basis and conditional filters."""

import math

import torch
from torch import Tensor, nn
from torch_geometric.data import Data
from torch_geometric.nn import MessagePassing, global_add_pool

from benchmarks.textbook.layers import EdgeLinear, edge_vectors
from priorbench.backbones.elements import atomic_radii, element_properties
from priorbench.backbones.forcenet import ForceNetOptions


class PowerSines(nn.Module):
    """sin(1.1^k x), k = 0 … K − 1, of each input."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self.register_buffer("powers", 1.1 ** torch.arange(count), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """(rows, C) → (rows, C · K)."""
        return torch.sin(x.unsqueeze(2) * self.powers).flatten(1)


def spherical_harmonics(directions: Tensor) -> Tensor:
    """Real orthonormal harmonics Y_lm, l = 0, 1, 2, m = −l … l, of unit vectors (E, 3) → (E, 9)."""
    x, y, z = directions.split(1, dim=1)
    columns = [
        torch.ones_like(x) * 0.5 * math.sqrt(1 / math.pi),
        0.5 * math.sqrt(3 / math.pi) * y,
        0.5 * math.sqrt(3 / math.pi) * z,
        0.5 * math.sqrt(3 / math.pi) * x,
        0.5 * math.sqrt(15 / math.pi) * x * y,
        0.5 * math.sqrt(15 / math.pi) * y * z,
        0.25 * math.sqrt(5 / math.pi) * (3 * z**2 - 1),
        0.5 * math.sqrt(15 / math.pi) * x * z,
        0.25 * math.sqrt(15 / math.pi) * (x**2 - y**2),
    ]
    return torch.cat(columns, dim=1)


class FilterConvolution(MessagePassing):
    """Sum over the neighbours of filter ⊙ features."""

    def forward(self, x: Tensor, filters: Tensor, edge_index: Tensor) -> Tensor:
        """x (N, F), filters (E, F) → (N, F)."""
        return self.propagate(edge_index, x=x, filters=filters)

    def message(self, x_j: Tensor, filters: Tensor) -> Tensor:
        """What an atom receives along an edge."""
        return filters * x_j


class Interaction(nn.Module):
    """Convolution with filters that know the edge and both of its atoms (eq. 4), then an MLP with BatchNorm."""

    def __init__(self, width: int, edge_width: int) -> None:
        super().__init__()
        self.edge = nn.Linear(edge_width, width)
        self.filter_in = EdgeLinear(width, width, width)
        self.filter_out = nn.Sequential(nn.SiLU(), nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width))
        self.source = nn.Linear(width, width)
        self.self_weight = nn.Parameter(torch.ones(width))
        self.convolution = FilterConvolution(aggr="sum")
        self.update = nn.Sequential(nn.Linear(width, width), nn.BatchNorm1d(width), nn.SiLU(), nn.Linear(width, width))

    def forward(self, h: Tensor, e: Tensor, edge_index: Tensor, weights: Tensor) -> Tensor:
        """h (N, F), e (E, K), weights (E, 1) → new h."""
        sender, receiver = edge_index
        filters = self.filter_out(self.filter_in(h[receiver], h[sender], self.edge(e))) * weights
        received = self.convolution(self.source(h), filters, edge_index)
        return h + self.update(received + self.self_weight * h)


class ForceNet(nn.Module):
    """Energies and vectors from heads of their own."""

    def __init__(self, options: ForceNetOptions) -> None:
        super().__init__()
        self.options = options
        width = options.width
        properties, radii = torch.from_numpy(element_properties()), torch.from_numpy(atomic_radii())
        self.register_buffer("properties", properties.to(torch.get_default_dtype()), persistent=False)
        self.register_buffer("radii", radii.to(torch.get_default_dtype()), persistent=False)
        self.sines = PowerSines(options.frequencies)
        self.element = nn.Linear(properties.shape[1] * options.frequencies, width)
        self.mask = nn.Embedding(2, width)
        self.distances = nn.Linear(4 * options.frequencies, 4)
        self.interactions = nn.ModuleList(Interaction(width, 4 * 9) for _ in range(options.layers))
        self.decoder = nn.Sequential(nn.Linear(width, width), nn.SiLU())
        self.vector_head = nn.Sequential(nn.Linear(width, width), nn.BatchNorm1d(width), nn.SiLU(), nn.Linear(width, 3))
        self.energy_head = nn.Linear(width, 1)

    def forward(self, data: Data) -> tuple[Tensor, Tensor]:
        """Energies (G,) and vectors (N, 3)."""
        h = self.element(self.sines(self.properties[data.z]))
        if "lost" in data:
            h = h + self.mask(data.lost)
        vectors = edge_vectors(data)
        distances = vectors.norm(dim=1, keepdim=True)
        e = self.edge_features(vectors / distances, distances, data)
        weights = torch.cos(0.5 * math.pi * distances / self.options.cutoff)
        for interaction in self.interactions:
            h = interaction(h, e, data.edge_index, weights)
        h = self.decoder(h)
        energies = self.energy_head(global_add_pool(h, data.batch, size=len(data.cell))).squeeze(1)
        return energies, self.vector_head(h)

    def edge_features(self, directions: Tensor, distances: Tensor, data: Data) -> Tensor:
        """Each of four distances, as a learned mix of sines, times each harmonic, (E, 36)."""
        sender, receiver = data.edge_index
        r_s, r_t = self.radii[data.z[sender]].unsqueeze(1), self.radii[data.z[receiver]].unsqueeze(1)
        lengths = torch.cat([distances, distances - r_s, distances - r_t, distances - r_s - r_t], dim=1)
        radial = self.distances(self.sines((lengths / self.options.cutoff).clamp(min=1e-3)))
        return torch.einsum("ed,ey->edy", radial, spherical_harmonics(directions)).flatten(1)
