"""The engine agrees with the plain PyTorch Geometric implementation in benchmarks/textbook, which shares no code."""

import math
import sys
import warnings
from pathlib import Path
from typing import Any

import ase.build
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from priorbench.config import Training
from priorbench.datasets.blocks import Block, assemble
from priorbench.frames import Frames
from priorbench.neighbours import Neighbours, build, neighbour_list
from priorbench.registry import load
from priorbench.tasks.base import Example, Task
from priorbench.tasks.denoising import Denoising, DenoisingOptions
from priorbench.tasks.masking import Masking, MaskingOptions
from priorbench.tasks.potential import Potential, PotentialOptions
from priorbench.training.labels import Labels
from priorbench.training.optimiser import Adam
from priorbench.training.step import accumulate
from priorbench.training.store import Store
from tests.conftest import HOH, OH, make_frames, one_structure
from tests.networks import CUTOFF, network, specs

ROOT = str(Path(__file__).parents[2])
if ROOT not in sys.path:  # it is where `python -m pytest` runs, but not with `pytest` alone
    sys.path.append(ROOT)
with warnings.catch_warnings():
    # PyG compiles some of its classes with torch.jit.script, which PyTorch is giving up.
    warnings.filterwarnings("ignore", "`torch.jit", DeprecationWarning)
    from torch_geometric.data import Batch, Data

    from benchmarks import textbook

TASKS: dict[str, Task] = {
    "masking": Masking(MaskingOptions(ratio=0.5)),
    "denoising": Denoising(DenoisingOptions(sigma=0.05)),
    "potential": Potential(PotentialOptions()),
}
every_task = pytest.mark.parametrize("task", TASKS)
# A backbone may do without a textbook version.
every_network = pytest.mark.parametrize(
    "spec", [s for s in specs() if load("backbone", s.values[0]["architecture"]).__name__ in textbook.NETWORKS]
)
WHOLE = 10**9  # edges of a part


def mixed_frames() -> Frames:
    """Water boxes of 24, 81, 3 and 24 atoms; in the smallest, 3.1 Å wide, atoms are neighbours of their own images."""
    frames = [make_frames(1, seed=seed, side=side) for seed, side in enumerate((2, 3, 1, 2))]
    fields = ("positions", "forces", "energies", "cells", "pbc", "atomic_numbers", "offsets", "groups")
    blocks = [Block(**{name: getattr(f, name) for name in fields}) for f in frames]
    return assemble(blocks, {"source": "tests", "subsystems": ["box"]})


def inputs_of(frames: Frames, folder: Path) -> tuple[Frames, Neighbours, Labels, NDArray[np.int64]]:
    """What both a store and a textbook dataset are made of: all structures of ``frames``."""
    frames.save(folder / "frames.safetensors")
    build(folder / "frames.safetensors", CUTOFF, folder / "neighbours.safetensors")
    saved = Frames.load(folder / "frames.safetensors")
    neighbours = Neighbours.load(folder / "neighbours.safetensors", saved.metadata["hash"], CUTOFF)
    structures = np.arange(len(saved))
    return saved, neighbours, Labels.fit(saved, structures), structures


def store_of(frames: Frames, folder: Path) -> Store:
    saved, neighbours, labels, structures = inputs_of(frames, folder)
    return Store.build(saved, neighbours, structures, labels)


def corrupted(task: Task, store: Store, seed: int = 0) -> Example:
    """All structures of the store in one batch."""
    return task.corrupt(store.batch(torch.arange(len(store))), draws(seed))


def draws(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def silent(phase: str) -> None:
    """Watch of a step that tells nobody."""


def gradients(model: nn.Module) -> dict[str, Tensor]:
    """By the parameters' names; a parameter that the loss does not know has gradient zero."""
    return {n: torch.zeros_like(p) if p.grad is None else p.grad for n, p in model.named_parameters()}


def assert_same(ours: dict[str, Tensor], theirs: dict[str, Tensor], relative: float) -> None:
    """Every tensor, to within a part of the largest element among those of its module.

    A bias before a BatchNorm has gradient zero and is nothing but rounding errors of its weight's.
    """
    assert ours.keys() == theirs.keys()
    largest: dict[str, float] = {}
    for name, tensor in theirs.items():
        module = name.rpartition(".")[0] or name
        largest[module] = max(largest.get(module, 0.0), float(tensor.detach().abs().max()))
    for name, expected in theirs.items():
        allowed = relative * largest[name.rpartition(".")[0] or name]
        torch.testing.assert_close(ours[name], expected, rtol=0, atol=allowed, msg=lambda text, n=name: f"{n}: {text}")


def assert_same_predictions(ours: nn.Module, theirs: nn.Module, example: Example, relative: float) -> None:
    energies, vectors = theirs(textbook.from_example(example))
    expected = {"energies": energies, "vectors": vectors}
    assert_same(ours(example.graph)._asdict(), expected, relative)


def assert_same_step(spec: dict[str, Any], task: str, folder: Path, edges: int, relative: float) -> None:
    """Predictions, loss, gradients and batch statistics of one training step, and predictions after it."""
    example, ours = corrupted(TASKS[task], store_of(mixed_frames(), folder)), network(spec).train()
    theirs = textbook.network(ours)
    assert_same_predictions(ours, theirs, example, relative)
    value = accumulate(ours, TASKS[task], example, silent, edges=edges)
    expected = textbook.loss(task, theirs, textbook.from_example(example))
    expected.backward()
    torch.testing.assert_close(value, expected.detach(), rtol=relative, atol=0)
    assert_same(gradients(ours), gradients(theirs), relative)
    assert_same(ours.state_dict(), theirs.state_dict(), relative)  # batch statistics
    assert_same_predictions(ours.eval(), theirs.eval(), example, relative)


@pytest.mark.usefixtures("double")
@pytest.mark.parametrize("edges", [WHOLE, 1], ids=["whole", "parts"])
@every_task
@every_network
def test_a_step_in_double_precision(spec, task, edges, tmp_path):
    assert_same_step(spec, task, tmp_path, edges, relative=1e-9)


@pytest.mark.parametrize("edges", [WHOLE, 1], ids=["whole", "parts"])
@every_task
@every_network
def test_a_step_in_single_precision(spec, task, edges, tmp_path):
    assert_same_step(spec, task, tmp_path, edges, relative=1e-4)


@pytest.mark.usefixtures("double")
@pytest.mark.parametrize(("task", "kind"), [*((name, "adamw") for name in TASKS), ("potential", "adam")])
@every_network
def test_several_steps_end_at_the_same_weights(spec, task, kind, tmp_path):
    training = Training(epochs=1, optimiser=kind, weight_decay=0.01, gradient_clip=1.0)
    store, ours = store_of(mixed_frames(), tmp_path), network(spec).train()
    theirs = textbook.network(ours)
    start = {name: value.clone() for name, value in ours.state_dict().items()}
    adam, optimiser = Adam(ours.parameters(), training), textbook.optimiser(theirs, training)
    for step in range(3):
        example = corrupted(TASKS[task], store, seed=step)
        adam.clear_gradients()
        accumulate(ours, TASKS[task], example, silent, edges=1)
        adam.gradient_norm(training.gradient_clip)
        adam.step(training.learning_rate)
        optimiser.zero_grad()
        textbook.loss(task, theirs, textbook.from_example(example)).backward()
        nn.utils.clip_grad_norm_(theirs.parameters(), training.gradient_clip)
        optimiser.step()
    assert_same(ours.state_dict(), theirs.state_dict(), relative=1e-6)
    assert any(not torch.equal(start[name], value) for name, value in theirs.state_dict().items())


def test_an_untouched_dataset_has_the_numbers_of_a_store(tmp_path):
    inputs = inputs_of(mixed_frames(), tmp_path)
    saved, neighbours, labels, structures = inputs
    dataset = textbook.dataset(*inputs, TASKS["potential"])
    example = corrupted(TASKS["potential"], Store.build(saved, neighbours, structures, labels))
    assert_same_data(Batch.from_data_list(list(dataset)), textbook.from_example(example))


def assert_same_data(ours: Data, theirs: Data) -> None:
    for name, expected in theirs.to_dict().items():
        torch.testing.assert_close(ours[name], expected, rtol=1e-5, atol=1e-5, msg=lambda text, n=name: f"{n}: {text}")


@pytest.mark.usefixtures("double")
def test_a_masked_structure_has_lost_hydrogens_and_their_edges(tmp_path):
    saved, *rest = inputs_of(mixed_frames(), tmp_path)
    task = Masking(MaskingOptions(ratio=0.3))
    for s, data in enumerate(textbook.dataset(saved, *rest, task)):
        molecules = int(saved.sizes[s]) // 3
        masked = int(0.3 * molecules)
        assert data.num_nodes == 3 * molecules - masked
        assert int((data.z == 8).sum()) == molecules
        assert int(data.target_mask.sum()) == 2 * masked
        assert torch.equal(data.lost, data.target_mask.long())
        assert not data.target[~data.target_mask].any()
        lengths, oxygen = data.target.norm(dim=1), data.z == 8
        torch.testing.assert_close(lengths[data.target_mask & oxygen], torch.full((masked,), OH))
        torch.testing.assert_close(
            lengths[data.target_mask & ~oxygen], torch.full((masked,), 2 * OH * math.sin(HOH / 2))
        )
        senders, receivers, cells = neighbour_list(data.pos.numpy(), saved.cells[s], saved.pbc[s], CUTOFF)
        assert data.edge_index.tolist() == [senders.tolist(), receivers.tolist()]
        torch.testing.assert_close(data.shift, torch.tensor(cells @ saved.cells[s]))


@pytest.mark.usefixtures("double")
@pytest.mark.parametrize("molecule", [None, "CH3CH2OH"])
def test_masking_the_same_hydrogens_gives_the_same_example(molecule, monkeypatch, tmp_path):
    frames = make_frames(1, side=3) if molecule is None else alone(molecule)
    task, store = Masking(MaskingOptions(ratio=0.8)), store_of(frames, tmp_path)
    dataset = textbook.dataset(*inputs_of(frames, tmp_path), task)
    for seed in range(5):
        heavy, hydrogens = task._draw(store.batch(torch.tensor([0])), draws(seed))
        drawn = dict(zip(heavy.tolist(), hydrogens.tolist(), strict=True))
        monkeypatch.setattr(dataset.transform, "draw", lambda *_, drawn=drawn: drawn)
        assert_same_data(Batch.from_data_list([dataset[0]]), textbook.from_example(corrupted(task, store, seed)))


@pytest.mark.usefixtures("double")
def test_masking_every_hydrogen_as_released_gives_the_same_example(tmp_path):
    task = Masking(MaskingOptions(ratio=1.0, rule="released"))
    dataset = textbook.dataset(*inputs_of(alone("CH3CH2OH"), tmp_path), task)
    example = corrupted(task, store_of(alone("CH3CH2OH"), tmp_path))
    assert_same_data(Batch.from_data_list([dataset[0]]), textbook.from_example(example))


def alone(molecule: str) -> Frames:
    atoms = ase.build.molecule(molecule)
    return one_structure(atoms.positions, np.zeros((3, 3)), atoms.numbers.tolist(), periodic=False)


@pytest.mark.usefixtures("double")
def test_a_noisy_structure_is_moved_by_its_target(tmp_path):
    saved, *rest = inputs_of(mixed_frames(), tmp_path)
    data = textbook.dataset(saved, *rest, Denoising(DenoisingOptions(sigma=0.1)))[1]
    clean = torch.tensor(saved.positions[saved.atoms_of(1)])
    torch.testing.assert_close(data.pos, clean + 0.1 * data.target)
    assert 0.8 < float(data.target.std()) < 1.2
    lengths = (data.pos[data.edge_index[0]] - data.pos[data.edge_index[1]] + data.shift).norm(dim=1)
    assert float(lengths.max()) < CUTOFF
    assert data.num_edges == len(neighbour_list(data.pos.numpy(), saved.cells[1], saved.pbc[1], CUTOFF)[0])


@every_task
def test_the_loader_visits_every_structure_in_the_order_of_its_seed(task, tmp_path):
    dataset = textbook.dataset(*inputs_of(make_frames(5), tmp_path), TASKS[task])
    with torch.random.fork_rng():
        cells = [[len(batch.cell) for batch in textbook.loader(dataset, 2, seed)] for seed in (0, 0, 1)]
    assert cells == [[2, 2, 1]] * 3
    plain = textbook.dataset(*inputs_of(make_frames(5), tmp_path), TASKS["potential"])
    first, again, other = [[e for b in textbook.loader(plain, 2, seed) for e in b.y.tolist()] for seed in (0, 0, 1)]
    assert first == again != other
    assert sorted(first) == sorted(other) == sorted(float(data.y) for data in plain)


@every_task
@every_network
def test_a_batch_of_the_loader_can_be_trained_on(spec, task, tmp_path):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        dataset = textbook.dataset(*inputs_of(mixed_frames(), tmp_path), TASKS[task])
        (batch,) = textbook.loader(dataset, 4, seed=0)
    model = textbook.network(network(spec))
    value = textbook.loss(task, model, batch)
    value.backward()
    assert torch.isfinite(value)
    assert all(torch.isfinite(gradient).all() for gradient in gradients(model).values())
