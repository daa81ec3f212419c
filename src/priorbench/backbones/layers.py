"""Building blocks that several backbones share."""

import itertools
import math

import torch
from torch import Tensor, nn

from priorbench.graph import Graph


class EdgeLinear(nn.Module):
    """Linear layer of the concatenation (h_i, h_j, e), (E, 2F + K) → (E, O), with the atom parts computed per atom.

    W·[h_i, h_j, e] = W_i·h_i + W_j·h_j + W_e·e: the first two cost N rows instead of E, and E/N is 12 to 17 in water.
    """

    def __init__(self, width: int, edge_width: int, out: int) -> None:
        super().__init__()
        self.split = (width, width, edge_width)
        self.linear = nn.Linear(sum(self.split), out)

    def table(self, h: Tensor, bias: Tensor | None = None) -> Tensor:
        """h (N, F) → (N, 2 O): the part of an edge's output that comes from its receiver, then that of its sender.

        The layer's bias, and another (O,), are in the receiver's part.
        """
        receiver, sender, _ = self.linear.weight.split(self.split, dim=1)
        own = self.linear.bias if bias is None else self.linear.bias + bias
        return nn.functional.linear(h, torch.cat([receiver, sender]), torch.cat([own, torch.zeros_like(own)]))

    @property
    def edge_weight(self) -> Tensor:
        """The columns that act on e, (O, K)."""
        return self.linear.weight[:, 2 * self.split[0] :]

    def forward(self, h: Tensor, e: Tensor, graph: Graph) -> Tensor:
        """h (N, F), e (E, K) → (E, O)."""
        at_receiver, at_sender = self.table(h).chunk(2, dim=1)
        along_edge = nn.functional.linear(e, self.edge_weight)
        return at_receiver.index_select(0, graph.receivers) + at_sender.index_select(0, graph.senders) + along_edge


class RadialBasis(nn.Module):
    """sin(nπd/r_c)/d Bessel functions, n = 1 … K, scaled to order one (DimeNet, arXiv 2003.03123, eq. 7)."""

    numbers: Tensor

    def __init__(self, count: int, cutoff: float) -> None:
        super().__init__()
        self.cutoff = cutoff
        # Whole numbers, which are exact in any precision that the network is turned to.
        self.register_buffer("numbers", torch.arange(1, count + 1), persistent=False)

    def forward(self, distances: Tensor) -> Tensor:
        """Distances (E, 1) Å → (E, K)."""
        return (
            math.sqrt(2.0)
            * torch.sin(distances * (math.pi / self.cutoff * self.numbers.to(distances.dtype)))
            / distances
        )


def envelope(distances: Tensor, cutoff: float) -> Tensor:
    """Polynomial from 1 at zero to 0 at the cutoff with two vanishing derivatives (arXiv 2003.03123, eq. 8, p = 6)."""
    x = (distances / cutoff).clamp(max=1.0)
    return 1 - 28 * x**6 + 48 * x**7 - 21 * x**8


def cosine(distances: Tensor, cutoff: float) -> Tensor:
    """Half a cosine from 1 at zero to 0 at the cutoff with one vanishing derivative (10.1103/PhysRevLett.98.146401)."""
    return 0.5 * (1 + torch.cos((distances / cutoff).clamp(max=1.0) * math.pi))


def through(block: nn.Sequential, x: Tensor, graph: Graph) -> Tensor:
    """The ``block`` of rows x (N, F), one an atom; a BatchNorm in it passes over atoms that only fill up."""
    for module in block:
        if isinstance(module, nn.BatchNorm1d) and module.training and graph.real is not None:
            x = _batch_norm(module, x, graph.real)
        else:
            x = module(x)
    return x


def _batch_norm(norm: nn.BatchNorm1d, x: Tensor, real: Tensor) -> Tensor:
    """``norm`` (arXiv 1502.03167) while training, by the statistics of the ``real`` (N,) rows of x (N, F)."""
    share = real.to(x.dtype).unsqueeze(1)
    count = share.sum()
    mean = (x * share).sum(0) / count
    centred = x - mean
    variance = (centred.square() * share).sum(0) / count
    assert norm.running_mean is not None
    assert norm.running_var is not None
    assert norm.num_batches_tracked is not None
    assert norm.momentum is not None
    with torch.no_grad():
        norm.running_mean.lerp_(mean, norm.momentum)
        norm.running_var.lerp_(variance * (count / (count - 1)), norm.momentum)
        norm.num_batches_tracked.add_(1)
    return centred * (variance + norm.eps).rsqrt() * norm.weight + norm.bias


def mlp(widths: list[int], activation: type[nn.Module]) -> list[nn.Module]:
    """Linear layers between ``widths`` with the activation between them, none after the last."""
    layers: list[nn.Module] = []
    for n_in, n_out in itertools.pairwise(widths):
        layers += [nn.Linear(n_in, n_out), activation()]
    return layers[:-1]
