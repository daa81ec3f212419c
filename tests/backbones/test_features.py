"""Features of each atom before the heads."""

import torch

from priorbench.backbones.base import VectorBackbone
from tests.conftest import make_frames, make_store
from tests.networks import CUTOFF, every_network, network


@every_network
def test_the_heads_read_the_features_and_nothing_else(spec, tmp_path):
    graph, model = make_store(make_frames(2), tmp_path, CUTOFF).batch(torch.arange(2)).graph, network(spec).eval()
    features = model.features(graph)
    assert features.shape == (graph.atoms, spec["width"])
    before = model(graph)
    model.features = lambda _: torch.zeros_like(features, requires_grad=True)  # type: ignore[method-assign]
    if not isinstance(model, VectorBackbone):
        energies = model.energies(graph)
        # Equal features of every atom: two boxes of as many atoms have one energy.
        torch.testing.assert_close(energies[0], energies[1])
        assert not torch.allclose(energies, before.energies)
        return
    after = model(graph)
    torch.testing.assert_close(after.vectors, after.vectors[:1].expand_as(after.vectors))
    torch.testing.assert_close(after.energies[0], after.energies[1])
    assert not torch.allclose(after.vectors, before.vectors)


@every_network
def test_features_are_those_of_the_atom_in_its_surroundings(spec, tmp_path):
    store, model = make_store(make_frames(2), tmp_path, CUTOFF), network(spec).eval()
    both = model.features(store.batch(torch.arange(2)).graph)
    alone = torch.cat([model.features(store.batch(torch.tensor([s])).graph) for s in range(2)])
    torch.testing.assert_close(both, alone, rtol=1e-4, atol=1e-5)
    oxygens = both[::3]
    assert not torch.allclose(oxygens[0], oxygens[1])
