"""Every symmetry that a backbone declares holds; every one it does not declare is broken."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from priorbench.frames import Frames
from priorbench.graph import Graph
from tests.conftest import make_frames, make_store, random_rotation
from tests.networks import every_network, network

pytestmark = pytest.mark.usefixtures("double")
SYMMETRIES = ("permutation", "translation", "wrapping", "rotation", "inversion")


def graph_of(frames: Frames, tmp_path) -> Graph:
    return make_store(frames, tmp_path).batch(torch.arange(len(frames))).graph


def transformed(frames: Frames, symmetry: str) -> tuple[Frames, np.ndarray, np.ndarray]:
    """Frames after the operation, the matrix that vectors turn by, and the order of the atoms in it."""
    rng = np.random.default_rng(1)
    turn, order, n = np.eye(3), np.arange(len(frames.positions)), len(frames.positions)
    positions, cells = frames.positions, frames.cells
    if symmetry == "permutation":
        order = np.concatenate([rng.permutation(np.arange(*frames.offsets[s : s + 2])) for s in range(len(frames))])
    elif symmetry == "translation":
        positions = positions + np.array([0.3, -0.7, 1.1])
    elif symmetry == "wrapping":
        owner = np.repeat(np.arange(len(frames)), frames.sizes)
        positions = positions + np.einsum("nk,nkc->nc", rng.integers(-2, 3, (n, 3)), cells[owner])
    elif symmetry == "rotation":
        turn = random_rotation(rng)
    elif symmetry == "inversion":
        turn = -np.eye(3)
    changed = replace(
        frames,
        positions=(positions @ turn.T)[order],
        cells=cells @ turn.T,
        atomic_numbers=frames.atomic_numbers[order],
        forces=frames.forces[order],
        molecules=frames.molecules[order],
    )
    return changed, turn, order


@pytest.mark.parametrize("symmetry", SYMMETRIES)
@every_network
def test_declared_symmetries_hold_and_others_are_broken(spec, symmetry, tmp_path):
    frames = make_frames(2, seed=3)
    model = network(spec).eval()
    changed, turn, order = transformed(frames, symmetry)
    before, after = model(graph_of(frames, tmp_path)), model(graph_of(changed, tmp_path))
    expected = (before.vectors @ torch.tensor(turn).T)[order]
    off = max(
        ((after.energies - before.energies).abs().max() / before.energies.abs().max()).item(),
        ((after.vectors - expected).abs().max() / expected.abs().max()).item(),
    )
    if symmetry in model.symmetries:
        assert off < 1e-8
    else:
        assert off > 1e-4


@every_network
def test_forces_are_the_numerical_gradient_of_the_energy_where_a_network_is_conservative(spec, tmp_path):
    model = network(spec).eval()
    graph = graph_of(make_frames(1, seed=5), tmp_path)
    vectors, step, off = model(graph).vectors.detach(), 1e-5, []
    for atom, axis in ((0, 0), (7, 1), (20, 2)):
        energies = []
        for sign in (1, -1):
            moved = graph.positions.clone()
            moved[atom, axis] += sign * step
            energies.append(model(graph.with_positions(moved)).energies[0].item())
        numerical = -(energies[0] - energies[1]) / (2 * step)
        off.append(abs(numerical - vectors[atom, axis].item()) / float(vectors.abs().max()))
    assert max(off) < 1e-7 if model.conservative else max(off) > 1e-6


@every_network
def test_a_batch_gives_what_its_structures_give_one_by_one(spec, tmp_path):
    model = network(spec).eval()
    store = make_store(make_frames(3), tmp_path)
    together = model(store.batch(torch.arange(3)).graph)
    alone = [model(store.batch(torch.tensor([s])).graph) for s in range(3)]
    torch.testing.assert_close(together.energies, torch.cat([a.energies for a in alone]))
    torch.testing.assert_close(together.vectors, torch.cat([a.vectors for a in alone]))


@every_network
def test_elements_are_told_apart(spec, tmp_path):
    model = network(spec).eval()
    graph = graph_of(make_frames(1), tmp_path)
    energies = [
        model(replace(graph, atomic_numbers=torch.where(graph.atomic_numbers == 8, z, 1))).energies[0].item()
        for z in (6, 7, 8, 16, 26)
    ]
    assert len({round(e, 9) for e in energies}) == len(energies)


def test_no_edge_crosses_between_structures(tmp_path):
    graph = make_store(make_frames(3), tmp_path).batch(torch.tensor([2, 0, 2])).graph
    assert (graph.structure[graph.senders] == graph.structure[graph.receivers]).all()
    assert (graph.receivers.diff() >= 0).all()
