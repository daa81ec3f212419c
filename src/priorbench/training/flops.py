"""Counted floating-point operations of a training step.

Matrix products of forward, backward and double backward, by PyTorch's own formulas, as they are dispatched in plain
PyTorch (elementwise work is not in it); the unit of compute in which strategies are compared.
"""

import copy
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from priorbench.backbones.base import Backbone
from priorbench.graph import without_atoms
from priorbench.kernels.library import plain
from priorbench.tasks.base import Example, Task, loss
from priorbench.tasks.readout import read_out
from priorbench.training.store import Store

PROBES = 4  # batches
SMALL = 32  # atoms
EXACT = 1e-9


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
    """Mean FLOPs per structure of a training step over a few batches; the model is left alone.

    Products grow with the numbers of atoms, edges and structures, so three small graphs tell what each costs and a
    batch of two structures whether that is all; where it is not, whole batches are counted.
    """
    probe, generator = copy.deepcopy(model).train(), torch.Generator().manual_seed(0)
    order = torch.randperm(len(store), generator=generator).to(store.positions.device)
    examples = [task.corrupt(store.batch(s), generator) for s in order.split(batch_size)[:PROBES]]
    two = task.corrupt(store.batch(order[:2]), generator)
    costs = _costs(probe, task, two)
    linear = costs is not None and math.isclose(_sizes(two) @ costs, _flops(probe, task, two), rel_tol=EXACT)
    totals = [_sizes(e) @ costs if costs is not None and linear else _flops(probe, task, e) for e in examples]
    return float(sum(totals)) / sum(example.graph.structures for example in examples)


def _costs(model: Backbone, task: Task, example: Example) -> NDArray[np.float64] | None:
    """FLOPs of an atom, an edge and a structure, (3,); None where the example is too small to tell them apart."""
    atoms = min(int((example.graph.structure == 0).sum()), SMALL)
    half = atoms // 2
    parts = [_first_atoms(example, atoms, every=1), _first_atoms(example, atoms, every=2)]
    parts.append(_first_atoms(example, half, every=1))
    sizes = np.stack([_sizes(part) for part in parts])
    if half == 0 or np.linalg.matrix_rank(sizes) < 3:
        return None
    return np.linalg.solve(sizes, np.array([_flops(model, task, part) for part in parts], float))


def _sizes(example: Example) -> NDArray[np.float64]:
    graph = example.graph
    return np.array([graph.atoms, len(graph.senders), graph.structures], float)


def _first_atoms(example: Example, atoms: int, every: int) -> Example:
    """The first atoms, with ``every`` so manieth edge between them; structures that lose all atoms stay, empty."""
    graph, selected = example.graph, example.selected
    hidden = torch.arange(graph.atoms, device=graph.positions.device) >= atoms
    left = without_atoms(graph, hidden, graph.lost)
    smaller = replace(
        left, senders=left.senders[::every], receivers=left.receivers[::every], shifts=left.shifts[::every]
    )
    chosen = None if selected is None else selected[selected < atoms]
    return replace(example, graph=smaller, vectors=example.vectors[:atoms], selected=chosen)


def _flops(model: Backbone, task: Task, example: Example) -> int:
    # What is computed outside of PyTorch cannot be seen, and what a strategy costs must not depend on the machine.
    with plain(), FlopCounter() as counter:
        prediction = read_out(model, task, example.graph)
        loss(task, task.terms(prediction, example), task.counts(example)).backward()
    return int(counter.total)
