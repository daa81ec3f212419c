"""The one batch type and free functions on it.

Shapes: N atoms, E edges, G structures, F features.  An edge goes from its sender j to its receiver i, both within one
structure; edges are sorted by receiver.
"""

from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from priorbench.kernels.order import EdgeOrder


@dataclass(frozen=True)
class Graph:
    """A batch of structures with their directed neighbour edges (Å)."""

    atomic_numbers: Tensor  # (N,) int64
    positions: Tensor  # (N, 3) Å
    senders: Tensor  # (E,) int64, atom j
    receivers: Tensor  # (E,) int64, atom i
    shifts: Tensor  # (E, 3) Å, the periodic image of j that is meant: S · cell
    structure: Tensor  # (N,) int64, the structure an atom belongs to
    cells: Tensor  # (G, 3, 3) Å
    pbc: Tensor  # (G, 3) bool
    lost: Tensor | None = None  # (N,) int64 while masking: 1 where the atom's molecule lost an atom, else 0
    real: Tensor | None = None  # (N,) bool in a padded graph: false where an atom only fills up; see padding.py

    @property
    def structures(self) -> int:
        """Number of structures G."""
        return self.cells.shape[0]  # not len(), which would make it a constant of an export

    @property
    def atoms(self) -> int:
        """Number of atoms N."""
        return self.positions.shape[0]

    @cached_property
    def order(self) -> EdgeOrder:
        """The edges as the kernels take them."""
        return EdgeOrder.of(self.senders, self.receivers, self.atoms)

    def with_positions(self, positions: Tensor) -> "Graph":
        """The same edges with other positions (N, 3)."""
        return replace(self, positions=positions)


def without_atoms(graph: Graph, hidden: Tensor, lost: Tensor | None = None) -> Graph:
    """The graph without the ``hidden`` (N,) atoms and their edges; ``lost`` (N,) is carried over to the atoms kept."""
    kept = ~hidden
    number = kept.long().cumsum(0) - 1
    # Masks as places, once: a GPU waits for each mask that indexes.
    atoms = kept.nonzero().squeeze(1)
    left = kept.index_select(0, graph.senders) & kept.index_select(0, graph.receivers)
    smaller = with_edges(graph, left.nonzero().squeeze(1))
    return replace(
        smaller,
        atomic_numbers=graph.atomic_numbers[atoms],
        positions=graph.positions[atoms],
        senders=number.index_select(0, smaller.senders),
        receivers=number.index_select(0, smaller.receivers),
        structure=graph.structure[atoms],
        lost=None if lost is None else lost[atoms],
    )


def with_edges(graph: Graph, edges: Tensor) -> Graph:
    """The graph with some of its ``edges`` alone, places (e,) in ascending order."""
    senders, receivers, shifts = (x.index_select(0, edges) for x in (graph.senders, graph.receivers, graph.shifts))
    return replace(graph, senders=senders, receivers=receivers, shifts=shifts)


def edge_vectors(graph: Graph, positions: Tensor | None = None) -> Tensor:
    """Vectors r_j − r_i + S · cell from receiver to sender, (E, 3) Å; of ``positions`` where given."""
    r = graph.positions if positions is None else positions
    # Indexing by brackets costs four times as much on a CPU.
    return r.index_select(0, graph.senders) - r.index_select(0, graph.receivers) + graph.shifts


def shift_vectors(shifts: Tensor, cells: Tensor, owner: Tensor) -> Tensor:
    """S · cell in Å of whole shifts (E, 3), any integer type, in the ``cells`` (G, 3, 3) of their ``owner`` (E,)."""
    whole = shifts.to(cells.dtype)
    out = torch.zeros_like(whole)
    for k in range(3):
        out.addcmul_(whole[:, k : k + 1], cells[:, k].index_select(0, owner))
    return out


def sum_over_neighbours(messages: Tensor, graph: Graph) -> Tensor:
    """Sum of the messages (E, F) at each receiver, (N, F)."""
    return messages.new_zeros(graph.atoms, messages.shape[1]).index_add(0, graph.receivers, messages)


def neighbour_counts(graph: Graph) -> Tensor:
    """Number of edges at each receiver, at least one, (N, 1)."""
    ones = torch.ones_like(graph.receivers, dtype=graph.positions.dtype)
    counts = ones.new_zeros(graph.atoms).index_add(0, graph.receivers, ones)
    return counts.clamp(min=1).unsqueeze(1)


def sum_over_atoms(values: Tensor, graph: Graph) -> Tensor:
    """Sum of the values (N, F) in each structure, (G, F)."""
    return values.new_zeros(graph.structures, values.shape[1]).index_add(0, graph.structure, values)


def real_structures(graph: Graph) -> Tensor:
    """Which structures of a padded graph are not there to fill it up, (G,) bool."""
    assert graph.real is not None
    return sum_over_atoms(graph.real[:, None].to(graph.positions.dtype), graph).squeeze(1) > 0


def inverse_cells(graph: Graph) -> Tensor:
    """Of the cells with unit vectors where they are not periodic, (G, 3, 3): positions to fractional coordinates."""
    identity = torch.eye(3, dtype=graph.cells.dtype, device=graph.cells.device)
    cells = torch.where(graph.pbc.unsqueeze(-1), graph.cells, identity)
    inverse: Tensor = torch.linalg.inv_ex(cells).inverse  # inv waits for the device to check
    return inverse


def minimum_image(vectors: Tensor, cells: Tensor, pbc: Tensor) -> Tensor:
    """Shorten vectors (N, 3) by whole cell vectors (cells (N, 3, 3), pbc (N, 3)), to the shortest in a reduced cell.

    Directions that are not periodic are left alone.
    """
    if not bool(pbc.any()):
        return vectors
    identity = torch.eye(3, dtype=cells.dtype, device=cells.device)
    safe = torch.where(pbc.unsqueeze(-1), cells, torch.zeros_like(cells))
    if bool(pbc.all()):
        fractional = torch.linalg.solve(safe.transpose(1, 2), vectors.unsqueeze(-1)).squeeze(-1)
    else:
        fractional = (vectors.unsqueeze(-1) * torch.linalg.pinv(safe)).sum(-2)
    # Products in sums and not as matrices, which a GPU may round to 10 bits.
    shortest: Tensor = vectors - (fractional.round().unsqueeze(-1) * safe).sum(-2)
    products = safe @ safe.transpose(1, 2)
    if len(vectors) == 0 or not bool((products * (1 - identity)).abs().gt(1e-6 * products.abs().amax()).any()):
        return shortest
    # Rounding is exact in a rectangular cell; in a skewed one the shortest is among the neighbouring images.
    steps = torch.cartesian_prod(*[torch.tensor([0.0, 1.0, -1.0], dtype=cells.dtype, device=cells.device)] * 3)
    images = shortest[:, None] + ((steps * pbc[:, None]).unsqueeze(-1) * safe[:, None]).sum(-2)
    best = images.square().sum(2).argmin(1)
    nearest: Tensor = images[torch.arange(len(images), device=images.device), best]
    return nearest
