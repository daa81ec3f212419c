"""Schedule, labels, counted FLOPs and the loss of whole splits."""

import itertools
import math

import numpy as np
import pytest
import torch

from priorbench.backbones.base import Prediction
from priorbench.config import Training
from priorbench.errors import PriorbenchError
from priorbench.neighbours import neighbour_list
from priorbench.tasks.base import loss
from priorbench.tasks.masking import Masking, MaskingOptions
from priorbench.tasks.potential import Potential, PotentialOptions
from priorbench.training.flops import FlopCounter, flops_per_structure
from priorbench.training.labels import Labels
from priorbench.training.loop import cosine, validate
from tests.conftest import make_frames, make_store
from tests.networks import every_network, network


def test_half_cosine_from_first_to_last():
    rates = [cosine(step, 101, 1e-3, 1e-5) for step in range(101)]
    assert rates[0] == pytest.approx(1e-3)
    assert rates[50] == pytest.approx((1e-3 + 1e-5) / 2)
    assert rates[100] == pytest.approx(1e-5)
    assert all(b < a for a, b in itertools.pairwise(rates))


def test_labels_have_unit_forces_and_energies_free_of_composition():
    frames = make_frames(6)
    labels = Labels.fit(frames, np.arange(4))
    train = np.concatenate([frames.forces[frames.atoms_of(s)] for s in range(4)])
    assert labels.scale == pytest.approx(np.sqrt(np.mean(train**2)))
    rest = frames.energies[:4] - labels.reference_energies(frames, np.arange(4))
    assert rest.mean() == pytest.approx(0, abs=1e-8)
    assert np.ptp(rest) == pytest.approx(np.ptp(frames.energies[:4]))


def test_labels_come_from_the_training_structures_alone():
    frames = make_frames(6)
    frames.forces[frames.atoms_of(5)] *= 100
    frames.energies[5] += 1e6
    assert Labels.fit(frames, np.arange(4)) == Labels.fit(make_frames(6), np.arange(4))


def test_zero_forces_cannot_be_scaled():
    frames = make_frames(2)
    frames.forces[:] = 0
    with pytest.raises(PriorbenchError, match="every training force is zero"):
        Labels.fit(frames, np.arange(2))


@every_network
def test_validation_loss_does_not_depend_on_batches(spec, tmp_path):
    store, model = make_store(make_frames(5), tmp_path, spec["cutoff"]), network(spec)
    rows = [
        validate(model, Potential(PotentialOptions()), store, Training(epochs=1, batch_size=b), 0) for b in (1, 2, 5)
    ]
    for row in rows[1:]:
        assert row["val_loss"] == pytest.approx(rows[0]["val_loss"], rel=1e-5)
        assert row["val_force_rmse"] == pytest.approx(rows[0]["val_force_rmse"], rel=1e-5)


def test_batch_norm_in_training_spans_the_whole_batch(tmp_path):
    from tests.networks import CUTOFF

    spec = {"name": "f", "architecture": "forcenet", "cutoff": CUTOFF, "layers": 1, "width": 16, "frequencies": 4}
    store, model = make_store(make_frames(2), tmp_path), network(spec).train()
    norm = next(m for m in model.modules() if isinstance(m, torch.nn.BatchNorm1d))
    seen = []
    norm.register_forward_hook(lambda module, inputs, output: seen.append(inputs[0].detach()))
    model(store.batch(torch.arange(2)).graph)
    assert len(seen[0]) == 2 * 24
    torch.testing.assert_close(norm.running_mean, 0.1 * seen[0].mean(0))


def test_flop_counter_counts_products_forward_and_backward():
    linear, x = torch.nn.Linear(7, 11), torch.randn(5, 7, requires_grad=True)
    with FlopCounter() as counter:
        linear(x).sum().backward()
    assert counter.total == 3 * 2 * 5 * 7 * 11


@every_network
def test_a_masking_step_costs_less_than_a_finetuning_step_and_probing_leaves_no_trace(spec, tmp_path):
    store, model = make_store(make_frames(4), tmp_path, spec["cutoff"]), network(spec)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    masking = flops_per_structure(model, Masking(MaskingOptions()), store, 2)
    potential = flops_per_structure(model, Potential(PotentialOptions()), store, 2)
    assert 0.4 * potential < masking < 0.95 * potential
    assert all(torch.equal(before[k], v) for k, v in model.state_dict().items())
    assert all(p.grad is None for p in model.parameters())


def test_potential_loss_by_hand(tmp_path):

    task = Potential(PotentialOptions(energy_weight=2.0, force_weight=10.0))
    example = task.corrupt(make_store(make_frames(2), tmp_path).batch(torch.arange(2)), torch.Generator())
    prediction = Prediction(example.energies + torch.tensor([0.5, -1.5]), example.vectors + 0.1)
    terms = task.terms(prediction, example)
    assert float(loss(task, terms, task.counts(example))) == pytest.approx(2 * 1.0 + 10 * 0.1, rel=1e-4)
    squared = float(terms["energy_squared"]) / task.counts(example)["energy_squared"]
    assert math.sqrt(squared) == pytest.approx(math.sqrt((0.5**2 + 1.5**2) / 2) / 24, rel=1e-4)


def test_a_batch_has_the_edges_of_its_structures_in_wide_integers(tmp_path):
    frames = make_frames(4)
    store = make_store(frames, tmp_path)
    graph = store.batch(torch.tensor([2, 0])).graph
    assert graph.senders.dtype == graph.receivers.dtype == torch.int64
    positions = [frames.positions[frames.atoms_of(s)] for s in (2, 0)]
    lists = [
        neighbour_list(p, frames.cells[s], frames.pbc[s], store.cutoff) for p, s in zip(positions, (2, 0), strict=True)
    ]
    assert graph.senders.tolist() == [*lists[0][0], *(lists[1][0] + len(positions[0]))]
    assert graph.receivers.tolist() == [*lists[0][1], *(lists[1][1] + len(positions[0]))]
    shifts = np.concatenate([found[2] @ frames.cells[s] for found, s in zip(lists, (2, 0), strict=True)])
    np.testing.assert_allclose(graph.shifts.numpy(), shifts, atol=1e-5)


@every_network
@pytest.mark.parametrize("task", [Potential(PotentialOptions()), Masking(MaskingOptions())], ids=["potential", "mask"])
def test_flops_of_whole_batches_are_those_that_small_graphs_foretell(spec, task, tmp_path, monkeypatch):
    store, model = make_store(make_frames(5, side=3), tmp_path, spec["cutoff"]), network(spec)
    foretold = flops_per_structure(model, task, store, 2)
    monkeypatch.setattr("priorbench.training.flops._costs", lambda *_: None)
    assert flops_per_structure(model, task, store, 2) == pytest.approx(foretold, rel=1e-9)


def test_flops_that_grow_otherwise_are_counted_on_whole_batches(tmp_path):
    class Quadratic(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = torch.nn.Parameter(torch.ones(1))

        def forward(self, graph):
            r = graph.positions
            every = (r @ r.T).sum()  # the square of the number of atoms
            return Prediction(every * self.weight * torch.ones(graph.structures), r * self.weight)

    store = make_store(make_frames(3), tmp_path)
    counted = flops_per_structure(Quadratic(), Potential(PotentialOptions()), store, 3)
    assert counted == pytest.approx(2 * 72 * 72 * 3 / 3)
