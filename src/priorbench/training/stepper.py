"""How a training takes its steps: operation by operation, or on a GPU as one CUDA graph in static shapes.

A small network leaves a GPU waiting for Python to launch a thousand kernels a step.  A CUDA graph launches them at
once, at the price that nothing in them may change its shape: batches are filled up to one size (padding.py), and what
differs from step to step (the batch, the numbers of its errors, the learning rate) is copied into the memory that the
graph was captured on.  The next batch is drawn and corrupted on a stream of its own meanwhile.
"""

import gc
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import astuple, dataclass, fields, replace
from typing import Protocol

import torch
from torch import Tensor

from priorbench.backbones.base import Backbone
from priorbench.config_sections import GPU, Training
from priorbench.graph import Graph
from priorbench.kernels.library import plain
from priorbench.tasks.base import Example, Task, loss
from priorbench.tasks.readout import read_out
from priorbench.training.optimiser import Adam
from priorbench.training.padding import Capacity, only_real, padded
from priorbench.training.parallel import Ranks
from priorbench.training.step import take_step
from priorbench.training.store import Store

WARM_UP = 3  # steps before a capture, in which libraries allocate what they keep


class Stepper(Protocol):
    """What takes the steps of a training."""

    shape: list[int] | None  # to which batches are filled up, for a training that goes on in another process

    @property
    def kind(self) -> str:
        """As records name it."""
        ...

    def take(
        self, structures: Tensor, following: Tensor | None, draws: torch.Generator, learning_rate: float
    ) -> tuple[Tensor, Tensor]:
        """One optimiser step on the ``structures`` (G,): loss and gradient norm, without waiting for the device.

        ``following`` are those of the next step, where they are known.  Afterwards ``draws`` is as this step leaves it.
        """
        ...


def stepper_for(
    model: Backbone, task: Task, store: Store, optimiser: Adam, training: Training, gpu: GPU, ranks: Ranks | None
) -> Stepper:
    """CUDA graphs on one GPU unless ``gpu`` says otherwise; else operation by operation."""
    if store.positions.is_cuda and ranks is None and gpu.graphs:
        return StaticStepper(model, task, store, optimiser, training, compiler="inductor" if gpu.compile else None)
    return PlainStepper(model, task, store, optimiser, training, ranks)


class PlainStepper:
    """Operation by operation."""

    kind = "operations"
    shape: list[int] | None = None

    def __init__(
        self, model: Backbone, task: Task, store: Store, optimiser: Adam, training: Training, ranks: Ranks | None = None
    ) -> None:
        self.what = model, task, store
        self.optimiser, self.clip, self.ranks = optimiser, training.gradient_clip, ranks

    def take(
        self, structures: Tensor, following: Tensor | None, draws: torch.Generator, learning_rate: float
    ) -> tuple[Tensor, Tensor]:
        """See :class:`Stepper`."""
        return take_step(*self.what, structures, draws, self.optimiser, learning_rate, self.clip, ranks=self.ranks)


@dataclass(frozen=True)
class Prepared:
    """A batch ahead of its step."""

    structures: Tensor
    example: Example
    counts: Tensor  # (T,) of the weighted terms, one at least
    state: Tensor  # of the generator after its draws


class StaticStepper:
    """In static shapes: captured as a CUDA graph on a GPU; elsewhere the same operations, one after the other.

    ``compiler`` names a backend of ``torch.compile`` that fuses them, the gradient and for an energy-centric network
    the gradient of the gradient included.  Where capture or compilation fails, the reason is said once and the
    steps go on without.
    """

    def __init__(
        self,
        model: Backbone,
        task: Task,
        store: Store,
        optimiser: Adam,
        training: Training,
        compiler: str | None = None,
    ) -> None:
        self.model, self.task, self.store, self.optimiser = model, task, store, optimiser
        self.clip, self.batch_size, self.compiler = training.gradient_clip, training.batch_size, compiler
        self.device = store.positions.device
        self.captures = store.positions.is_cuda
        self.stream = torch.cuda.Stream() if self.captures else None
        self.copied = torch.cuda.Event() if self.captures else None  # the last batch, into the static memory
        self.learning_rate = torch.zeros((), device=self.device)
        self.counts = torch.ones(len(task.weights), device=self.device)
        self.capacity: Capacity | None = None
        self.example: Example | None = None  # the static memory
        self.ahead: Prepared | None = None
        # None where they are the operations as they stand: a method here would be a circle, which the collector would
        # break, and free the memory of a GPU, at no certain time.
        self.replay: Callable[[], tuple[Tensor, Tensor]] | None = None
        self.fused: Callable[[], tuple[Tensor, ...]] | None = None

    @property
    def shape(self) -> list[int] | None:
        """The capacity: sums over padded rows are rounded differently in another."""
        return None if self.capacity is None else [*astuple(self.capacity)]

    @shape.setter
    def shape(self, shape: list[int] | None) -> None:
        self.capacity = None if shape is None else Capacity(*shape)

    @property
    def kind(self) -> str:
        """``graph`` or ``operations``, and ``compiled`` where they are."""
        return ("graph" if self.captures else "operations") + (", compiled" if self.compiler else "")

    def take(
        self, structures: Tensor, following: Tensor | None, draws: torch.Generator, learning_rate: float
    ) -> tuple[Tensor, Tensor]:
        """See :class:`Stepper`."""
        ahead = self.ahead
        if ahead is None or ahead.structures is not structures:
            if self.copied is not None:
                self.copied.record()  # the structures themselves are there by then
            ahead = self._prepare(structures, draws)
        self.ahead = None
        draws.set_state(ahead.state)
        if self.stream is not None:
            torch.cuda.current_stream().wait_stream(self.stream)
        self._fill(ahead, learning_rate)
        if self.copied is not None:
            self.copied.record()
        value, norm = self.repeat()
        value, norm = value.clone(), norm.clone()
        if following is not None:
            self.ahead = self._prepare(following, draws)
        return value, norm

    def repeat(self) -> tuple[Tensor, Tensor]:
        """The step on what is in the static memory; its outputs are written over by the next."""
        return self.replay() if self.replay else self._step()

    def _prepare(self, structures: Tensor, draws: torch.Generator) -> Prepared:
        """Draw the batch; on a GPU beside the step that it is computing."""
        if self.stream is None or self.copied is None:
            return self._drawn(structures, draws)
        # What the last batch took in memory may be given to this one, once it was copied.
        self.stream.wait_event(self.copied)
        with torch.cuda.stream(self.stream):
            return self._drawn(structures, draws)

    def _drawn(self, structures: Tensor, draws: torch.Generator) -> Prepared:
        ahead = draws.clone_state()
        example = self.task.corrupt(self.store.batch(structures), ahead)
        counts = self.task.counts(example)
        # Here and not when it is copied: what goes to a GPU waits for all that its stream was given before.
        some = torch.tensor([float(max(counts[name], 1)) for name in self.task.weights]).to(self.device)
        if self.capacity is not None and self.capacity.holds(example):
            example = padded(example, self.capacity)
        return Prepared(structures, example, some, ahead.get_state())

    def _fill(self, ahead: Prepared, learning_rate: float) -> None:
        """Copy what the step is about into the static memory, which is made anew where it is too small."""
        example = ahead.example
        if example.graph.real is None:
            self.capacity = self.capacity.or_more(example) if self.capacity else Capacity.of(example, self.batch_size)
            example = padded(example, self.capacity)
            self.example = None
        if self.example is None:
            self.example = _copied(example)
            self._make()
        for static, given in zip(_tensors(self.example), _tensors(example), strict=True):
            static.copy_(given)
        self.counts.copy_(ahead.counts)
        self.learning_rate.fill_(learning_rate)

    def _step(self) -> tuple[Tensor, Tensor]:
        """All of a step on the static memory."""
        self.optimiser.clear_gradients()
        value, *gradients = self.fused() if self.fused else self._gradients()
        for parameter, gradient in zip(self.optimiser.parameters, gradients, strict=True):
            parameter.grad = gradient
        norm = self.optimiser.gradient_norm(self.clip)
        self.optimiser.step(self.learning_rate)
        return value, norm

    def _gradients(self) -> tuple[Tensor, ...]:
        """The loss and its gradient for every parameter, None for those that have no part in it."""
        assert self.example is not None
        example = replace(self.example, graph=replace(self.example.graph))  # nothing kept from the last step
        prediction = only_real(read_out(self.model, self.task, example.graph), example)
        counts = dict(zip(self.task.weights, self.counts.unbind(), strict=True))
        value = loss(self.task, self.task.terms(prediction, example), counts)
        return value.detach(), *torch.autograd.grad(value, self.optimiser.parameters, allow_unused=True)

    def _make(self) -> None:
        """Compile and capture for the static memory of now; the training is left where it is."""
        self.fused = self.replay = None
        state = [*self.model.state_dict().values(), *(t for s in self.optimiser.state for t in s)]
        kept = [tensor.detach().clone() for tensor in state]
        self.learning_rate.zero_()
        if self.compiler is not None:
            try:
                self.fused = compiled(self._gradients, self.compiler)
                self.fused()
            except Exception as error:  # compilers raise whatever they meet
                self.fused = self.compiler = None
                _say(f"not compiled ({_first_line(error)}); going on without, with the same numbers")
        if self.captures:
            try:
                self.replay = captured(self._step)
            except RuntimeError as error:
                self.captures = False
                _say(f"no CUDA graph ({_first_line(error)}); going on operation by operation, with the same numbers")
        with torch.no_grad():
            for tensor, before in zip(state, kept, strict=True):
                tensor.copy_(before)


def captured(step: Callable[[], tuple[Tensor, Tensor]]) -> Callable[[], tuple[Tensor, Tensor]]:
    """``step`` as a CUDA graph, whose outputs are the same memory each time.

    Nothing that was destroyed may be collected meanwhile: a graph that goes ends the capture of another.  Where it
    fails, stream and allocator are as before, and nothing runs any more.
    """
    before, stream, pool = torch.cuda.current_stream(), torch.cuda.Stream(), torch.cuda.graph_pool_handle()
    graph, collecting = torch.cuda.CUDAGraph(), gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        stream.wait_stream(before)
        with torch.cuda.stream(stream):
            for _ in range(WARM_UP):
                step()
        before.wait_stream(stream)
        with torch.cuda.graph(graph, pool=pool):
            outputs = step()
    except BaseException:
        torch.cuda.set_stream(before)
        torch.cuda.synchronize()
        with suppress(Exception):  # of an allocator that was told already
            torch._C._cuda_endAllocateToPool(torch.cuda.current_device(), pool)
        raise
    finally:
        if collecting:
            gc.enable()

    def replay() -> tuple[Tensor, Tensor]:
        graph.replay()
        return outputs

    return replay


def compiled(function: Callable[[], tuple[Tensor, ...]], backend: str) -> Callable[[], tuple[Tensor, ...]]:
    """``function`` of tensors that it has at hand, traced through its own calls of autograd and compiled.

    Tracing first is what makes a gradient of a gradient compile: to the compiler no gradient is left to take.
    """
    import torch._inductor.config as inductor
    from torch.fx.experimental.proxy_tensor import make_fx

    if hasattr(inductor, "deterministic"):  # not in every version that this runs with
        inductor.deterministic = torch.are_deterministic_algorithms_enabled()
    nothing = torch.zeros(())  # tracing wants an argument

    def of(_: Tensor) -> tuple[Tensor, ...]:
        return function()

    with plain(), torch.autograd.set_multithreading_enabled(False):
        traced = torch.compile(make_fx(of)(nothing), backend=backend, fullgraph=True)

    def call() -> tuple[Tensor, ...]:
        with torch.no_grad():
            out: tuple[Tensor, ...] = traced(nothing)
        return out

    return call


def _tensors(example: Example) -> list[Tensor]:
    """Every tensor of an example, in a fixed order."""
    values = [getattr(example.graph, f.name) for f in fields(Graph)]
    values += [getattr(example, f.name) for f in fields(Example) if f.name != "graph"]
    return [value for value in values if value is not None]


def _copied(example: Example) -> Example:
    def copies(of: Graph | Example) -> dict[str, Tensor]:
        values = {f.name: getattr(of, f.name) for f in fields(of)}
        return {name: value.clone() for name, value in values.items() if isinstance(value, Tensor)}

    return replace(example, graph=replace(example.graph, **copies(example.graph)), **copies(example))


def _first_line(error: Exception) -> str:
    if isinstance(error.__context__, RuntimeError):  # of an error that ended a capture, which then fails to end
        error = error.__context__
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def _say(text: str) -> None:
    print(f"priorbench: {text}", file=sys.stderr, flush=True)
