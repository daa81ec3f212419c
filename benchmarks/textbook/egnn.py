"""EGNN, the E(n)-equivariant graph network (arXiv 2102.09844), for energies; forces are −∂E/∂r."""

import torch
from torch import Tensor, nn
from torch_geometric.data import Data
from torch_geometric.nn import MessagePassing, global_add_pool
from torch_geometric.typing import OptTensor
from torch_geometric.utils import scatter

from benchmarks.textbook.layers import BesselBasis, EdgeLinear, edge_vectors, polynomial_envelope
from priorbench.backbones.egnn import EGNNOptions


class EquivariantConvolution(MessagePassing):
    """Eqs. 3–6 with the coordinate difference divided by its length."""

    def __init__(self, options: EGNNOptions) -> None:
        super().__init__(aggr="sum")
        width, basis = options.width, options.edge_features == "radial-basis"
        self.detach_distances = options.detach_distances
        self.basis = BesselBasis(options.radial_functions, options.cutoff) if basis else None
        self.edge_in = EdgeLinear(width, options.radial_functions if basis else 1, width)
        self.edge_out = nn.Sequential(nn.SiLU(), nn.Linear(width, width), nn.SiLU())
        self.coordinate = nn.Sequential(nn.Linear(width, width), nn.SiLU(), nn.Linear(width, 1, bias=False))
        self.node = nn.Sequential(nn.Linear(2 * width, width), nn.SiLU(), nn.Linear(width, width))

    def forward(
        self, h: Tensor, r: Tensor, edge_index: Tensor, shift: Tensor, weights: OptTensor
    ) -> tuple[Tensor, Tensor]:
        """h (N, F), r (N, 3), shift (E, 3), weights (E, 1) or None → new h and r."""
        received, move = self.propagate(edge_index, h=h, r=r, shift=shift, weights=weights)
        return h + self.node(torch.cat([h, received], dim=1)), r + move

    def message(
        self, h_i: Tensor, h_j: Tensor, r_i: Tensor, r_j: Tensor, shift: Tensor, weights: OptTensor
    ) -> tuple[Tensor, Tensor]:
        """Message m_ij = φ_e(h_i, h_j, d_ij) (eq. 3) and move (r_i − r_j)/d_ij · φ_x(m_ij) (in eq. 4)."""
        difference = r_i - r_j - shift
        squared = difference.square().sum(dim=1, keepdim=True)
        distance = squared.sqrt()
        message = self.edge_out(self.edge_in(h_i, h_j, squared if self.basis is None else self.basis(distance)))
        if weights is not None:
            message = message * weights
        length = distance.detach() if self.detach_distances else distance
        return message, difference / length * self.coordinate(message)

    def aggregate(self, inputs: tuple[Tensor, Tensor], index: Tensor, dim_size: int) -> tuple[Tensor, Tensor]:
        """Sum of the messages (eq. 5) and mean of the moves (the factor C of eq. 4)."""
        messages, moves = inputs
        received = scatter(messages, index, dim=0, dim_size=dim_size, reduce="sum")
        return received, scatter(moves, index, dim=0, dim_size=dim_size, reduce="mean")


class EGNN(nn.Module):
    """Energies as a sum over atoms, vectors as their negative gradient."""

    def __init__(self, options: EGNNOptions) -> None:
        super().__init__()
        self.options = options
        width = options.width
        self.element = nn.Embedding(options.element_rows, width)
        self.mask = nn.Embedding(options.mask_rows, width)
        self.layers = nn.ModuleList(EquivariantConvolution(options) for _ in range(options.layers))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Sequential(nn.Linear(width, width), nn.SiLU(), nn.Linear(width, 1))

    def forward(self, data: Data) -> tuple[Tensor, Tensor]:
        """Energies (G,) and vectors (N, 3)."""
        data = data.clone("pos")
        data.pos.requires_grad_(True)
        with torch.enable_grad():
            energies = self.energies(data)
            (gradient,) = torch.autograd.grad(energies.sum(), data.pos, create_graph=self.training)
        return energies, -gradient

    def energies(self, data: Data) -> Tensor:
        """Energy of each structure, (G,)."""
        h, r = self.element(data.z), data.pos
        if "lost" in data:
            h = h + self.mask(data.lost)
        weights = None
        if self.options.envelope:
            weights = polynomial_envelope(edge_vectors(data).norm(dim=1, keepdim=True), self.options.cutoff)
        for layer in self.layers:
            h, r = layer(h, r, data.edge_index, data.shift, weights)
        return global_add_pool(self.head(self.norm(h)), data.batch, size=len(data.cell)).squeeze(1)
