"""How a training takes its steps: operation by operation, or on a GPU as one CUDA graph in static shapes.

A small network leaves a GPU waiting for Python to launch a thousand kernels a step.  A CUDA graph launches them at
once, at the price that nothing in them may change its shape: batches are filled up to one size (padding.py), and what
differs from step to step (the batch, the numbers of its errors, the learning rate) is copied into the memory that the
graph was captured on.  The next batch is drawn and corrupted on a stream of its own meanwhile.
"""

import sys
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
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
        self.replay: Callable[[], tuple[Tensor, Tensor]] = self._step
        self.gradients: Callable[[], tuple[Tensor, ...]] = self._gradients

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
        value, norm = self.replay()
        # The next replay writes over its outputs.
        value, norm = value.clone(), norm.clone()
        if following is not None:
            self.ahead = self._prepare(following, draws)
        return value, norm

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
            self.example = _copied(example)
            self._make()
        assert self.example is not None
        for static, given in zip(_tensors(self.example), _tensors(example), strict=True):
            static.copy_(given)
        self.counts.copy_(ahead.counts)
        self.learning_rate.fill_(learning_rate)

    def _step(self) -> tuple[Tensor, Tensor]:
        """All of a step on the static memory."""
        self.optimiser.clear_gradients()
        value, *gradients = self.gradients()
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
        self.gradients, self.replay = self._gradients, self._step
        state = [*self.model.state_dict().values(), *(t for s in self.optimiser.state for t in s)]
        kept = [tensor.detach().clone() for tensor in state]

        def undo() -> None:
            with torch.no_grad():
                for tensor, before in zip(state, kept, strict=True):
                    tensor.copy_(before)

        self.learning_rate.zero_()
        if self.compiler is not None:
            self.gradients = self._compiled(self.compiler, undo)
        if self.captures:
            self.replay = self._captured(undo)

    def _compiled(self, backend: str, undo: Callable[[], None]) -> Callable[[], tuple[Tensor, ...]]:
        """The gradients by one compiled function; as they are where that fails."""
        try:
            function = compiled(self._gradients, backend)
            function()
        except Exception as error:  # compilers raise whatever they meet
            _say(f"not compiled ({_first_line(error)}); going on without, with the same numbers")
            self.compiler = None
            function = self._gradients
        undo()
        return function

    def _captured(self, undo: Callable[[], None]) -> Callable[[], tuple[Tensor, Tensor]]:
        """A step as a CUDA graph; as it is where that fails."""
        try:
            replay = captured(self._step)
        except RuntimeError as error:
            _say(f"no CUDA graph ({_first_line(error)}); going on operation by operation, with the same numbers")
            self.captures, replay = False, self._step
        undo()
        return replay


def captured(step: Callable[[], tuple[Tensor, Tensor]]) -> Callable[[], tuple[Tensor, Tensor]]:
    """``step`` as a CUDA graph, whose outputs are the same memory each time."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(WARM_UP):
            step()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        outputs = step()

    def replay() -> tuple[Tensor, Tensor]:
        graph.replay()
        return outputs

    return replay


def compiled(function: Callable[[], tuple[Tensor, ...]], backend: str) -> Callable[[], tuple[Tensor, ...]]:
    """``function`` of tensors that it has at hand, traced through its own calls of autograd and compiled.

    Tracing first is what makes a gradient of a gradient compile: to the compiler no gradient is left to take.
    """
    from torch.fx.experimental.proxy_tensor import make_fx

    nothing = torch.zeros(())  # tracing wants an argument

    def of(_: Tensor) -> tuple[Tensor, ...]:
        return function()

    with plain():
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
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def _say(text: str) -> None:
    print(f"priorbench: {text}", file=sys.stderr, flush=True)
