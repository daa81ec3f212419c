"""The three ways in which pretraining reads vectors from a backbone."""

import pytest
import torch

from priorbench.backbones.base import VectorBackbone
from priorbench.config import Training
from priorbench.errors import PriorbenchError
from priorbench.graph import Graph
from priorbench.kernels.library import plain
from priorbench.registry import load
from priorbench.tasks.masking import Masking, MaskingOptions
from priorbench.tasks.potential import Potential, PotentialOptions
from priorbench.tasks.readout import read_out
from priorbench.training.flops import flops_per_structure
from priorbench.training.loop import Loop
from priorbench.training.optimiser import Adam
from priorbench.training.step import accumulate
from tests.conftest import make_frames, make_store
from tests.networks import CUTOFF, every_network, network

EGNN = {"name": "e", "architecture": "egnn", "cutoff": CUTOFF, "layers": 2, "width": 16}
GNS = {**EGNN, "architecture": "gns"}
FORCENET = {**EGNN, "architecture": "forcenet", "frequencies": 6}
PRETRAININGS = ("masking", "denoising", "masking_denoising")


def masking(readout: str) -> Masking:
    return Masking(MaskingOptions(readout=readout))


def graph_of(folder, structures: int = 1) -> Graph:
    return make_store(make_frames(structures), folder, CUTOFF).batch(torch.arange(structures)).graph


def silent(phase: str) -> None:
    pass


@every_network
def test_own_is_what_the_backbone_predicts(spec, tmp_path):
    model, graph = network(spec).eval(), graph_of(tmp_path)
    for task in (masking("own"), Potential(PotentialOptions())):
        for ours, theirs in zip(read_out(model, task, graph), model(graph), strict=True):
            assert torch.equal(ours, theirs)


@every_network
def test_gradient_is_the_derivative_of_the_energy_of_any_backbone(spec, tmp_path, double):
    model, graph, step = network(spec).eval(), graph_of(tmp_path), 1e-6
    with torch.no_grad():  # as while validating
        found = read_out(model, masking("gradient"), graph)
        assert not found.energies.requires_grad
        assert not found.vectors.requires_grad
        torch.testing.assert_close(found.energies, model(graph).energies)
        if not isinstance(model, VectorBackbone):
            assert torch.equal(found.vectors, model(graph).vectors)
            return
        assert not torch.allclose(found.vectors, model(graph).vectors)
        for atom, axis in ((0, 0), (5, 2), (17, 1)):
            shift = torch.zeros_like(graph.positions)
            shift[atom, axis] = step
            up, down = (model(graph.with_positions(graph.positions + s * shift)).energies.sum() for s in (1, -1))
            numerical = float(down - up) / (2 * step)
            assert float(found.vectors[atom, axis]) == pytest.approx(numerical, abs=1e-7, rel=1e-5)


@pytest.mark.parametrize("spec", [GNS, FORCENET], ids=["gns", "forcenet"])
def test_the_weights_of_a_vector_backbone_are_trained_through_its_gradient(spec, tmp_path, double):
    """Against finite differences: second derivatives, those of BatchNorm included."""
    model, store = network(spec).double().train(), make_store(make_frames(2), tmp_path, CUTOFF)
    task = Masking(MaskingOptions(readout="gradient", loss="l2"))
    example, step = task.corrupt(store.batch(torch.arange(2)), torch.Generator().manual_seed(0)), 1e-6
    accumulate(model, task, example, silent)
    heads = {name.split(".")[0] for name, p in model.named_parameters() if p.grad is None}
    assert "vector_decoder" in heads or "vector_head" in heads
    assert heads <= {"vector_decoder", "vector_head", "energy_decoder", "energy_head"}
    trained = [(name, p, p.grad.clone()) for name, p in model.named_parameters() if p.grad is not None]
    compared = 0
    for name, p, gradient in trained[::5]:
        place, values = int(gradient.abs().argmax()), []
        if float(gradient.flatten()[place].abs()) < 1e-6:  # as that of a bias before a BatchNorm
            continue
        for change in (step, -2 * step, step):
            with torch.no_grad():
                p.view(-1)[place] += change
            values.append(float(accumulate(model, task, example, silent)))
        numerical = (values[0] - values[1]) / (2 * step)
        assert float(gradient.flatten()[place]) == pytest.approx(numerical, rel=1e-3), name
        compared += 1
    assert compared >= 4


def test_the_gradient_of_gns_in_its_weights_needs_plain_pytorch(tmp_path):
    model = network(GNS).train()
    found = read_out(model, masking("gradient"), graph_of(tmp_path))
    with plain():
        again = read_out(model, masking("gradient"), graph_of(tmp_path))
    assert torch.equal(found.vectors, again.vectors)
    found.vectors.square().sum().backward()
    assert all(p.grad is not None for p in model.edge_steps.parameters())


def moves_of(model, graph: Graph) -> torch.Tensor:
    """Where EGNN's coordinates go, by the published formula and layer by layer, minus where they were; no envelope."""
    h, r = model.element(graph.atomic_numbers), graph.positions
    for layer in model.layers:
        vectors = r[graph.senders] + graph.shifts - r[graph.receivers]
        distances = vectors.norm(dim=1, keepdim=True)
        messages = layer.edge_out(layer.edge_in(h, model.basis(distances), graph))
        pushes = -vectors / distances * layer.coordinate(messages)
        moves, received = torch.zeros_like(r), torch.zeros_like(h)
        for i in range(graph.atoms):
            own = graph.receivers == i
            moves[i], received[i] = pushes[own].mean(0), messages[own].sum(0)
        h, r = h + layer.node(torch.cat([h, received], dim=1)), r + moves
    return r - graph.positions


def test_coordinates_are_the_moves_of_all_layers_of_egnn(tmp_path, double):
    model, graph = network({**EGNN, "envelope": False, "layers": 3}).eval(), graph_of(tmp_path)
    found = read_out(model, masking("coordinates"), graph)
    with torch.no_grad(), plain():
        torch.testing.assert_close(found.vectors.detach(), moves_of(model, graph), rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(found.energies.detach(), model(graph).energies)
    assert float(found.vectors.detach().norm(dim=1).min()) > 0


def test_compiled_coordinates_are_those_of_plain_pytorch(tmp_path, double):
    task, store = masking("coordinates"), make_store(make_frames(2, side=3), tmp_path, CUTOFF)
    example = task.corrupt(store.batch(torch.arange(2)), torch.Generator().manual_seed(1))
    ours, theirs = network(EGNN).train(), network(EGNN).train()
    value = accumulate(ours, task, example, silent)
    with plain():
        expected = accumulate(theirs, task, example, silent)
    torch.testing.assert_close(value, expected, rtol=1e-10, atol=0)
    for (name, a), b in zip(ours.named_parameters(), theirs.parameters(), strict=True):
        assert (a.grad is None) == (b.grad is None), name
        if a.grad is not None:
            torch.testing.assert_close(a.grad, b.grad, rtol=0, atol=1e-9 * float(b.grad.abs().max()) + 1e-15, msg=name)
    assert all(p.grad is not None for p in ours.layers[-1].coordinate.parameters())
    assert all(p.grad is None for p in ours.head.parameters())


def test_coordinates_turn_with_the_structure_and_do_not_move_with_it(tmp_path, double):
    from tests.backbones.test_symmetries import transformed

    frames, model = make_frames(1, seed=3), network(EGNN).eval()
    before = read_out(model, masking("coordinates"), make_store(frames, tmp_path, CUTOFF).batch(torch.arange(1)).graph)
    for symmetry in ("permutation", "translation", "wrapping", "rotation", "inversion"):
        changed, turn, order = transformed(frames, symmetry)
        graph = make_store(changed, tmp_path, CUTOFF).batch(torch.arange(1)).graph
        after = read_out(model, masking("coordinates"), graph)
        expected = (before.vectors @ torch.tensor(turn).T)[order]
        scale = float(expected.detach().abs().max())
        torch.testing.assert_close(after.vectors, expected, rtol=0, atol=1e-8 * scale, msg=symmetry)


def test_a_backbone_that_moves_no_atoms_says_so_in_one_line(tmp_path):
    with pytest.raises(PriorbenchError) as caught:
        read_out(network(GNS), masking("coordinates"), graph_of(tmp_path))
    message = str(caught.value)
    assert message.startswith("GNS moves no atoms, so Masking has nothing to read with readout: coordinates; take ")
    assert "\n" not in message


def test_energies_of_egnn_are_those_that_they_were_before_it_had_other_readouts(tmp_path, double):
    prediction = network(EGNN).eval()(graph_of(tmp_path))
    assert float(prediction.energies) == pytest.approx(-5.504221990801626, rel=1e-9)
    assert float(prediction.vectors.norm()) == pytest.approx(0.03852971127630563, rel=1e-8)


def test_the_last_layer_s_moves_cost_nothing_where_nobody_reads_them(tmp_path):
    model, store, calls = network(EGNN).eval(), make_store(make_frames(2), tmp_path, CUTOFF), []
    for layer in model.layers:
        layer.coordinate.register_forward_hook(lambda module, *_: calls.append(module))
    with plain():
        for readout, layers in (("own", model.layers[:-1]), ("coordinates", model.layers)):
            calls.clear()
            read_out(model, masking(readout), graph_of(tmp_path))
            assert calls == [layer.coordinate for layer in layers]
    costs = [flops_per_structure(network(EGNN), masking(r), store, 2) for r in ("coordinates", "own")]
    assert 0.4 < costs[0] / costs[1] < 0.8  # one derivative instead of two


@pytest.mark.parametrize(("spec", "readout"), [(EGNN, "coordinates"), (GNS, "gradient"), (FORCENET, "gradient")])
def test_flops_of_whole_batches_are_those_that_small_graphs_foretell(spec, readout, tmp_path, monkeypatch):
    store, model = make_store(make_frames(3), tmp_path, CUTOFF), network(spec)
    cls = load("task", "masking_denoising")
    task = cls(cls.Options(readout=readout))
    foretold = flops_per_structure(model, task, store, 2)
    monkeypatch.setattr("priorbench.training.flops._costs", lambda *_: None)
    assert flops_per_structure(model, task, store, 2) == pytest.approx(foretold, rel=1e-9)


@pytest.mark.parametrize("name", PRETRAININGS)
@pytest.mark.parametrize(
    ("spec", "readout"),
    [(EGNN, "own"), (EGNN, "coordinates"), (GNS, "own"), (GNS, "gradient"), (FORCENET, "gradient")],
    ids=lambda value: value if isinstance(value, str) else value["architecture"],
)
def test_every_pretraining_learns_with_every_readout(spec, readout, name, tmp_path):
    cls, store = load("task", name), make_store(make_frames(3), tmp_path, CUTOFF)
    task, training = cls(cls.Options(readout=readout)), Training(epochs=2, batch_size=2, learning_rate=3e-3)
    outcome = Loop(network(spec), task, (store, store), training, 3, 0, lambda row: None).run()
    assert outcome.diverged is None
    assert outcome.steps == 3
    model, example = network(spec).train(), task.corrupt(store.batch(torch.arange(3)), torch.Generator().manual_seed(0))
    optimiser, losses = Adam(model.parameters(), training), []
    for _ in range(15):
        optimiser.clear_gradients()
        losses.append(float(accumulate(model, task, example, silent)))
        optimiser.step(1e-3)
    assert min(losses) < losses[0]
