"""What a backbone is: a graph in, a scalar energy for each structure and a vector for each atom out.

The vectors are forces while finetuning, directions to a removed hydrogen while masking, noise while denoising: one
head serves all tasks, so that pretraining can be carried over whole.
"""

from typing import ClassVar, Literal, NamedTuple, Self

import torch
from pydantic import Field
from torch import Tensor, nn

from priorbench.config import Strict
from priorbench.graph import Graph, real_structures

Symmetry = Literal["permutation", "translation", "wrapping", "rotation", "inversion"]


Heads = dict[str, Literal["energies", "vectors"]]


class Prediction(NamedTuple):
    """Energies (G,) and vectors (N, 3) in the units of the scaled labels."""

    energies: Tensor
    vectors: Tensor


class BackboneOptions(Strict):
    """Options that every backbone has."""

    cutoff: float = Field(gt=0, le=50, description="neighbour cutoff in Å; every periodic image within it counts")
    layers: int = Field(ge=1, description="number of message-passing layers")
    width: int = Field(ge=4, description="features of each atom and edge")


class Backbone(nn.Module):
    """Base of every registered network.

    ``readout`` says how vectors come about: ``gradient`` (−∂E/∂r, energy-centric) or ``vector`` (a head of their own,
    force-centric).  ``symmetries`` are those of the energy and vectors of this very instance; every one declared is
    proven by the shared tests and every other one is shown to be broken.  ``moves_atoms`` says whether the layers move
    coordinates of their own, which ``displacements`` then gives.  ``heads`` names the modules behind ``features`` and
    what each predicts; everything else is the body.  ``form`` is raised when the same options and weights come to mean
    another function, so that no network trained before is taken for one of now.
    """

    Options: ClassVar[type[BackboneOptions]]
    readout: ClassVar[Literal["gradient", "vector"]]
    moves_atoms: ClassVar[bool] = False
    form: ClassVar[int] = 1
    heads: ClassVar[Heads]

    @property
    def symmetries(self) -> frozenset[Symmetry]:
        """Symmetries of this instance."""
        raise NotImplementedError

    @property
    def conservative(self) -> bool:
        """Whether the vectors are exactly the negative gradient of the energy."""
        return False

    def features(self, graph: Graph) -> Tensor:
        """What the heads read of each atom, (N, F)."""
        raise NotImplementedError

    def energies(self, graph: Graph) -> Tensor:
        """Energy of each structure, (G,)."""
        raise NotImplementedError

    def displacements(self, graph: Graph) -> Prediction:
        """Energies, and as vectors how far all layers together move each atom, in Å; where ``moves_atoms``."""
        raise NotImplementedError

    @classmethod
    def initialised(cls, options: BackboneOptions, seed: int) -> Self:
        """A network whose initial weights depend on ``options`` and ``seed`` alone."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return cls(options)


class VectorBackbone(Backbone):
    """Force-centric: energies and vectors come from heads of their own."""

    readout = "vector"

    def energies(self, graph: Graph) -> Tensor:
        """Energy of each structure, (G,)."""
        return self.forward(graph).energies

    def forward(self, graph: Graph) -> Prediction:
        """Predict energies and vectors of a batch."""
        raise NotImplementedError


class GradientBackbone(Backbone):
    """Energy-centric: vectors are −∂E/∂r of the energy, differentiable again while training."""

    readout = "gradient"

    @property
    def conservative(self) -> bool:
        """True unless a network cuts the gradient somewhere."""
        return True

    def forward(self, graph: Graph) -> Prediction:
        """Predict energies and −∂E/∂r of a batch."""
        return with_gradient(self, graph)


def real_sum(energies: Tensor, graph: Graph) -> Tensor:
    """Sum of the energies (G,) without those of structures that only fill up: a BatchNorm ties these to the others."""
    return energies.sum() if graph.real is None else energies.masked_fill(~real_structures(graph), 0).sum()


def with_gradient(model: Backbone, graph: Graph) -> Prediction:
    """Energies of any backbone and, as vectors, −∂E/∂r of their sum; differentiable again while it is training."""
    with torch.enable_grad():
        positions = graph.positions.detach().requires_grad_(True)
        energies = model.energies(graph.with_positions(positions))
        (gradient,) = torch.autograd.grad(real_sum(energies, graph), positions, create_graph=model.training)
    if not model.training:
        energies = energies.detach()
    return Prediction(energies, -gradient)
