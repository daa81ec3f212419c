"""GNS: graph network simulator, encode–process–decode (arXiv 2002.09405, sec. 3 and app. C), force-centric.

Every MLP has two hidden layers with ReLU and, except in the decoders, a LayerNorm.  The default sees no absolute
coordinates and describes an edge by its unit vector and a radial basis; the raw form of the paper's released code
((Δ, ‖Δ‖)/r_c on edges, wrapped coordinates on atoms) is a matter of options.  Not rotation equivariant.
"""

from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from priorbench.backbones.base import BackboneOptions, Heads, Prediction, Symmetry, VectorBackbone
from priorbench.backbones.layers import EdgeLinear, RadialBasis, envelope, mlp
from priorbench.graph import Graph, edge_vectors, inverse_cells, sum_over_atoms, sum_over_neighbours
from priorbench.kernels import gns as kernels
from priorbench.kernels.library import usable
from priorbench.kernels.room import room


class GNSOptions(BackboneOptions):
    """Sizes and variants; layers 10, width 128, cutoff 3.4 with the raw variants is the released network."""

    cutoff: float = Field(3.4, gt=0, le=50, description="neighbour cutoff in Å; every periodic image within it counts")
    layers: int = Field(10, ge=1, description="number of message-passing layers")
    width: int = Field(128, ge=4, description="features of each atom and edge")
    edge_features: Literal["directional-basis", "raw"] = Field(
        "directional-basis",
        description="unit vector × radial basis with the basis itself, or (Δ/r_c, ‖Δ‖/r_c) as released",
    )
    radial_functions: int = Field(8, ge=1, description="number of Bessel functions of directional-basis")
    raw_coordinates: bool = Field(
        False, description="give each atom its wrapped coordinates too, as released; breaks translation invariance"
    )
    edge_update: Literal["message", "doubling"] = Field(
        "message", description="e + message, or the released slip, which adds the edge to itself at every step"
    )
    envelope: bool = Field(True, description="let messages vanish smoothly at the cutoff; the released form does not")
    element_rows: int = Field(119, ge=2, description="rows of the element table, by atomic number; 100 as released")


class GNSBlock(nn.Module):
    """Two hidden layers and LayerNorm behind a first linear layer."""

    def __init__(self, first: nn.Module, width: int) -> None:
        super().__init__()
        self.first = first
        self.rest = nn.Sequential(nn.ReLU(), *mlp([width, width, width], nn.ReLU), nn.LayerNorm(width))


class RowBlock(GNSBlock):
    """The block of rows: atoms, or edges without their atoms."""

    def forward(self, x: Tensor, keep: bool = True) -> Tensor:
        """(R, K) → (R, F); ``keep`` as in :func:`priorbench.kernels.gns.edge_step`."""
        if usable(x):
            return kernels.normed_mlp(x, *self.first.parameters(), *self.rest.parameters(), keep=keep)
        out: Tensor = self.rest(self.first(x))
        return out


class EdgeBlock(GNSBlock):
    """The block of edges with their atoms."""

    first: EdgeLinear

    def forward(
        self, h: Tensor, e: Tensor, weights: Tensor | None, graph: Graph, updated: bool, keep: bool
    ) -> tuple[Tensor, Tensor | None]:
        """h (N, F), e (E, F), weights (E,) → weighted sum of messages at each atom (N, F), and e + messages (E, F).

        ``updated`` and ``keep`` as in :func:`priorbench.kernels.gns.edge_step`.
        """
        if usable(h) and not (weights is not None and weights.requires_grad):
            table, parameters = self.first.table(h), (self.first.edge_weight, *self.rest.parameters())
            return kernels.edge_step(
                graph.order, table, e, weights, *parameters, updated=updated, keep=keep, alone=True
            )
        messages = self.rest(self.first(h, e, graph))
        weighted = messages if weights is None else messages * weights[:, None]
        return sum_over_neighbours(weighted, graph), e + messages if updated else None


class GNS(VectorBackbone):
    """Force-centric encode–process–decode network."""

    Options = GNSOptions
    heads: ClassVar[Heads] = {"energy_decoder": "energies", "vector_decoder": "vectors"}

    def __init__(self, options: GNSOptions) -> None:
        super().__init__()
        self.options = options
        width, raw = options.width, options.edge_features == "raw"
        self.element = nn.Embedding(options.element_rows, width)
        self.mask = nn.Embedding(2, width)
        self.basis = None if raw else RadialBasis(options.radial_functions, options.cutoff)
        node_width = width + (3 if options.raw_coordinates else 0)
        edge_width = 4 if raw else 4 * options.radial_functions
        self.node_encoder = RowBlock(nn.Linear(node_width, width), width)
        self.edge_encoder = RowBlock(nn.Linear(edge_width, width), width)
        self.edge_steps = nn.ModuleList(
            EdgeBlock(EdgeLinear(width, width, width), width) for _ in range(options.layers)
        )
        self.node_steps = nn.ModuleList(RowBlock(nn.Linear(2 * width, width), width) for _ in range(options.layers))
        self.energy_decoder = nn.Sequential(*mlp([width, width, width, 1], nn.ReLU))
        self.vector_decoder = nn.Sequential(*mlp([width, width, width, 3], nn.ReLU))

    @property
    def symmetries(self) -> frozenset[Symmetry]:
        """Permutation and wrapping; translation unless it sees raw coordinates."""
        always: set[Symmetry] = {"permutation", "wrapping"}
        relative: set[Symmetry] = set() if self.options.raw_coordinates else {"translation"}
        return frozenset(always | relative)

    def forward(self, graph: Graph) -> Prediction:
        """Predict energies and vectors of a batch."""
        h = self.features(graph)
        energies = sum_over_atoms(self.energy_decoder(h), graph).squeeze(1)
        return Prediction(energies, self.vector_decoder(h))

    def features(self, graph: Graph) -> Tensor:
        """What both decoders read of each atom, (N, F)."""
        h = self._encode_atoms(graph)
        vectors = edge_vectors(graph)
        distances = vectors.norm(dim=1, keepdim=True)
        kept = self._kept_layers(vectors)
        e = self.edge_encoder(self._edge_features(vectors, distances), keep=kept > self.options.layers)
        weights = envelope(distances, self.options.cutoff).squeeze(1) if self.options.envelope else None
        for left, edge_step, node_step in zip(
            reversed(range(self.options.layers)), self.edge_steps, self.node_steps, strict=True
        ):
            # What an edge is after the last layer, nothing reads.
            updated = left > 0 and self.options.edge_update == "message"
            received, new_e = edge_step(h, e, weights, graph, updated=updated, keep=left < kept)
            h = h + node_step(torch.cat([received, h], dim=1), keep=left < kept)
            if left > 0:
                e = e + e if new_e is None else new_e
        return h

    def _kept_layers(self, vectors: Tensor) -> int:
        """How many of the last layers have room for their hidden values until the backward pass, encoder included."""
        if not usable(vectors):  # plain PyTorch keeps all; an exported network has no number of edges to ask for
            return self.options.layers + 1
        edge_tensor = max(1, len(vectors)) * self.options.width * vectors.element_size()
        latents = self.options.layers + 3  # of every layer, and what a backward pass works in
        return int((room() / edge_tensor - latents) // kernels.HIDDEN)

    def _encode_atoms(self, graph: Graph) -> Tensor:
        h = self.element(graph.atomic_numbers)
        if graph.lost is not None:
            h = h + self.mask(graph.lost)
        if self.options.raw_coordinates:
            h = torch.cat([_wrapped(graph), h], dim=1)
        out: Tensor = self.node_encoder(h)
        return out

    def _edge_features(self, vectors: Tensor, distances: Tensor) -> Tensor:
        if self.basis is None:
            return torch.cat([vectors, distances], dim=1) / self.options.cutoff
        radial = self.basis(distances)
        directional = (vectors / distances).unsqueeze(2) * radial.unsqueeze(1)
        return torch.cat([radial, directional.flatten(1)], dim=1)


def _wrapped(graph: Graph) -> Tensor:
    """Positions inside the cell along its periodic directions, (N, 3) Å."""
    # Products in sums and not as matrices, which a GPU may round to 10 bits.
    fractional = (graph.positions.unsqueeze(-1) * inverse_cells(graph)[graph.structure]).sum(-2)
    whole = torch.where(graph.pbc[graph.structure], fractional.floor(), torch.zeros_like(fractional))
    return graph.positions - (whole.unsqueeze(-1) * graph.cells[graph.structure]).sum(-2)
