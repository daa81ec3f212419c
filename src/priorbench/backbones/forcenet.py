"""ForceNet: force-centric network with a spherical × sine edge basis (arXiv 2103.01436, sec. 3 and app. A).

"Full" edge features: the unit vector in real spherical harmonics and four distances (d, d − r_s, d − r_t,
d − r_s − r_t with covalent radii) in power sines sin(1.1^k x); conditional filter convolution; BatchNorm in the MLPs.
Not rotation equivariant.
"""

import math
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from priorbench.backbones.base import BackboneOptions, Heads, Prediction, Symmetry, VectorBackbone
from priorbench.backbones.elements import atomic_radii, element_properties
from priorbench.backbones.layers import EdgeLinear, through
from priorbench.graph import Graph, edge_vectors, sum_over_atoms, sum_over_neighbours
from priorbench.kernels.forcenet import filter_sum, sine_linear
from priorbench.kernels.library import usable

HARMONICS = 9


class ForceNetOptions(BackboneOptions):
    """Sizes; layers 5, width 128, 50 frequencies and cutoff 3.4 are the paper's."""

    cutoff: float = Field(3.4, gt=0, le=50, description="neighbour cutoff in Å; every periodic image within it counts")
    layers: int = Field(5, ge=1, description="number of interaction layers")
    width: int = Field(128, ge=4, description="features of each atom and edge")
    frequencies: int = Field(50, ge=1, description="number of power sines sin(1.1^k x), k = 0, 1, …")


class PowerSine(nn.Module):
    """sin(1.1^k x), k = 0 … K − 1, for each input."""

    powers: Tensor

    def __init__(self, count: int) -> None:
        super().__init__()
        self.register_buffer("powers", 1.1 ** torch.arange(count), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """(rows, C) → (rows, C · K)."""
        return torch.sin(x.unsqueeze(2) * self.powers).flatten(1)


class Interaction(nn.Module):
    """Message passing with filters conditioned on the edge and both atoms (the paper's eq. 4)."""

    def __init__(self, width: int, edge_width: int) -> None:
        super().__init__()
        self.edge = nn.Linear(edge_width, width)
        self.filter_in = EdgeLinear(width, width, width)
        self.filter_out = nn.Sequential(nn.SiLU(), nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width))
        self.source = nn.Linear(width, width)
        self.self_weight = nn.Parameter(torch.ones(width))
        self.update = nn.Sequential(nn.Linear(width, width), nn.BatchNorm1d(width), nn.SiLU(), nn.Linear(width, width))

    def forward(self, h: Tensor, e: Tensor, weights: Tensor, graph: Graph) -> Tensor:
        """h (N, F), e (E, K), weights (E, 1) → new h."""
        return h + through(self.update, self._received(h, e, weights, graph) + self.self_weight * h, graph)

    def _received(self, h: Tensor, e: Tensor, weights: Tensor, graph: Graph) -> Tensor:
        """Sum of filters times source features over each atom's neighbours, (N, F)."""
        if usable(h) and not weights.requires_grad:
            # Two linear layers follow each other on the edge features: one of their product costs a third.
            weight = self.filter_in.edge_weight
            table = self.filter_in.table(h, bias=weight @ self.edge.bias)
            parameters = (weight @ self.edge.weight, *self.filter_out.parameters())
            return filter_sum(graph.order, table, e, weights.squeeze(1), self.source(h), *parameters)
        filters = self.filter_out(self.filter_in(h, self.edge(e), graph)) * weights
        return sum_over_neighbours(filters * self.source(h).index_select(0, graph.senders), graph)


class ForceNet(VectorBackbone):
    """Force-centric ForceNet."""

    Options = ForceNetOptions
    heads: ClassVar[Heads] = {"energy_head": "energies", "vector_head": "vectors"}
    properties: Tensor
    radii: Tensor

    def __init__(self, options: ForceNetOptions) -> None:
        super().__init__()
        self.options = options
        width = options.width
        properties = torch.tensor(element_properties(), dtype=torch.get_default_dtype())
        self.register_buffer("properties", properties, persistent=False)
        self.register_buffer("radii", torch.tensor(atomic_radii(), dtype=properties.dtype), persistent=False)
        self.sines = PowerSine(options.frequencies)
        self.element = nn.Linear(properties.shape[1] * options.frequencies, width)
        self.mask = nn.Embedding(2, width)
        self.distances = nn.Linear(4 * options.frequencies, 4)
        self.interactions = nn.ModuleList(Interaction(width, 4 * HARMONICS) for _ in range(options.layers))
        self.decoder = nn.Sequential(nn.Linear(width, width), nn.SiLU())
        self.vector_head = nn.Sequential(nn.Linear(width, width), nn.BatchNorm1d(width), nn.SiLU(), nn.Linear(width, 3))
        self.energy_head = nn.Linear(width, 1)

    @property
    def symmetries(self) -> frozenset[Symmetry]:
        """Permutation, translation and wrapping."""
        return frozenset(("permutation", "translation", "wrapping"))

    def forward(self, graph: Graph) -> Prediction:
        """Predict energies and vectors of a batch."""
        h = self.features(graph)
        energies = self.energy_head(sum_over_atoms(h, graph)).squeeze(1)
        return Prediction(energies, through(self.vector_head, h, graph))

    def features(self, graph: Graph) -> Tensor:
        """What both heads read of each atom, (N, F)."""
        h: Tensor = self.element(self.sines(self.properties[graph.atomic_numbers]))
        if graph.lost is not None:
            h = h + self.mask(graph.lost)
        vectors = edge_vectors(graph)
        distances = vectors.norm(dim=1, keepdim=True)
        e = self._edge_features(vectors / distances, distances, graph)
        weights = torch.cos(0.5 * math.pi / self.options.cutoff * distances)
        for interaction in self.interactions:
            h = interaction(h, e, weights, graph)
        out: Tensor = self.decoder(h)
        return out

    def _edge_features(self, directions: Tensor, distances: Tensor, graph: Graph) -> Tensor:
        radii = self.radii[graph.atomic_numbers].unsqueeze(1)
        r_s, r_t = radii[graph.senders], radii[graph.receivers]
        lengths = torch.cat([distances, distances - r_s, distances - r_t, distances - r_s - r_t], dim=1)
        scaled = (lengths / self.options.cutoff).clamp(min=1e-3)
        if usable(scaled) and not scaled.requires_grad:
            radial = sine_linear(scaled, self.sines.powers, self.distances.weight, self.distances.bias)
        else:
            radial = self.distances(self.sines(scaled))
        features: Tensor = radial.unsqueeze(2) * spherical_harmonics(directions).unsqueeze(1)
        return features.flatten(1)


def spherical_harmonics(directions: Tensor) -> Tensor:
    """The nine orthonormal real spherical harmonics of degree 0, 1, 2 of unit vectors (E, 3) → (E, 9)."""
    x, y, z = directions.unbind(1)
    one = math.sqrt(3 / (4 * math.pi))
    two = math.sqrt(15 / (4 * math.pi))
    zonal = math.sqrt(5 / (16 * math.pi))
    columns = [
        torch.full_like(x, math.sqrt(1 / (4 * math.pi))),
        *(one * y, one * z, one * x),
        *(two * x * y, two * y * z, zonal * (3 * z * z - 1), two * x * z, 0.5 * two * (x * x - y * y)),
    ]
    return torch.stack(columns, dim=1)
