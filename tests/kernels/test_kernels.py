"""The compiled edge layers compute what the backbones' plain PyTorch computes, and say so where they cannot."""

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest
import torch

from priorbench.datasets.blocks import assemble, rectangular
from priorbench.kernels import library
from priorbench.kernels.geometry import geometry
from priorbench.kernels.gns import edge_step
from priorbench.kernels.order import BLOCK, EdgeOrder
from priorbench.kernels.painn import messages
from priorbench.registry import TASKS, load
from priorbench.tasks.base import Example
from priorbench.training.flops import flops_per_structure
from priorbench.training.step import accumulate
from tests.conftest import make_frames, make_store, water_box
from tests.networks import CUTOFF, every_network, network

pytestmark = pytest.mark.skipif(library.in_use("cpu") == "plain", reason="no C compiler: nothing to compare")
every_task = pytest.mark.parametrize("task", sorted(TASKS))


def corrupted(task, store, structures: int) -> Example:
    return task.corrupt(store.batch(torch.arange(structures)), torch.Generator().manual_seed(1))


def results(model, task, example):
    """Loss, predictions, gradients and buffers after one accumulation."""
    model.zero_grad(set_to_none=True)
    value = accumulate(model, task, example, lambda phase: None)
    prediction = model(example.graph)
    gradients = {n: None if p.grad is None else p.grad.clone() for n, p in model.named_parameters()}
    return value, prediction.energies.detach(), prediction.vectors.detach(), gradients, model.state_dict()


@every_network
@every_task
@pytest.mark.parametrize("threads", [1, 3])
def test_kernels_equal_plain_pytorch(spec, task, threads, tmp_path, double):
    # More edges than one block, so that blocks meet; sizes that no vector length divides.
    store = make_store(make_frames(3, side=3), tmp_path, CUTOFF)
    assert len(store.senders) > 6 * BLOCK
    task, spec = (cls := load("task", task))(cls.Options()), {**spec, "width": 13, "layers": 3}
    example, first, second = corrupted(task, store, 3), network(spec).double().train(), network(spec).double().train()
    torch.set_num_threads(threads)
    try:
        compiled = results(first, task, example)
        with library.plain():
            plain = results(second, task, example)
    finally:
        torch.set_num_threads(1)
    for ours, theirs in zip(compiled[:3], plain[:3], strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-11)
    largest = max(float(g.abs().max()) for g in plain[3].values() if g is not None)
    for name, theirs in plain[3].items():
        assert (compiled[3][name] is None) == (theirs is None), name
        if theirs is not None:
            # Some gradients are zero but for rounding, as that of a bias before a BatchNorm.
            scale = max(float(theirs.abs().max()), 1e-3 * largest)
            torch.testing.assert_close(compiled[3][name], theirs, rtol=0, atol=1e-9 * scale, msg=name)
    for name, theirs in plain[4].items():
        torch.testing.assert_close(compiled[4][name], theirs, rtol=1e-9, atol=1e-12)


@every_network
def test_single_precision_is_as_exact_as_plain_pytorch(spec, tmp_path):
    store = make_store(make_frames(2, side=3), tmp_path, CUTOFF)
    model, graph = network(spec).eval(), store.batch(torch.arange(2)).graph
    with torch.no_grad():
        ours = model(graph).vectors
        with library.plain():
            theirs = model(graph).vectors
    assert float((ours - theirs).abs().max()) < 1e-5 * float(theirs.abs().max()) + 1e-7


@pytest.mark.parametrize("variant", [{}, {"edge_update": "doubling"}])
@pytest.mark.parametrize("fitting", [0, 1, 3])
def test_layers_that_memory_is_too_small_for_give_the_same_numbers(fitting, variant, tmp_path, monkeypatch):
    store = make_store(make_frames(3, side=3), tmp_path, CUTOFF)
    task, spec = (cls := load("task", "masking"))(cls.Options()), {"name": "g", "architecture": "gns", "cutoff": CUTOFF}
    example, spec = corrupted(task, store, 3), {**spec, "layers": 3, "width": 13, **variant}
    edges, allocated, empty = len(example.graph.senders), [], torch.Tensor.new_empty

    def counted(tensor, *shape):
        allocated[-1] += shape == (edges, 13)
        return empty(tensor, *shape)

    def measured():
        allocated.append(0)
        return results(network(spec).train(), task, example)

    monkeypatch.setattr(torch.Tensor, "new_empty", counted)
    ample = measured()
    monkeypatch.setattr("priorbench.backbones.gns.room", lambda: (3 + 3 + 3 * fitting + 0.5) * edges * 13 * 4)
    tight = measured()
    assert allocated[0] - allocated[1] == 2 * 3 * (1 + 3 - fitting)  # of two forward passes, the encoder's too
    for ours, theirs in zip(tight[:3], ample[:3], strict=True):
        assert torch.equal(ours, theirs)
    assert {n: g is None for n, g in tight[3].items()} == {n: g is None for n, g in ample[3].items()}
    assert all(torch.equal(g, ample[3][n]) for n, g in tight[3].items() if g is not None)


@pytest.mark.parametrize("alone", [False, True])
def test_a_gradient_is_overwritten_only_where_nobody_else_reads_it(alone, double):
    generator = torch.Generator().manual_seed(0)
    receivers, senders = torch.tensor([(i, j) for i in range(4) for j in range(4) if i != j]).T
    shapes = [(4, 10), (12, 5), (5, 5), (5, 5), (5,), (5, 5), (5,), (5,), (5,)]
    table, e, w1, *rest = (torch.rand(shape, generator=generator).sub_(0.5).requires_grad_() for shape in shapes)
    order, given = EdgeOrder.of(senders, receivers, 4), torch.rand(12, 5, generator=generator)
    expected = edge_step(order, table, e, None, w1, *rest, updated=True, keep=True, alone=False)[1]
    (expected,) = torch.autograd.grad((expected * given).sum(), e)
    new_e, before = edge_step(order, table, e, None, w1, *rest, updated=True, keep=True, alone=alone)[1], given.clone()
    (found,) = torch.autograd.grad(new_e, e, given)
    torch.testing.assert_close(found, expected)
    assert torch.equal(given, before) is not alone


def test_same_numbers_at_every_repetition(tmp_path):
    spec = {"name": "e", "architecture": "egnn", "cutoff": CUTOFF, "layers": 2, "width": 16}
    store = make_store(make_frames(4, side=3), tmp_path, CUTOFF)
    task = (cls := load("task", "potential"))(cls.Options())
    torch.set_num_threads(3)
    try:
        runs = [results(network(spec).train(), task, corrupted(task, store, 4))[3] for _ in range(5)]
    finally:
        torch.set_num_threads(1)
    for again in runs[1:]:
        assert all(torch.equal(again[n], g) for n, g in runs[0].items() if g is not None)


@every_network
def test_a_structure_without_edges(spec, tmp_path):
    rng = np.random.default_rng(0)
    positions, _, numbers = water_box(rng, side=1)
    block = rectangular(
        positions=positions[None] + np.arange(3)[:, None] * 20.0,
        forces=np.ones((1, 3, 3)),
        energies=np.zeros(1),
        cells=np.eye(3)[None] * 90,
        atomic_numbers=numbers,
        groups=np.zeros(1, np.int32),
    )
    frames = assemble([block], {"source": "tests", "subsystems": ["far"]}, plausible=False)
    store = make_store(frames, tmp_path, CUTOFF)
    assert len(store.senders) == 0
    model = network(spec).train()
    task = (cls := load("task", "potential"))(cls.Options())
    ours = results(model, task, corrupted(task, store, 1))
    with library.plain():
        theirs = results(network(spec).train(), task, corrupted(task, store, 1))
    torch.testing.assert_close(ours[1], theirs[1])
    torch.testing.assert_close(ours[2], theirs[2])


def test_edges_may_be_given_in_any_integer_type():
    senders, receivers = torch.tensor([1, 0]), torch.tensor([0, 1])
    narrow = EdgeOrder.of(senders.int(), receivers.to(torch.int16), 2)
    for tensor in (narrow.senders, narrow.receivers, narrow.offsets):
        assert tensor.dtype == torch.int64


@pytest.mark.parametrize("kind", ["polynomial", "cosine"])
@pytest.mark.parametrize("cutoff", [1.5, 5.0])  # Å; some pairs, or none, are farther apart
def test_geometry_is_differentiable_twice(kind, cutoff, double):
    generator = torch.Generator().manual_seed(0)
    positions = torch.rand(6, 3, generator=generator) * 2
    receivers, senders = torch.tensor([(i, j) for i in range(6) for j in range(6) if i != j]).T
    order, shifts = EdgeOrder.of(senders, receivers, 6), torch.zeros(30, 3)
    positions.requires_grad_()
    function = lambda r: geometry(order, 4, cutoff, kind, r, shifts)  # noqa: E731
    assert torch.autograd.gradcheck(function, (positions,))
    assert torch.autograd.gradgradcheck(function, (positions,))


@pytest.mark.parametrize("first_layer", [False, True])
@pytest.mark.parametrize("threads", [1, 3])
def test_messages_of_painn_are_differentiable_twice(first_layer, threads, double):
    generator = torch.Generator().manual_seed(0)
    receivers, senders = torch.tensor([(i, j) for i in range(4) for j in range(4) if i != j]).T
    order = EdgeOrder.of(senders, receivers, 4)
    shapes = [(4, 9), (12, 9), (12, 3)] + [(4, 3, 3)] * (not first_layer)
    inputs = [torch.rand(shape, generator=generator).sub_(0.5).requires_grad_() for shape in shapes]
    function = lambda *t: messages(order, *t, *[None] * first_layer)  # noqa: E731
    torch.set_num_threads(threads)
    try:
        assert torch.autograd.gradcheck(function, inputs)
        assert torch.autograd.gradgradcheck(function, inputs)
    finally:
        torch.set_num_threads(1)


def test_energies_are_forces_integrals_by_finite_differences(tmp_path, double):
    spec = {"name": "e", "architecture": "egnn", "cutoff": CUTOFF, "layers": 3, "width": 16}
    graph = make_store(make_frames(1), tmp_path, CUTOFF).batch(torch.arange(1)).graph
    model, step = network(spec).double().eval(), 1e-5
    with torch.no_grad():
        forces = model(graph).vectors
        for atom, axis in ((0, 0), (5, 2), (17, 1)):
            shift = torch.zeros_like(graph.positions)
            shift[atom, axis] = step
            up, down = (model(graph.with_positions(graph.positions + s * shift)).energies.sum() for s in (1, -1))
            assert float(forces[atom, axis]) == pytest.approx(float(down - up) / (2 * step), abs=1e-8)


def test_forces_of_a_force_centric_network_may_be_differentiated_in_the_positions(tmp_path, double):
    """Weights that depend on positions are not the kernels' business: plain PyTorch takes over."""
    for name in ("gns", "forcenet"):
        model = network({"name": name, "architecture": name, "cutoff": CUTOFF, "layers": 2, "width": 16}).eval()
        graph = make_store(make_frames(1), tmp_path, CUTOFF).batch(torch.arange(1)).graph
        positions = graph.positions.requires_grad_()
        (ours,) = torch.autograd.grad(model(graph).vectors.square().sum(), positions)
        with library.plain():
            (theirs,) = torch.autograd.grad(model(graph).vectors.square().sum(), positions)
        torch.testing.assert_close(ours, theirs)


def test_counted_flops_do_not_depend_on_who_computes(tmp_path):
    spec = {"name": "g", "architecture": "gns", "cutoff": CUTOFF, "layers": 2, "width": 16}
    store, model = make_store(make_frames(2), tmp_path, CUTOFF), network(spec)
    task = (cls := load("task", "potential"))(cls.Options())
    ours = flops_per_structure(model, task, store, 2)
    with library.plain():
        assert flops_per_structure(model, task, store, 2) == ours
    # Three products an edge and layer, forward and twice backward, are most of it.
    assert ours > 0.5 * 9 * 2 * 16**2 * 2 * len(store.senders) / 2


def run_python(code: str, tmp_path: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    variables = {**os.environ, "XDG_CACHE_HOME": str(tmp_path), "OMP_NUM_THREADS": "1", **environment}
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=variables, check=True)


USE = "import torch\nfrom priorbench.kernels.library import in_use\nprint(in_use('cpu'))"


def test_without_a_compiler_one_line_says_so(tmp_path):
    done = run_python(USE, tmp_path, CC="no-such-compiler")
    assert done.stdout.strip() == "plain"
    assert len(done.stderr.splitlines()) == 1
    assert "no C compiler" in done.stderr


def test_a_compiler_that_fails_is_named_with_its_error(tmp_path):
    compiler = tmp_path / "cc"
    compiler.write_text("#!/bin/sh\necho 'edges.c: error: cannot do this' >&2\nexit 1\n")
    compiler.chmod(0o755)
    done = run_python(USE, tmp_path, CC=str(compiler))
    assert done.stdout.strip() == "plain"
    assert "cannot do this" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not list(tmp_path.rglob("*.so"))


def test_kernels_can_be_switched_off(tmp_path):
    done = run_python(USE, tmp_path, PRIORBENCH_KERNELS="plain")
    assert (done.stdout.strip(), done.stderr) == ("plain", "")


def test_compiled_once_and_found_again(tmp_path):
    assert run_python(USE, tmp_path).stdout.strip() == "compiled"
    (built,) = tmp_path.rglob("*.so")
    before = built.stat().st_mtime_ns
    assert run_python(USE, tmp_path, PATH="").stdout.strip() == "plain", "the compiler is part of what is looked up"
    assert run_python(USE, tmp_path).stdout.strip() == "compiled"
    assert built.stat().st_mtime_ns == before


def test_a_damaged_library_is_said_not_crashed_on(tmp_path):
    run_python(USE, tmp_path)
    (built,) = tmp_path.rglob("*.so")
    built.write_bytes(b"not a library")
    done = run_python(USE, tmp_path)
    assert done.stdout.strip() == "plain"
    assert str(built) in done.stderr


def test_everything_that_is_read_at_run_time_is_packaged():
    root = Path(__file__).parents[2]
    patterns = tomllib.loads((root / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]["priorbench"]
    package = root / "src" / "priorbench"
    packaged = {file for pattern in patterns for file in package.glob(pattern)}
    files = {f for f in package.rglob("*") if f.is_file() and f.suffix not in (".py", ".pyc")}
    assert files == packaged
