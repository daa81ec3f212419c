"""What finetuning starts from: everything, the body alone, or nothing but larger heads."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from priorbench.training.labels import Labels
from priorbench.training.model import build, load_model, snapshot
from priorbench.training.run import run
from priorbench.training.start import carry_body, output_rms, rescale_heads
from tests.conftest import make_frames, make_store
from tests.networks import every_network
from tests.training.conftest import from_mask, spec


@every_network
def test_heads_are_what_features_do_not_need(spec, tmp_path):
    model, store = build(spec, 0), make_store(make_frames(2), tmp_path)
    for parameter in model.parameters():
        parameter.requires_grad_(True)
    model.features(store.batch(torch.arange(2)).graph).square().sum().backward()
    used = {name.split(".")[0] for name, p in model.named_parameters() if p.grad is not None and p.grad.any()}
    assert not used & set(model.heads)
    assert all(name.split(".")[0] in {*used, *model.heads, "mask"} for name, _ in model.named_parameters())


@every_network
def test_the_body_is_carried_over_and_the_heads_are_not(spec):
    model, other = build(spec, 0), build(spec, 1)
    before, given = snapshot(model), snapshot(other)
    carry_body(model, given, "here")
    for name, tensor in snapshot(model).items():
        expected = before if name.split(".")[0] in model.heads else given
        assert torch.equal(tensor, expected[name]), name


@every_network
def test_rescaled_heads_give_outputs_as_large_as_the_pretrained_ones(spec, tmp_path):
    store = make_store(make_frames(3), tmp_path)
    model, larger = build(spec, 0), build(spec, 1)
    with torch.no_grad():
        for name in larger.heads:
            for parameter in larger.get_submodule(name).parameters():
                parameter.mul_(3.0)
    rescale_heads(model, larger, store)
    own, wanted = output_rms(model, store), output_rms(larger, store)
    assert own["vectors"] == pytest.approx(wanted["vectors"], rel=1e-4)
    if model.readout == "vector":
        assert own["energies"] == pytest.approx(wanted["energies"], rel=1e-4)


def test_a_rescaled_run_starts_from_its_own_weights_but_for_the_heads(inputs, pretrained, tmp_path):
    given = replace(inputs, parent=pretrained)
    run(spec(strategy="large", role="variant", rescale="mask"), given, 1, tmp_path / "out")
    run(from_mask(transfer="body"), given, 1, tmp_path / "fresh")
    records = [load_model(tmp_path / name / "model.safetensors")[1] for name in ("out", "fresh")]
    assert all(r["status"] == "completed" for r in records)


def test_label_units_are_those_asked_for():
    frames, chosen = make_frames(6), np.arange(4)
    forces = frames.forces[: frames.offsets[4]]
    energies = frames.energies[:4]
    assert Labels.fit(frames, chosen).scale == pytest.approx(np.sqrt(np.mean(forces**2)))
    assert Labels.fit(frames, chosen, target_rms=74.0).scale == pytest.approx(np.sqrt(np.mean(forces**2)) / 74)
    assert Labels.fit(frames, chosen, "energy").scale == pytest.approx(np.std(energies))
    per_atom = Labels.fit(frames, chosen, "energy-per-atom", "mean-per-atom")
    assert per_atom.scale == pytest.approx(np.std(energies) / frames.sizes[0])
    assert per_atom.reference_energies(frames, chosen) == pytest.approx(energies.mean() / frames.sizes[0])
    assert per_atom.composition_energies(frames, chosen) == pytest.approx(energies.mean())
    assert Labels.from_json(per_atom.to_json()) == per_atom
