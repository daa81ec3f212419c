"""One optimiser step: corrupt a batch, gather its gradient part by part, update the weights.

A batch is cut into parts of whole structures, so that what is kept for the backward pass stays small enough for caches
and memory however large the batch is.  Each part's share of the loss is divided by the counts of the *whole* batch, so
the gradient is that of the batch.  A network with batch statistics is never cut: its statistics span the batch.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace

import torch
from torch import Tensor, nn

from priorbench.backbones.base import Backbone
from priorbench.graph import Graph
from priorbench.tasks.base import Example, Task, loss
from priorbench.training.optimiser import Adam
from priorbench.training.store import Store

EDGES_AT_ONCE = 26_000  # on a CPU: two boxes of 774 atoms, or nine of 192
Watch = Callable[[str], None]  # called with the name of the phase that has just ended


def take_step(
    model: Backbone,
    task: Task,
    store: Store,
    structures: Tensor,
    draws: torch.Generator,
    optimiser: Adam,
    learning_rate: float,
    clip: float | None,
    watch: Watch | None = None,
) -> tuple[Tensor, Tensor]:
    """One optimiser step on the ``structures`` (G,); returns loss and gradient norm without waiting for the device.

    ``watch`` hears of the end of the phases ``data``, ``forward`` and ``backward`` (once a part), ``optimiser``.
    """
    ended = watch or (lambda phase: None)
    example = task.corrupt(store.batch(structures), draws)
    ended("data")
    optimiser.clear_gradients()
    value = accumulate(model, task, example, ended)
    norm = optimiser.gradient_norm(clip)
    optimiser.step(learning_rate)
    ended("optimiser")
    return value, norm


def accumulate(model: Backbone, task: Task, example: Example, ended: Watch, edges: int = EDGES_AT_ONCE) -> Tensor:
    """Add the gradient of the example's loss to the parameters' ``grad``; returns the loss."""
    counts, total = task.counts(example), None
    for part in parts_of(example, None if has_batch_statistics(model) else edges):
        share = loss(task, task.terms(model(part.graph), part), counts)
        ended("forward")
        share.backward()
        ended("backward")
        total = share.detach() if total is None else total + share.detach()
    assert total is not None
    return total


def has_batch_statistics(model: nn.Module) -> bool:
    """Whether an atom's prediction depends on the other structures of its batch while training."""
    return any(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in model.modules())


def parts_of(example: Example, edges: int | None) -> Iterator[Example]:
    """The example cut between structures into parts of at most ``edges`` edges, or of one structure; None: whole."""
    graph = example.graph
    if edges is None or graph.structures == 1 or len(graph.senders) <= edges or graph.positions.is_cuda:
        yield example
        return
    atoms = _ends(torch.bincount(graph.structure, minlength=graph.structures))
    # Receivers are sorted, so a structure's edges end where its atoms' do.
    edge_ends = [0, *torch.searchsorted(graph.receivers, torch.tensor(atoms[1:])).tolist()]
    first = 0
    for last in range(1, graph.structures + 1):
        if last == graph.structures or edge_ends[last + 1] - edge_ends[first] > edges:
            a, e = slice(atoms[first], atoms[last]), slice(edge_ends[first], edge_ends[last])
            yield _part(example, slice(first, last), a, e)
            first = last


def _ends(counts: Tensor) -> list[int]:
    return [0, *counts.cumsum(0).tolist()]


def _part(example: Example, structures: slice, atoms: slice, edges: slice) -> Example:
    graph, selected = example.graph, example.selected
    if selected is not None:
        low, high = torch.searchsorted(selected, torch.tensor([atoms.start, atoms.stop])).tolist()
        selected = selected[low:high] - atoms.start
    return replace(
        example,
        graph=_subgraph(graph, structures, atoms, edges),
        vectors=example.vectors[atoms],
        selected=selected,
        energies=None if example.energies is None else example.energies[structures],
    )


def _subgraph(graph: Graph, structures: slice, atoms: slice, edges: slice) -> Graph:
    return Graph(
        atomic_numbers=graph.atomic_numbers[atoms],
        positions=graph.positions[atoms],
        senders=graph.senders[edges] - atoms.start,
        receivers=graph.receivers[edges] - atoms.start,
        shifts=graph.shifts[edges],
        structure=graph.structure[atoms] - structures.start,
        cells=graph.cells[structures],
        pbc=graph.pbc[structures],
        lost=None if graph.lost is None else graph.lost[atoms],
    )
