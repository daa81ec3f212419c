"""The weights that finetuning starts from: carried over whole, carried over without heads, or heads only made larger.

Weights that may have seen what a run is tested on are refused.  The last two ways are controls that tell a larger head
from a learned prior: ``transfer: body`` keeps the pretrained body and takes the heads of the untrained network,
``rescale`` keeps the untrained network and scales its heads until its outputs are as large as those of the pretrained
one.
"""

from typing import Any

import torch
from torch import Tensor, nn

from priorbench.backbones.base import Backbone, GradientBackbone
from priorbench.errors import PriorbenchError
from priorbench.runs import Spec
from priorbench.training.data import Data, Inputs, Source, fingerprints
from priorbench.training.model import State, build, transfer
from priorbench.training.report import say
from priorbench.training.store import Store

STRUCTURES = 16  # of the training side, on which the size of outputs is measured


def require_parent(spec: Spec, inputs: Inputs) -> None:
    """Refuse a strategy that needs pretrained weights and has none, and one that has some and needs none."""
    wanted, strategy = spec.get("pretraining") or spec.get("rescale"), spec["strategy"]
    if wanted and inputs.parent is None:
        raise PriorbenchError(f"strategy {strategy!r} starts from pretraining {wanted!r}: give its weights (--parent)")
    if not wanted and inputs.parent is not None:
        raise PriorbenchError(f"strategy {strategy!r} starts from scratch, yet {inputs.parent} was given as --parent")


def check_unseen(inputs: Inputs, parent: dict[str, Any], spec: Spec, data: Data, source: Source) -> None:
    """Refuse weights that may have seen this run's test structures: of another split, or of data that hold some."""
    if not spec.get("pretraining_dataset"):
        for name, own in (("data_hash", data.data_hash), ("split_hash", data.split_hash)):
            if parent[name] != own:
                raise PriorbenchError(
                    f"{inputs.parent}: wrong parent: {name} is {parent[name]}, not {own}; pretrain on the same split"
                )
        return
    test = fingerprints(source.frames, source.side(inputs.split, "test"))
    shared = len(set(test) & set(parent["seen"]))
    if shared:
        raise PriorbenchError(
            f"{inputs.parent}: pretrained on {shared} of the {len(test)} test structures; take datasets that share "
            "none, or official sides"
        )


def start_from(model: Backbone, state: State, spec: Spec, data: Data, where: str) -> None:
    """Take from the pretrained weights what the strategy asks for."""
    if spec.get("rescale"):
        pretrained = build(spec["backbone"], spec["seed"])
        transfer(pretrained, state, where)
        factors = rescale_heads(model, pretrained.to(spec["device"]), data.train)
        say(spec["seed"], "heads scaled by " + ", ".join(f"{f:.3g} ({what})" for what, f in factors.items()))
    elif spec.get("transfer", "all") == "body":
        carry_body(model, state, where)
    else:
        transfer(model, state, where)


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
