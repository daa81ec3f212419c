"""The three backbones and their training in plain PyTorch Geometric, written from the papers and PyG's tutorial.

It is the baseline that ``priorbench bench`` times the engine against, and the independent reference that the tests
compare it with: the same mathematics and parameter names, no code shared but the options and the tables of elements.
"""

from torch import nn

from benchmarks.textbook.data import dataset, from_example, loader
from benchmarks.textbook.egnn import EGNN
from benchmarks.textbook.forcenet import ForceNet
from benchmarks.textbook.gns import GNS
from benchmarks.textbook.training import loss, optimiser
from priorbench.backbones.base import Backbone
from priorbench.errors import PriorbenchError

__all__ = ["dataset", "from_example", "loader", "loss", "network", "optimiser"]

NETWORKS = {"EGNN": EGNN, "GNS": GNS, "ForceNet": ForceNet}


def network(backbone: Backbone) -> nn.Module:
    """The textbook network of the same class and options, with a copy of the weights, in training mode.

    Its ``forward`` takes a :class:`~torch_geometric.data.Data` or a batch of them and returns energies (G,) and
    vectors (N, 3).
    """
    name = type(backbone).__name__
    if name not in NETWORKS:
        raise PriorbenchError(f"{name} has no textbook version; there is one of {', '.join(NETWORKS)}")
    copy: nn.Module = NETWORKS[name](backbone.options)
    copy.load_state_dict(backbone.state_dict())
    return copy.to(next(backbone.parameters())).train()
