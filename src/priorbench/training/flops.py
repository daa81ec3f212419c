"""Counted floating-point operations of a training step.

Matrix products of forward, backward and double backward, by PyTorch's own formulas, as they are dispatched in plain
PyTorch (elementwise work is not in it); the unit of compute in which strategies are compared.
"""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from priorbench.backbones.base import Backbone
from priorbench.kernels.library import plain
from priorbench.tasks.base import Counts, Example, Task, loss
from priorbench.training.store import Store

PROBES = 4


class FlopCounter(TorchDispatchMode):
    """Counts the FLOPs of everything inside it.

    PyTorch's ``FlopCounterMode`` also tracks modules with hooks that fail inside ``torch.autograd.grad``, which
    energy-centric networks call; this one only counts.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.total = 0

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Nothing is compiled here; True would import the compiler, 1.5 s of every job, to switch it off."""
        return False

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Run ``func`` and add its FLOPs."""
        out = func(*args, **(kwargs or {}))
        formula = flop_registry.get(func.overloadpacket)
        if formula is not None:
            self.total += int(formula(*args, **(kwargs or {}), out_val=out))
        return out


def flops_per_structure(model: Backbone, task: Task, store: Store, batch_size: int) -> float:
    """Mean FLOPs per structure of a training step over a few batches; the model is left alone."""
    generator = torch.Generator().manual_seed(0)
    order = torch.randperm(len(store), generator=generator)
    visited, total = 0, 0
    for structures in order.split(batch_size)[:PROBES]:
        example = task.corrupt(store.batch(structures.to(store.positions.device)), generator)
        counts = task.counts(example)
        try:
            # Tensors with shapes but no content: nothing is computed.
            total += _flops(copy.deepcopy(model).to("meta"), task, _without_content(example), counts)
        except NotImplementedError:  # an operation of a plug-in that cannot say its result's shape
            total += _flops(copy.deepcopy(model), task, example, counts)
        visited += len(structures)
    return total / visited


def _flops(model: Backbone, task: Task, example: Example, counts: Counts) -> int:
    # What is computed outside of PyTorch cannot be seen, and what a strategy costs must not depend on the machine.
    with plain(), FlopCounter() as counter:
        loss(task, task.terms(model.train()(example.graph), example), counts).backward()
    return int(counter.total)


def _without_content(value: Any) -> Any:
    """The tensors in a dataclass, at any depth, on the device ``meta``."""
    if isinstance(value, Tensor):
        return value.to("meta")
    if is_dataclass(value) and not isinstance(value, type):
        return replace(value, **{f.name: _without_content(getattr(value, f.name)) for f in fields(value)})
    return value
