"""The denoising task: Gaussian noise, fresh edges, noise in units of σ as target."""

import numpy as np
import pytest
import torch

from priorbench.neighbours import neighbour_list
from priorbench.tasks.denoising import Denoising, DenoisingOptions
from tests.conftest import make_frames, make_store


@pytest.mark.parametrize("sigma", [0.02, 0.05, 0.2, 1.0])
def test_target_and_edges(tmp_path, sigma):
    frames = make_frames(4)
    batch = make_store(frames, tmp_path).batch(torch.arange(4))
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
