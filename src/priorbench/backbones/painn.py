"""PaiNN: polarizable atom interaction neural network (arXiv 2102.03150, fig. 2), energy-centric.

An atom i has scalar features s_i and vector features v_i, at first zero.  Each layer adds to them what a message block,

    Δs_i = Σ_j φ_s(s_j) ∘ W_s(d_ij)
    Δv_i = Σ_j v_j ∘ φ_vv(s_j) ∘ W_vv(d_ij) + φ_vs(s_j) ∘ W_vs(d_ij) (r_j − r_i)/d_ij

and then an update block give:

    Δs_i = a_ss(s_i, ‖V v_i‖) + a_sv(s_i, ‖V v_i‖) ∘ ⟨U v_i, V v_i⟩
    Δv_i = a_vv(s_i, ‖V v_i‖) ∘ U v_i

The energy is a sum over atoms of what a readout makes of s_i, and forces are −∂E/∂r.  The filters W vanish at the
cutoff with the paper's cosine.  With the polynomial of the other backbones, which is still 0.86 at half the cutoff
where the cosine is 0.5, a network learned ethanol worse from 1000 structures (workflow/presets/anchor.yaml).
"""

import math
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from priorbench.backbones.base import BackboneOptions, GradientBackbone, Heads, Symmetry
from priorbench.backbones.layers import RadialBasis, cosine, mlp
from priorbench.backbones.silu import SiLU
from priorbench.graph import Graph, edge_vectors, sum_over_atoms, sum_over_neighbours
from priorbench.kernels.geometry import MOST_FUNCTIONS, geometry
from priorbench.kernels.library import usable
from priorbench.kernels.painn import messages

EPSILON = 1e-8  # added to a squared norm, whose root has no derivative at zero; as released


class PaiNNOptions(BackboneOptions):
    """Sizes; layers 3, width 128, 20 radial functions and cutoff 5 are the paper's."""

    cutoff: float = Field(3.5, gt=0, le=50, description="neighbour cutoff in Å; every periodic image within it counts")
    layers: int = Field(3, ge=1, description="number of layers, each a message block and an update block")
    width: int = Field(128, ge=4, description="scalar features of each atom, and vector features")
    radial_functions: int = Field(20, ge=1, description="number of Bessel functions that filters are made of")
    element_rows: int = Field(119, ge=2, description="rows of the element table, by atomic number")


class MessageBlock(nn.Module):
    """What an atom receives from its neighbours."""

    def __init__(self, width: int, edge_width: int) -> None:
        super().__init__()
        self.phi = nn.Sequential(*mlp([width, width, 3 * width], SiLU))
        self.filters = nn.Linear(edge_width, 3 * width, bias=False)

    def forward(
        self, s: Tensor, v: Tensor | None, features: Tensor, directions: Tensor, graph: Graph
    ) -> tuple[Tensor, Tensor]:
        """s (N, F), v (N, 3, F), features (E, K), directions (E, 3) → Δs (N, F) and Δv (N, 3, F); v None is zero."""
        table, filters = self.phi(s), self.filters(features)
        if usable(s):
            return messages(graph.order, table, filters, directions, v)
        products = table.index_select(0, graph.senders) * filters
        scalars, along_edges, along_vectors = products.chunk(3, dim=1)
        vectors = directions.unsqueeze(2) * along_edges.unsqueeze(1)
        if v is not None:
            vectors = vectors + v.index_select(0, graph.senders) * along_vectors.unsqueeze(1)
        received = sum_over_neighbours(vectors.flatten(1), graph).unflatten(1, (3, -1))
        return sum_over_neighbours(scalars, graph), received


class UpdateBlock(nn.Module):
    """What an atom's scalar and vector features tell each other."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.uv = nn.Linear(width, 2 * width, bias=False)
        self.a = nn.Sequential(*mlp([2 * width, width, 3 * width], SiLU))

    def forward(self, s: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """s (N, F), v (N, 3, F) → Δs (N, F) and Δv (N, 3, F)."""
        u_v, v_v = self.uv(v).chunk(2, dim=2)
        norms = (v_v.square().sum(1) + EPSILON).sqrt()
        a_ss, a_sv, a_vv = self.a(torch.cat([s, norms], dim=1)).chunk(3, dim=1)
        return a_ss + a_sv * (u_v * v_v).sum(1), a_vv.unsqueeze(1) * u_v


class PaiNNLayer(nn.Module):
    """A message block and an update block."""

    def __init__(self, width: int, edge_width: int) -> None:
        super().__init__()
        self.message = MessageBlock(width, edge_width)
        self.update = UpdateBlock(width)

    def forward(
        self, s: Tensor, v: Tensor | None, features: Tensor, directions: Tensor, graph: Graph
    ) -> tuple[Tensor, Tensor]:
        """s (N, F), v (N, 3, F) or None where zero, features (E, K), directions (E, 3) → new s and v."""
        received, vectors = self.message(s, v, features, directions, graph)
        s, v = s + received, vectors if v is None else v + vectors
        scalars, vectors = self.update(s, v)
        return s + scalars, v + vectors


class PaiNN(GradientBackbone):
    """Energy-centric PaiNN."""

    Options = PaiNNOptions
    heads: ClassVar[Heads] = {"head": "energies"}
    form = 2  # the first vanished at the cutoff with a polynomial

    def __init__(self, options: PaiNNOptions) -> None:
        super().__init__()
        self.options = options
        width = options.width
        self.element = nn.Embedding(options.element_rows, width)
        self.mask = nn.Embedding(2, width)
        self.basis = RadialBasis(options.radial_functions, options.cutoff)
        edge_width = options.radial_functions + 1
        self.layers = nn.ModuleList(PaiNNLayer(width, edge_width) for _ in range(options.layers))
        self.head = nn.Sequential(*mlp([width, width // 2, 1], SiLU))
        self._initialise()

    @property
    def symmetries(self) -> frozenset[Symmetry]:
        """All of E(3), permutation and periodic wrapping."""
        return frozenset(("permutation", "translation", "wrapping", "rotation", "inversion"))

    def features(self, graph: Graph) -> Tensor:
        """What the head reads of each atom, its scalar features after the last layer, (N, F)."""
        s: Tensor = self.element(graph.atomic_numbers)
        if graph.lost is not None:
            s = s + self.mask(graph.lost)
        features, directions = self._geometry(graph)
        v = None
        for layer in self.layers:
            s, v = layer(s, v, features, directions, graph)
        return s

    def energies(self, graph: Graph) -> Tensor:
        """Energy of each structure, (G,)."""
        return sum_over_atoms(self.head(self.features(graph)), graph).squeeze(1)

    def _initialise(self) -> None:
        """Weights as the released code draws them: Xavier's, biases zero.

        Its filters of all layers are one linear layer of plain sines: they start three times smaller than PyTorch's own
        weights would here, so that the energy is smooth at the start, which 1000 structures do not undo.
        """
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        for block in (module for module in self.modules() if isinstance(module, MessageBlock)):
            filters = block.filters.weight
            bound = math.sqrt(6 / (filters.shape[1] + len(self.layers) * filters.shape[0]))
            nn.init.uniform_(filters, -bound / math.sqrt(2), bound / math.sqrt(2))  # √2: that of the basis
            nn.init.zeros_(filters[:, -1])  # the bias

    def _geometry(self, graph: Graph) -> tuple[Tensor, Tensor]:
        """Edge features (E, K + 1), which are zero at the cutoff, and unit vectors from receiver to sender (E, 3)."""
        r, o = graph.positions, self.options
        if usable(r) and o.radial_functions <= MOST_FUNCTIONS:
            basis, weights, directions = geometry(graph.order, o.radial_functions, o.cutoff, "cosine", r, graph.shifts)
            assert weights is not None
            weights = weights.unsqueeze(1)
        else:
            vectors = edge_vectors(graph)
            distances = vectors.square().sum(1, keepdim=True).sqrt()
            basis, weights, directions = self.basis(distances), cosine(distances, o.cutoff), vectors / distances
        # A filter's bias vanishes at the cutoff too: it is the weight of the cosine itself.
        return torch.cat([basis * weights, weights], dim=1), directions
