"""EGNN: E(n)-equivariant graph network (arXiv 2102.09844, eqs. 3–6), energy-centric.

Each layer passes messages m_ij = φ_e(h_i, h_j, d_ij), moves the coordinates by the mean over the neighbours of
(r_i − r_j)/d_ij · φ_x(m_ij) and updates h_i with the sum of its messages.  The moved coordinates give the next layer's
distances; the energy is a sum over atoms and forces are −∂E/∂r.  The released form detaches d_ij in the denominator
from the gradient, which makes its forces differ slightly from the gradient of its energy: an option here.
"""

from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from priorbench.backbones.base import BackboneOptions, GradientBackbone, Heads, Prediction, Symmetry
from priorbench.backbones.layers import EdgeLinear, RadialBasis, envelope, mlp
from priorbench.backbones.silu import SiLU
from priorbench.graph import Graph, edge_vectors, neighbour_counts, sum_over_atoms, sum_over_neighbours
from priorbench.kernels.egnn import edge_layer
from priorbench.kernels.geometry import MOST_FUNCTIONS, geometry
from priorbench.kernels.library import usable


class EGNNOptions(BackboneOptions):
    """Sizes and variants; at layers 5, width 128, cutoff 3.5 with released_* values it is the released network."""

    cutoff: float = Field(3.5, gt=0, le=50, description="neighbour cutoff in Å; every periodic image within it counts")
    layers: int = Field(5, ge=1, description="number of message-passing layers")
    width: int = Field(128, ge=4, description="features of each atom and edge")
    edge_features: Literal["radial-basis", "squared-distance"] = Field(
        "radial-basis", description="what a message knows of the distance; squared-distance is the released form"
    )
    radial_functions: int = Field(8, ge=1, description="number of Bessel functions of radial-basis")
    envelope: bool = Field(True, description="let messages vanish smoothly at the cutoff; the released form does not")
    detach_distances: bool = Field(
        False, description="keep the distance that normalises a coordinate move out of the gradient, as released"
    )
    element_rows: int = Field(119, ge=2, description="rows of the element table, by atomic number; 28 as released")
    mask_rows: int = Field(2, ge=2, description="rows of the mask table; 28 as released, of which two are used")


class EGNNLayer(nn.Module):
    """One equivariant message-passing layer."""

    def __init__(self, width: int, edge_width: int) -> None:
        super().__init__()
        self.edge_in = EdgeLinear(width, edge_width, width)
        self.edge_out = nn.Sequential(SiLU(), nn.Linear(width, width), SiLU())
        self.coordinate = nn.Sequential(nn.Linear(width, width), SiLU(), nn.Linear(width, 1, bias=False))
        nn.init.xavier_uniform_(self.coordinate[2].weight, gain=0.001)  # type: ignore[arg-type]
        self.node = nn.Sequential(*mlp([2 * width, width, width], SiLU))

    def forward(
        self, h: Tensor, features: Tensor, weights: Tensor | None, directions: Tensor, graph: Graph, moving: bool
    ) -> tuple[Tensor, Tensor | None]:
        """h (N, F), edge features (E, K), weights (E,), directions (E, 3) → new h, and the atoms' moves (N, 3)."""
        received, moves = self._received(h, features, weights, directions, graph, moving)
        return h + self.node(torch.cat([h, received], dim=1)), moves

    def _received(
        self, h: Tensor, features: Tensor, weights: Tensor | None, directions: Tensor, graph: Graph, moving: bool
    ) -> tuple[Tensor, Tensor | None]:
        """Sum of messages at each atom (N, F) and the moves."""
        if usable(h):
            moved_by = self.coordinate.parameters() if moving else ()
            parameters = (self.edge_in.edge_weight, *self.edge_out[1].parameters(), *moved_by)
            table = self.edge_in.table(h)
            return edge_layer(graph.order, table, features, weights, directions, parameters, self.training)
        messages = self.edge_out(self.edge_in(h, features, graph))
        if weights is not None:
            messages = messages * weights[:, None]
        received = sum_over_neighbours(messages, graph)
        if not moving:
            return received, None
        # directions point from i to j; coordinates move along r_i − r_j.
        moves = sum_over_neighbours(-directions * self.coordinate(messages), graph) / neighbour_counts(graph)
        return received, moves


class EGNN(GradientBackbone):
    """Energy-centric EGNN."""

    Options = EGNNOptions
    moves_atoms = True
    heads: ClassVar[Heads] = {"head": "energies"}

    def __init__(self, options: EGNNOptions) -> None:
        super().__init__()
        self.options = options
        width = options.width
        self.element = nn.Embedding(options.element_rows, width)
        self.mask = nn.Embedding(options.mask_rows, width)
        basis = options.edge_features == "radial-basis"
        self.basis = RadialBasis(options.radial_functions, options.cutoff) if basis else None
        edge_width = options.radial_functions if basis else 1
        self.layers = nn.ModuleList(EGNNLayer(width, edge_width) for _ in range(options.layers))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Sequential(*mlp([width, width, 1], SiLU))

    @property
    def symmetries(self) -> frozenset[Symmetry]:
        """All of E(3), permutation and periodic wrapping."""
        return frozenset(("permutation", "translation", "wrapping", "rotation", "inversion"))

    @property
    def conservative(self) -> bool:
        """Unless distances are detached from the gradient."""
        return not self.options.detach_distances

    def features(self, graph: Graph) -> Tensor:
        """What the head reads of each atom, (N, F)."""
        return self._propagated(graph, moving_last=False)[0]

    def energies(self, graph: Graph) -> Tensor:
        """Energy of each structure, (G,)."""
        return self._summed(self.features(graph), graph)

    def displacements(self, graph: Graph) -> Prediction:
        """Energies, and as vectors how far all layers, the last one too, move each atom, in Å."""
        features, moves = self._propagated(graph, moving_last=True)
        # Not the difference of coordinates, in which single precision would round moves of 1e-4 Å.
        return Prediction(self._summed(features, graph), torch.stack(moves).sum(0))

    def _summed(self, features: Tensor, graph: Graph) -> Tensor:
        return sum_over_atoms(self.head(features), graph).squeeze(1)

    def _propagated(self, graph: Graph, moving_last: bool) -> tuple[Tensor, list[Tensor]]:
        """Features (N, F), and the moves (N, 3) of each layer, of the last one only where ``moving_last``."""
        h = self.element(graph.atomic_numbers)
        if graph.lost is not None:
            h = h + self.mask(graph.lost)
        r, made = graph.positions, []
        weights = None
        for layer in self.layers:
            features, envelopes, directions = self._geometry(r, graph, layer is self.layers[0])
            weights = envelopes if weights is None else weights
            # What the last layer's coordinates would be, no energy asks.
            moving = moving_last or layer is not self.layers[-1]
            h, moves = layer(h, features, weights, directions, graph, moving)
            if moves is not None:
                r = r + moves
                made.append(moves)
        normed: Tensor = self.norm(h)
        return normed, made

    def _geometry(self, r: Tensor, graph: Graph, first: bool) -> tuple[Tensor, Tensor | None, Tensor]:
        """Edge features (E, K), at the ``first`` coordinates r (N, 3) the envelope (E,), and unit vectors (E, 3)."""
        o, enveloped = self.options, first and self.options.envelope
        kernel = self.basis is not None and o.radial_functions <= MOST_FUNCTIONS and not o.detach_distances
        if kernel and usable(r):
            kind = "polynomial" if enveloped else None
            return geometry(graph.order, o.radial_functions, o.cutoff, kind, r, graph.shifts)
        vectors = edge_vectors(graph, r)
        squared = vectors.square().sum(1, keepdim=True)
        distances = squared.sqrt()
        features = squared if self.basis is None else self.basis(distances)
        directions = vectors / (distances.detach() if o.detach_distances else distances)
        return features, envelope(distances, o.cutoff).squeeze(1) if enveloped else None, directions
