"""Steps in static shapes: padded batches, what is drawn ahead, capture and compilation, and what happens without."""

import copy
import itertools
import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from priorbench.config import GPU, Training
from priorbench.tasks.base import loss
from priorbench.tasks.denoising import Denoising, DenoisingOptions
from priorbench.tasks.masking import Masking, MaskingOptions
from priorbench.tasks.masking_denoising import MaskingDenoising, MaskingDenoisingOptions
from priorbench.tasks.potential import Potential, PotentialOptions
from priorbench.tasks.readout import read_out
from priorbench.training import stepper
from priorbench.training.optimiser import Adam
from priorbench.training.padding import Capacity, only_real, padded
from priorbench.training.stepper import PlainStepper, StaticStepper, stepper_for
from tests.conftest import make_frames, make_store
from tests.networks import CUTOFF, every_network, network

TASKS = {
    "masking": Masking(MaskingOptions(ratio=0.5)),
    "masking-l2": Masking(MaskingOptions(ratio=0.5, loss="l2")),
    "denoising": Denoising(DenoisingOptions(sigma=0.05)),
    "masking_denoising": MaskingDenoising(MaskingDenoisingOptions(ratio=0.5, sigma=0.05)),
    "potential": Potential(PotentialOptions()),
    "gradient": Masking(MaskingOptions(ratio=0.5, readout="gradient")),
    "coordinates": Masking(MaskingOptions(ratio=0.5, readout="coordinates")),
}
every_task = pytest.mark.parametrize("task", TASKS.values(), ids=TASKS)
GNS = {"name": "gns", "architecture": "gns", "cutoff": CUTOFF, "layers": 2, "width": 16}
EGNN = {**GNS, "name": "egnn", "architecture": "egnn"}
FORCENET = {**GNS, "name": "forcenet", "architecture": "forcenet", "frequencies": 8}
on_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")


def readable(spec, task):
    """Whether the backbone has the coordinates that the task wants."""
    if task.readout == "coordinates" and spec["architecture"] != "egnn":
        pytest.skip("its layers move no atoms")


def draws():
    return torch.Generator().manual_seed(0)


def gradients(model, task, example, counts):
    """Loss, gradients and buffers after one pass, of a copy of the model."""
    model = copy.deepcopy(model).train()
    prediction = read_out(model, task, example.graph)
    if example.graph.real is not None:
        prediction = only_real(prediction, example)
    value = loss(task, task.terms(prediction, example), counts)
    found = torch.autograd.grad(value, list(model.parameters()), allow_unused=True)
    return value.detach(), found, dict(model.named_buffers())


@every_network
@every_task
def test_what_fills_up_has_no_share(spec, task, tmp_path, double):
    readable(spec, task)
    store, model = make_store(make_frames(5), tmp_path, CUTOFF), network(spec)
    example = task.corrupt(store.batch(torch.arange(3)), draws())
    capacity = Capacity.of(example, 4)
    larger = padded(example, capacity)
    assert (larger.graph.atoms, len(larger.graph.senders)) == (capacity.atoms, capacity.edges)
    assert larger.graph.structures == 5
    assert (larger.graph.receivers.diff() >= 0).all()
    assert (larger.graph.structure.diff() >= 0).all()
    counts = task.counts(example)
    value, found, buffers = gradients(model, task, example, counts)
    value_there, found_there, buffers_there = gradients(model, task, larger, counts)
    torch.testing.assert_close(value_there, value)
    for a, b in zip(found_there, found, strict=True):
        assert (a is None) == (b is None)
        if a is not None:
            torch.testing.assert_close(a, b, atol=1e-9, rtol=1e-6)
    for name, buffer in buffers.items():
        torch.testing.assert_close(buffers_there[name], buffer)


@pytest.mark.parametrize("grown", ["atoms", "edges", "selected", "structures"])
def test_what_does_not_fit_is_refused_and_grown_for(grown, tmp_path):
    example = TASKS["masking"].corrupt(make_store(make_frames(5), tmp_path).batch(torch.arange(3)), draws())
    capacity = Capacity.of(example, 4)
    assert capacity.holds(example)
    least = {
        "atoms": example.graph.atoms + 2,
        "edges": len(example.graph.senders),
        "selected": len(example.selected),
        "structures": 4,
    }
    exact = replace(capacity, **{grown: least[grown]})
    assert exact.holds(example)
    small = replace(capacity, **{grown: least[grown] - 1})
    assert not small.holds(example)
    assert small.or_more(example).holds(example)


def trained(make, spec, task, store, steps=6, prefetch=True, **options):
    """Losses and norms of some steps over batches of three, three and one of seven structures, and what they leave."""
    model, training = network(spec).train(), Training(epochs=1, batch_size=3, gradient_clip=1.0)
    optimiser = Adam(model.parameters(), training)
    taking, generator, found = make(model, task, store, optimiser, training, **options), draws(), []
    order = torch.arange(7).split(3)
    batches = [order[k % 3] for k in range(steps)]
    for k, batch in enumerate(batches):
        following = batches[k + 1] if prefetch and k + 1 < steps else None
        value, norm = taking.take(batch, following, generator, 1e-2 / (k + 1))
        found.append((value, norm))
    moments = [t for s in optimiser.state for t in s]
    return torch.tensor(found), [*model.state_dict().values(), *moments], generator.get_state(), taking


def assert_same(one, other, rtol=1e-6):
    torch.testing.assert_close(one[0], other[0], rtol=rtol, atol=1e-9)
    for a, b in zip(one[1], other[1], strict=True):
        torch.testing.assert_close(a, b, rtol=rtol, atol=1e-7)
    assert torch.equal(one[2], other[2])


@every_network
@every_task
def test_static_steps_are_the_plain_ones(spec, task, tmp_path, double):
    readable(spec, task)
    store = make_store(make_frames(7), tmp_path, CUTOFF)
    assert_same(trained(StaticStepper, spec, task, store), trained(PlainStepper, spec, task, store))


def test_batches_may_come_without_being_foretold(tmp_path):
    store, task = make_store(make_frames(7), tmp_path, CUTOFF), TASKS["masking_denoising"]
    foretold, alone = (trained(StaticStepper, FORCENET, task, store, prefetch=p) for p in (True, False))
    assert torch.equal(foretold[0], alone[0])
    assert all(map(torch.equal, foretold[1], alone[1]))
    assert torch.equal(foretold[2], alone[2])


def test_memory_grows_for_a_batch_that_needs_more(tmp_path, monkeypatch, double):
    monkeypatch.setattr("priorbench.training.padding.SPARE", 1.0)
    monkeypatch.setattr("priorbench.training.padding.STEP", 1)
    made = []
    real = StaticStepper._make
    monkeypatch.setattr(StaticStepper, "_make", lambda self: made.append(self.capacity) or real(self))
    store = make_store(make_frames(7), tmp_path, CUTOFF)
    static = trained(StaticStepper, GNS, TASKS["denoising"], store)
    assert len(made) > 1
    assert all(a.edges <= b.edges and a != b for a, b in itertools.pairwise(made))
    assert_same(static, trained(PlainStepper, GNS, TASKS["denoising"], store))


def test_gradients_keep_their_memory(tmp_path):
    """Made anew in each backward pass they lay between what it freed: steps on large boxes took twice the memory."""
    store, task, places = make_store(make_frames(7), tmp_path, CUTOFF), TASKS["potential"], set()
    model, training = network(GNS).train(), Training(epochs=1, batch_size=3)
    optimiser = Adam(model.parameters(), training)
    taking, generator = PlainStepper(model, task, store, optimiser, training), draws()
    for batch in torch.arange(7).split(3):
        taking.take(batch, None, generator, 1e-3)
        places.add(tuple(p.grad.data_ptr() for p in model.parameters() if p.grad is not None))
    (place,) = places
    assert set(place) <= {gradient.data_ptr() for gradient in optimiser.gradients}


def test_a_training_that_goes_on_keeps_its_shape(tmp_path):
    """Another one would round the sums over a batch differently."""
    store, task = make_store(make_frames(7), tmp_path, CUTOFF), TASKS["denoising"]
    shape = trained(StaticStepper, GNS, task, store)[3].shape
    assert shape is not None
    larger = [n + 64 for n in shape]

    def resumed(*given):
        made = StaticStepper(*given)
        made.shape = json.loads(json.dumps(larger))
        return made

    after = trained(resumed, GNS, task, store)[3]
    assert after.shape == larger
    assert after.example.graph.atoms == larger[1]


def test_what_is_drawn_ahead_does_not_move_the_generator(tmp_path):
    """A checkpoint between two steps holds the draws of the first alone."""
    store, task = make_store(make_frames(7), tmp_path, CUTOFF), TASKS["masking"]
    with_following = trained(StaticStepper, GNS, task, store, steps=2)[2]
    model, training = network(GNS).train(), Training(epochs=1, batch_size=3)
    taking = StaticStepper(model, task, store, Adam(model.parameters(), training), training)
    generator, order = draws(), torch.arange(7).split(3)
    taking.take(order[0], order[1], generator, 1e-3)
    expected = draws()
    task.corrupt(store.batch(order[0]), expected)
    assert torch.equal(generator.get_state(), expected.get_state())
    assert not torch.equal(generator.get_state(), with_following)


@pytest.mark.parametrize("spec", [GNS, EGNN, FORCENET], ids=["gns", "egnn", "forcenet"])
def test_compiled_steps_are_the_plain_ones(spec, tmp_path, double):
    """The gradient of a gradient and statistics of batches included."""
    store, task = make_store(make_frames(7), tmp_path, CUTOFF), TASKS["potential"]
    static = trained(StaticStepper, spec, task, store, compiler="aot_eager")
    assert static[3].kind == "operations, compiled"
    assert_same(static, trained(PlainStepper, spec, task, store))


def test_without_a_compiler_it_goes_on_and_says_so(tmp_path, capsys, double):
    store, task = make_store(make_frames(7), tmp_path, CUTOFF), TASKS["potential"]
    static = trained(StaticStepper, FORCENET, task, store, compiler="nothing")
    told = capsys.readouterr().err
    assert told.count("priorbench: not compiled (") == 1
    assert "going on without, with the same numbers" in told
    assert static[3].kind == "operations"
    assert_same(static, trained(PlainStepper, FORCENET, task, store))


def test_where_nothing_can_be_captured_it_goes_on_and_says_so(tmp_path, capsys, monkeypatch, double):
    def refused(step):
        step()  # a warm-up, whose weights must not be kept
        raise RuntimeError("operation not permitted when stream is capturing\nand more")

    monkeypatch.setattr(stepper, "captured", refused)

    def capturing(*given):
        made = StaticStepper(*given)
        made.captures = True
        return made

    store, task = make_store(make_frames(7), tmp_path, CUTOFF), TASKS["potential"]
    static = trained(capturing, FORCENET, task, store)
    told = capsys.readouterr().err
    assert told == (
        "priorbench: no CUDA graph (operation not permitted when stream is capturing); "
        "going on operation by operation, with the same numbers\n"
    )
    assert static[3].kind == "operations"
    assert_same(static, trained(PlainStepper, FORCENET, task, store))


def test_a_cpu_takes_plain_steps(tmp_path):
    store, training, model = make_store(make_frames(2), tmp_path), Training(epochs=1), network(GNS)
    taking = stepper_for(model, TASKS["potential"], store, Adam(model.parameters(), training), training, GPU(), None)
    assert isinstance(taking, PlainStepper)


@on_gpu
@every_network
@every_task
@pytest.mark.parametrize("compiler", [None, "inductor"])
def test_captured_steps_are_those_of_the_cpu(spec, task, compiler, tmp_path):
    readable(spec, task)
    store = make_store(make_frames(7), tmp_path, CUTOFF)
    there = replace(store, **{k: v.cuda() for k, v in vars(store).items() if isinstance(v, torch.Tensor)})

    def on_device(model, task, store, optimiser, training, **more):
        optimiser.parameters = [p for p in model.cuda().parameters()]
        moved = Adam(optimiser.parameters, training)
        optimiser.state = moved.state
        return StaticStepper(model, task, store, optimiser, training, **more)

    plain = trained(PlainStepper, spec, task, store)
    static = trained(on_device, spec, task, there, compiler=compiler)
    assert static[3].kind == "graph" + (", compiled" if compiler else "")
    np.testing.assert_allclose(static[0].cpu(), plain[0], rtol=1e-3)
