"""One optimiser step: corrupt a batch, gather its gradient part by part, update the weights.

A batch is cut into parts of whole structures, so that what is kept for the backward pass stays small enough for caches
and memory however large the batch is.  Each part's share of the loss is divided by the counts of the *whole* batch, so
the gradient is that of the batch.  A network with batch statistics is never cut: its statistics span the batch.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import pairwise

import torch
from torch import Tensor, nn

from priorbench.backbones.base import Backbone
from priorbench.errors import PriorbenchError
from priorbench.graph import Graph
from priorbench.tasks.base import Example, Task, loss
from priorbench.tasks.readout import read_out
from priorbench.training.optimiser import Adam
from priorbench.training.parallel import Ranks
from priorbench.training.store import Store

EDGES_AT_ONCE = 30_000  # on a CPU: two boxes of 774 atoms, twelve of 192
SLACK = 4 / 3  # of these, up to which a batch is not cut: sixteen boxes of 192 atoms
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
    ranks: Ranks | None = None,
) -> tuple[Tensor, Tensor]:
    """One optimiser step on the ``structures`` (G,); returns loss and gradient norm without waiting for the device.

    ``watch`` hears of the end of the phases ``data``, ``forward`` and ``backward`` (once a part), ``optimiser``.  With
    ``ranks``, every one of them is given the same structures and draws, and computes its share of them.
    """
    ended = watch or (lambda phase: None)
    example = task.corrupt(store.batch(structures), draws)
    ended("data")
    optimiser.clear_gradients()
    value = accumulate(model, task, example, ended, ranks=ranks, into=optimiser.gradients)
    norm = optimiser.gradient_norm(clip)
    optimiser.step(learning_rate)
    ended("optimiser")
    return value, norm


def accumulate(
    model: Backbone,
    task: Task,
    example: Example,
    ended: Watch,
    edges: int = EDGES_AT_ONCE,
    ranks: Ranks | None = None,
    into: Sequence[Tensor] | None = None,
) -> Tensor:
    """Add the gradient of the example's loss to the parameters' ``grad``; returns the loss.

    A ``grad`` that is not there yet takes the memory of ``into``, one a parameter.  What lives longer than a part must
    not lie between what its backward pass has freed: holes too small for the next part doubled a step's memory.
    """
    parameters = list(model.parameters())
    into = [torch.empty_like(p) for p in parameters] if into is None else into
    whole = has_batch_statistics(model)
    if ranks and whole:
        raise PriorbenchError(f"{type(model).__name__} has batch statistics, which span processes; train it in one")
    counts, total = task.counts(example), example.vectors.new_zeros(())
    own = share_of(example, ranks) if ranks else example
    for part in parts_of(own, None if whole else edges) if own else ():
        share = loss(task, task.terms(read_out(model, task, part.graph), part), counts)
        ended("forward")
        found = torch.autograd.grad(share, parameters, allow_unused=True)
        for parameter, memory, gradient in zip(parameters, into, found, strict=True):
            if gradient is not None:
                parameter.grad = memory.copy_(gradient) if parameter.grad is None else parameter.grad.add_(gradient)
        del found
        ended("backward")
        total = total + share.detach()
    if ranks:
        total = ranks.add_up(model.parameters(), total)
        ended("backward")
    return total


def has_batch_statistics(model: nn.Module) -> bool:
    """Whether an atom's prediction depends on the other structures of its batch while training."""
    return any(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in model.modules())


def parts_of(example: Example, edges: int | None) -> Iterator[Example]:
    """The example cut between structures into parts of at most ``edges`` edges, or of one structure; None: whole.

    One that is not much larger stays whole: the second part would be small, and each costs what Python does.
    """
    graph = example.graph
    if edges is None or graph.structures == 1 or len(graph.senders) <= SLACK * edges or graph.positions.is_cuda:
        yield example
        return
    atoms, edge_ends = _ends(graph)
    first = 0
    for last in range(1, graph.structures + 1):
        if last == graph.structures or edge_ends[last + 1] - edge_ends[first] > edges:
            yield _part(example, first, last, atoms, edge_ends)
            first = last


def share_of(example: Example, ranks: Ranks) -> Example | None:
    """The structures of the example that this rank computes; None where it has none."""
    atoms, edges = _ends(example.graph)
    own = ranks.share([after - before for before, after in pairwise(edges)])
    return _part(example, own.start, own.stop, atoms, edges) if own.start < own.stop else None


def _ends(graph: Graph) -> tuple[list[int], list[int]]:
    """Where the atoms and the edges of each structure end, from 0 on, (G + 1,)."""
    atoms = [0, *torch.bincount(graph.structure, minlength=graph.structures).cumsum(0).tolist()]
    # Receivers are sorted, so a structure's edges end where its atoms' do.
    last = torch.tensor(atoms[1:], device=graph.receivers.device)
    return atoms, [0, *torch.searchsorted(graph.receivers, last).tolist()]


def _part(example: Example, first: int, last: int, atom_ends: list[int], edge_ends: list[int]) -> Example:
    """The structures ``first`` to ``last`` of the example."""
    structures = slice(first, last)
    atoms, edges = (slice(ends[first], ends[last]) for ends in (atom_ends, edge_ends))
    graph, selected = example.graph, example.selected
    if selected is not None:
        bounds = torch.tensor([atoms.start, atoms.stop], device=selected.device)
        low, high = torch.searchsorted(selected, bounds).tolist()
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
