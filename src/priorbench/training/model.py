"""Trained networks on disk: weights and everything needed to use or to doubt them, in one file without pickles."""

import hashlib
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from priorbench.backbones.base import Backbone
from priorbench.errors import PriorbenchError
from priorbench.registry import load
from priorbench.runs import Spec
from priorbench.tensors import read_tensors, write_tensors

State = dict[str, Tensor]


def build(backbone: Spec, seed: int) -> Backbone:
    """The network of a spec's ``backbone`` entry with the initial weights of ``seed``."""
    options = {key: value for key, value in backbone.items() if key not in ("name", "architecture")}
    cls = load("backbone", backbone["architecture"])
    model: Backbone = cls.initialised(cls.Options(**options), seed)
    return model


def snapshot(model: Backbone) -> State:
    """A copy of all weights and buffers on the CPU."""
    return {name: tensor.detach().cpu().clone() for name, tensor in model.state_dict().items()}


def checksum(state: State) -> str:
    """SHA-256 over names, shapes and bytes of all weights and buffers, hexadecimal."""
    digest = hashlib.sha256()
    for name in sorted(state):
        array = state[name].detach().cpu().contiguous().numpy()
        digest.update(f"{name}{array.dtype}{array.shape}".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def save_model(path: Path, state: State, metadata: dict[str, Any]) -> None:
    """Write ``state`` with ``metadata`` (spec, labels, checksum …)."""
    arrays = {name: tensor.detach().cpu().numpy() for name, tensor in state.items()}
    form = load("backbone", metadata["spec"]["backbone"]["architecture"]).form
    write_tensors(path, arrays, {**metadata, "checksum": checksum(state), "form": form})


def load_model(path: Path) -> tuple[State, dict[str, Any]]:
    """Read what :func:`save_model` wrote and verify its checksum."""
    arrays, metadata = read_tensors(path)
    if "checksum" not in metadata or "spec" not in metadata:
        raise PriorbenchError(f"{path}: not a trained network (no spec or checksum)")
    state = {name: torch.from_numpy(array) for name, array in arrays.items()}
    if checksum(state) != metadata["checksum"]:
        raise PriorbenchError(f"{path}: weights do not match their checksum; delete the file and train again")
    architecture = metadata["spec"]["backbone"]["architecture"]
    if metadata.get("form", 1) != load("backbone", architecture).form:
        raise PriorbenchError(f"{path}: its weights mean another function in the {architecture} of now; train it again")
    return state, metadata


def load_parent(path: Path, spec: Spec) -> tuple[State, dict[str, Any]]:
    """Weights of the pretraining that ``spec`` starts from or is rescaled to; any other checkpoint is refused."""
    state, metadata = load_model(path)
    parent = metadata["spec"]
    wanted = {
        "dataset": spec.get("pretraining_dataset") or spec["dataset"],
        "backbone": spec["backbone"],
        "seed": spec["seed"],
        "stage": "pretrain",
        "strategy": spec["pretraining"] or spec.get("rescale"),
    }
    for key, value in wanted.items():
        if parent.get(key) != value:
            strategy, found = spec["strategy"], parent.get(key)
            raise PriorbenchError(f"{path}: wrong parent for strategy {strategy!r}: {key} is {found!r}, not {value!r}")
    return state, metadata


def transfer(model: Backbone, state: State, where: str) -> None:
    """Load all weights and buffers, heads included; every name and shape must match."""
    try:
        model.load_state_dict(state, strict=True)
    except RuntimeError as error:
        raise PriorbenchError(f"{where}: weights do not fit the network: {' '.join(str(error).split())}") from None
