"""Masking and denoising at once: who is asked what, edges of the noisy structure, and the sum of both losses."""

import numpy as np
import pytest
import torch

from priorbench.backbones.base import Prediction
from priorbench.errors import PriorbenchError
from priorbench.neighbours import neighbour_list
from priorbench.tasks.base import loss
from priorbench.tasks.masking import Masking, MaskingOptions
from priorbench.tasks.masking_denoising import MaskingDenoising, MaskingDenoisingOptions
from priorbench.training.step import parts_of
from tests.conftest import make_frames, make_store

SIGMA = 0.15


def task(**options) -> MaskingDenoising:
    return MaskingDenoising(MaskingDenoisingOptions(**{"sigma": SIGMA, **options}))


def draws(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def store(tmp_path):
    return make_store(make_frames(3), tmp_path)


def test_atoms_of_masked_molecules_point_and_all_others_have_their_noise(store):
    batch = store.batch(torch.arange(3))
    example = task().corrupt(batch, draws())
    masked = Masking(MaskingOptions()).corrupt(batch, draws())
    assert torch.equal(example.selected, masked.selected)
    assert torch.equal(example.graph.lost, masked.graph.lost)
    noise = (example.graph.positions - masked.graph.positions) / SIGMA
    pointing = example.graph.lost.bool()
    torch.testing.assert_close(example.vectors[~pointing], noise[~pointing], atol=2e-5, rtol=0)
    # From where the atom is now to where the hydrogen was.
    hydrogens = masked.graph.positions + masked.vectors
    seen = example.graph.positions + example.vectors
    torch.testing.assert_close(seen[pointing], hydrogens[pointing], atol=2e-6, rtol=0)


def test_the_noise_has_the_size_that_is_said_on_every_atom_left(store):
    batch, generator = store.batch(torch.arange(3)), draws()
    moved = []
    for _ in range(20):
        example = task().corrupt(batch, generator)
        target = example.vectors[~example.graph.lost.bool()]
        moved.append(target.square().mean())
    # 20 visits of 36 atoms: a standard deviation of 0.03.
    assert float(torch.stack(moved).mean()) == pytest.approx(1, abs=0.1)


def test_edges_are_those_of_the_noisy_atoms_left(store):
    frames = make_frames(3)
    example = task().corrupt(store.batch(torch.arange(3)), draws())
    dropped = Masking(MaskingOptions()).corrupt(store.batch(torch.arange(3)), draws())
    assert len(dropped.graph.senders) != len(example.graph.senders)
    own = example.graph.structure == 1
    first, edges = int(own.nonzero()[0]), own[example.graph.receivers]
    positions = example.graph.positions[own].double().numpy()
    senders, receivers, shifts = neighbour_list(positions, frames.cells[1], frames.pbc[1], store.cutoff)
    cells = np.rint(example.graph.shifts[edges].numpy() @ np.linalg.inv(frames.cells[1])).astype(int)
    found = np.column_stack([example.graph.receivers[edges] - first, example.graph.senders[edges] - first, cells])
    assert sorted(map(tuple, found)) == sorted(map(tuple, np.column_stack([receivers, senders, shifts])))


def test_the_loss_is_the_weighted_sum_of_both_means(store):
    both = task(masking_weight=2.0, denoising_weight=3.0)
    example = both.corrupt(store.batch(torch.arange(2)), draws())
    pointing = example.graph.lost.bool()
    # Perpendicular to every direction (cosine 0), and every component of the noise off by 0.5.
    sideways = torch.linalg.cross(example.vectors, torch.tensor([[0.3, -0.7, 0.2]]).expand_as(example.vectors))
    prediction = Prediction(torch.zeros(2), torch.where(pointing[:, None], sideways, example.vectors + 0.5))
    counts = both.counts(example)
    # Two boxes of eight molecules, four of each masked.
    assert counts == {"cosine": 2 * 4 * 2, "noise": 3 * 2 * 4 * 3}
    value = loss(both, both.terms(prediction, example), counts)
    assert float(value) == pytest.approx(2.0 * 1 + 3.0 * 0.25, rel=1e-5)


def test_the_loss_of_a_batch_is_the_sum_over_its_parts(store):
    both = task()
    example = both.corrupt(store.batch(torch.arange(3)), draws())
    vectors = torch.randn(example.vectors.shape, generator=draws(1))
    counts, atoms, total = both.counts(example), torch.bincount(example.graph.structure).tolist(), 0.0
    for part, own in zip(parts_of(example, 1), vectors.split(atoms), strict=True):
        total += float(loss(both, both.terms(Prediction(torch.zeros(1), own), part), counts))
    whole = loss(both, both.terms(Prediction(torch.zeros(3), vectors), example), counts)
    assert total == pytest.approx(float(whole), rel=1e-5)


def test_where_every_molecule_is_masked_only_directions_are_asked(store):
    both = task(ratio=1.0)
    example = both.corrupt(store.batch(torch.arange(2)), draws())
    terms = both.terms(Prediction(torch.zeros(2), example.vectors), example)
    assert both.counts(example)["noise"] == 0
    assert float(loss(both, terms, both.counts(example))) == pytest.approx(0, abs=1e-6)


def test_a_ratio_that_masks_nothing_is_refused_and_there_is_no_floor(store):
    with pytest.raises(PriorbenchError, match=r"ratio 0\.1 would mask nothing"):
        task(ratio=0.1).check(store)
    assert task().check(store) == 0
    assert task().floor(store, "vector") is None
