"""GNS, the graph network simulator (arXiv 2002.09405, sec. 3 and app. C): encode, process, decode."""

import torch
from torch import Tensor, nn
from torch_geometric.data import Data
from torch_geometric.nn import MessagePassing, global_add_pool
from torch_geometric.typing import OptTensor

from benchmarks.textbook.layers import BesselBasis, EdgeLinear, edge_vectors, polynomial_envelope
from priorbench.backbones.gns import GNSOptions


def hidden_layers(width: int) -> nn.Sequential:
    """What follows the first linear layer of an MLP with two hidden layers and a LayerNorm."""
    middle = [nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width)]
    return nn.Sequential(*middle, nn.LayerNorm(width))


def decoder(width: int, out: int) -> nn.Sequential:
    """MLP with two hidden layers and no LayerNorm."""
    layers = [nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, out)]
    return nn.Sequential(*layers)


class MLP(nn.Module):
    """MLP of encoders and of the atoms' steps."""

    def __init__(self, n_in: int, width: int) -> None:
        super().__init__()
        self.first = nn.Linear(n_in, width)
        self.rest = hidden_layers(width)

    def forward(self, x: Tensor) -> Tensor:
        """(rows, n_in) → (rows, F)."""
        return self.rest(self.first(x))


class EdgeStep(MessagePassing):
    """The edges' half of an interaction network (arXiv 1612.00222): messages along edges, summed at the receivers."""

    def __init__(self, width: int) -> None:
        super().__init__(aggr="sum")
        self.first = EdgeLinear(width, width, width)
        self.rest = hidden_layers(width)

    def forward(self, h: Tensor, e: Tensor, edge_index: Tensor, weights: OptTensor) -> tuple[Tensor, Tensor]:
        """h (N, F), e (E, F), weights (E, 1) or None → messages (E, F) and what each atom receives (N, F)."""
        messages = self.edge_updater(edge_index, h=h, e=e)
        return messages, self.propagate(edge_index, messages=messages, weights=weights, size=(len(h), len(h)))

    def edge_update(self, h_i: Tensor, h_j: Tensor, e: Tensor) -> Tensor:
        """Message of each edge."""
        return self.rest(self.first(h_i, h_j, e))

    def message(self, messages: Tensor, weights: OptTensor) -> Tensor:
        """What of it arrives."""
        return messages if weights is None else messages * weights


class GNS(nn.Module):
    """Energies and vectors from decoders of their own."""

    def __init__(self, options: GNSOptions) -> None:
        super().__init__()
        self.options = options
        width, raw = options.width, options.edge_features == "raw"
        self.element = nn.Embedding(options.element_rows, width)
        self.mask = nn.Embedding(2, width)
        self.basis = None if raw else BesselBasis(options.radial_functions, options.cutoff)
        self.node_encoder = MLP(width + 3 if options.raw_coordinates else width, width)
        self.edge_encoder = MLP(4 if raw else 4 * options.radial_functions, width)
        self.edge_steps = nn.ModuleList(EdgeStep(width) for _ in range(options.layers))
        self.node_steps = nn.ModuleList(MLP(2 * width, width) for _ in range(options.layers))
        self.energy_decoder = decoder(width, 1)
        self.vector_decoder = decoder(width, 3)

    def forward(self, data: Data) -> tuple[Tensor, Tensor]:
        """Energies (G,) and vectors (N, 3)."""
        vectors = edge_vectors(data)
        distances = vectors.norm(dim=1, keepdim=True)
        weights = polynomial_envelope(distances, self.options.cutoff) if self.options.envelope else None
        h, e = self.node_encoder(self.node_features(data)), self.edge_encoder(self.edge_features(vectors, distances))
        for edge_step, node_step in zip(self.edge_steps, self.node_steps, strict=True):
            messages, received = edge_step(h, e, data.edge_index, weights)
            h = h + node_step(torch.cat([received, h], dim=1))
            e = e + (messages if self.options.edge_update == "message" else e)
        energies = global_add_pool(self.energy_decoder(h), data.batch, size=len(data.cell)).squeeze(1)
        return energies, self.vector_decoder(h)

    def node_features(self, data: Data) -> Tensor:
        """Embeddings of element and mask, with the wrapped coordinates before them where asked for."""
        h = self.element(data.z)
        if "lost" in data:
            h = h + self.mask(data.lost)
        return torch.cat([wrapped(data), h], dim=1) if self.options.raw_coordinates else h

    def edge_features(self, vectors: Tensor, distances: Tensor) -> Tensor:
        """(Δ, ‖Δ‖)/r_c, or the radial basis and its product with the unit vector."""
        if self.basis is None:
            return torch.cat([vectors, distances], dim=1) / self.options.cutoff
        radial = self.basis(distances)
        x, y, z = (vectors / distances).split(1, dim=1)
        return torch.cat([radial, x * radial, y * radial, z * radial], dim=1)


def wrapped(data: Data) -> Tensor:
    """Positions moved into the cell along its periodic directions, (N, 3) Å."""
    batch = data.pos.new_zeros(len(data.pos), dtype=torch.long) if data.batch is None else data.batch
    pbc = data.pbc[batch]
    # A direction that is not periodic may have no cell vector: any will do.
    cell = torch.where(data.pbc.unsqueeze(2), data.cell, torch.eye(3).to(data.cell))[batch]
    fractional = torch.linalg.solve(cell, data.pos.unsqueeze(1), left=False).squeeze(1)
    return data.pos - (fractional.floor() * pbc).unsqueeze(1).matmul(cell).squeeze(1)
