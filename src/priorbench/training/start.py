"""The weights that finetuning starts from: carried over whole, carried over without heads, or heads only made larger.

The last two are controls that tell a larger head from a learned prior: ``transfer: body`` keeps the pretrained body and
takes the heads of the untrained network, ``rescale`` keeps the untrained network and scales its heads until its outputs
are as large as those of the pretrained one.
"""

import torch
from torch import Tensor, nn

from priorbench.backbones.base import Backbone, GradientBackbone
from priorbench.errors import PriorbenchError
from priorbench.training.model import State, transfer
from priorbench.training.store import Store

STRUCTURES = 16  # of the training side, on which the size of outputs is measured


def carry_body(model: Backbone, state: State, where: str) -> None:
    """Load all weights and buffers of ``state`` but those of the heads."""
    own = model.state_dict()
    heads = {name for name in own if name.split(".")[0] in model.heads}
    transfer(model, {name: own[name] if name in heads else tensor for name, tensor in state.items()}, where)


def rescale_heads(model: Backbone, pretrained: Backbone, store: Store) -> dict[str, float]:
    """Scale the last layer of every head of ``model`` to the root mean square of the outputs of ``pretrained``.

    Vectors and energies have heads of their own in force-centric networks; the one head of an energy-centric network
    is scaled by its vectors.  Returns the factors.
    """
    own, wanted = output_rms(model, store), output_rms(pretrained, store)
    if not all(size > 0 for size in own.values()):
        raise PriorbenchError("rescale: an untrained head gives nothing but zeros, which no factor makes larger")
    factors = {what: wanted[what] / own[what] for what in own}
    if isinstance(model, GradientBackbone):
        factors = {"energies": factors["vectors"]}
    with torch.no_grad():
        for name, what in model.heads.items():
            last = [m for m in model.get_submodule(name).modules() if isinstance(m, nn.Linear)][-1]
            for parameter in last.parameters():
                parameter.mul_(factors[what])
    return factors


def output_rms(model: Backbone, store: Store) -> dict[str, float]:
    """Root mean square of the vector components and of the energies per atom, of whole structures."""
    training = model.training
    model.eval()
    structures = torch.arange(min(STRUCTURES, len(store)), device=store.positions.device)
    with torch.no_grad():
        graph = store.batch(structures).graph
        energies, vectors = model(graph)
    atoms = torch.bincount(graph.structure, minlength=len(structures))
    model.train(training)

    def rms(values: Tensor) -> float:
        return float(values.double().square().mean().sqrt())

    return {"vectors": rms(vectors), "energies": rms(energies / atoms)}
