"""The denoising task: Gaussian noise, fresh edges, noise in units of σ as target."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from priorbench.neighbours import neighbour_list
from priorbench.tasks import denoising
from priorbench.tasks.denoising import Denoising, DenoisingOptions, reach_of
from priorbench.tasks.masking_denoising import MaskingDenoising, MaskingDenoisingOptions
from tests.conftest import make_frames, make_store


@pytest.mark.parametrize(
    ("sigma", "reach"), [(0.02, 0.0), (0.02, 0.22), (0.05, 0.55), (0.05, 0.3), (0.1, 1.1), (0.2, 0.0), (1.0, 0.0)]
)
def test_target_and_edges(tmp_path, sigma, reach):
    frames = make_frames(4)
    batch = make_store(frames, tmp_path, reach=reach).batch(torch.arange(4))
    example = Denoising(DenoisingOptions(sigma=sigma)).corrupt(batch, torch.Generator().manual_seed(0))
    moved = example.graph.positions - batch.graph.positions
    torch.testing.assert_close(moved, sigma * example.vectors, atol=2e-6, rtol=0)
    assert float(example.vectors.std()) == pytest.approx(1, abs=0.1)
    own = example.graph.structure == 2
    first = int(own.nonzero()[0])
    edges = own[example.graph.receivers]
    assert (example.graph.receivers.diff() >= 0).all()
    positions = example.graph.positions[own].double().numpy()
    senders, receivers, shifts = neighbour_list(positions, frames.cells[2], frames.pbc[2], batch.cutoff)
    cells = np.rint(example.graph.shifts[edges].numpy() @ np.linalg.inv(frames.cells[2])).astype(int)
    np.testing.assert_allclose(example.graph.shifts[edges].numpy(), cells @ frames.cells[2], atol=1e-5)
    found = np.column_stack([example.graph.receivers[edges] - first, example.graph.senders[edges] - first, cells])
    assert set(map(tuple, found)) == set(map(tuple, np.column_stack([receivers, senders, shifts])))
    assert len(found) == len(senders)


def test_noise_is_redrawn(tmp_path):
    batch = make_store(make_frames(1), tmp_path).batch(torch.tensor([0]))
    generator = torch.Generator().manual_seed(0)
    task = Denoising(DenoisingOptions())
    assert not torch.equal(task.corrupt(batch, generator).vectors, task.corrupt(batch, generator).vectors)


def test_what_the_lists_reach_saves_the_search(tmp_path, monkeypatch):
    searches = []
    search = denoising.with_fresh_edges
    monkeypatch.setattr(denoising, "with_fresh_edges", lambda *given: searches.append(1) or search(*given))
    frames = make_frames(4)

    def visits(sigma, reach):
        searches.clear()
        batch = make_store(frames, tmp_path, reach=reach).batch(torch.arange(4))
        draws = torch.Generator().manual_seed(0)
        for _ in range(50):
            Denoising(DenoisingOptions(sigma=sigma)).corrupt(batch, draws)
        return len(searches)

    assert visits(0.05, reach_of(0.05)) == 0
    assert visits(0.1, reach_of(0.1)) == 0
    assert visits(0.05, 0.1) == 50
    assert 0 < visits(0.05, 0.38) < 50
    assert reach_of(0.5) == 0, "lists of twice the cutoff cost more than a search"


def test_the_numbers_do_not_depend_on_how_edges_are_found(tmp_path):
    frames, structures = make_frames(4), torch.arange(4)
    for task in (
        Denoising(DenoisingOptions(sigma=0.05)),
        MaskingDenoising(MaskingDenoisingOptions(sigma=0.05, ratio=0.5)),
    ):
        assert task.reach == reach_of(0.05) > 0
        wide, exact = (
            task.corrupt(make_store(frames, tmp_path, reach=r).batch(structures), torch.Generator().manual_seed(0))
            for r in (task.reach, 0.0)
        )
        assert torch.equal(wide.vectors, exact.vectors)
        assert torch.equal(wide.graph.positions, exact.graph.positions)
        assert edges(wide.graph) == edges(exact.graph)


@pytest.mark.parametrize("pbc", [(True,) * 3, (True, True, False), (False,) * 3])
@pytest.mark.parametrize("skewed", [False, True])
def test_all_pairs_are_the_search(tmp_path, pbc, skewed):
    """In cells twice the cutoff wide, atoms far outside of them included."""
    frames = make_frames(3, side=2)
    frames.cells[:, 1, 0] = 2.0 * skewed
    frames.cells[:, 2, 1] = -1.5 * skewed
    frames.pbc[:] = pbc
    graph = make_store(frames, tmp_path, cutoff=2.5).batch(torch.arange(3)).graph
    whole = torch.randint(-2, 3, (graph.atoms, 3), generator=torch.Generator().manual_seed(0)) * graph.pbc[0]
    far = torch.einsum("ac,ack->ak", whole.float(), graph.cells[graph.structure])
    noise = torch.randn(graph.positions.shape, generator=torch.Generator().manual_seed(1))
    moved = graph.with_positions(graph.positions + far + noise)
    assert denoising.wide_enough(moved, 2.5)
    found, expected = denoising.with_edges_of_all_pairs(moved, 2.5), denoising.with_fresh_edges(moved, 2.5)
    assert len(expected.senders) > 100
    assert (found.receivers.diff() >= 0).all()
    assert edges(found) == edges(expected)


def test_all_pairs_do_for_wide_cells_alone(tmp_path):
    frames = make_frames(3, side=2)
    graph = make_store(frames, tmp_path, cutoff=2.5).batch(torch.arange(3)).graph
    width = float(frames.cells[:, 0, 0].min())
    assert denoising.wide_enough(graph, 0.499 * width)
    assert not denoising.wide_enough(graph, 0.501 * width)
    assert denoising.wide_enough(replace(graph, pbc=torch.zeros_like(graph.pbc)), 0.501 * width)
    slanted = graph.cells.clone()
    slanted[:, 0, 1] = 2 * width  # as long as before along x, but its faces are closer
    assert not denoising.wide_enough(replace(graph, cells=slanted), 0.499 * width)


def edges(graph):
    """Every edge: receiver, sender, shift (Å, rounded)."""
    shifts = (graph.shifts * 1000).round().long()
    return sorted(torch.column_stack([graph.receivers, graph.senders, shifts]).tolist())
