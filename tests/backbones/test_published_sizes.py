"""At the paper's sizes the networks have the parameters of the released ones."""

from priorbench.backbones.egnn import EGNN, EGNNOptions
from priorbench.backbones.elements import element_properties
from priorbench.backbones.forcenet import ForceNet, ForceNetOptions
from priorbench.backbones.gns import GNS, GNSOptions


def parameters(model) -> int:
    return sum(p.numel() for p in model.parameters())


def test_egnn():
    options = EGNNOptions(edge_features="squared-distance", envelope=False, element_rows=28, mask_rows=28)
    assert parameters(EGNN(options)) == 601_985


def test_gns():
    assert parameters(GNS(GNSOptions(edge_features="raw", raw_coordinates=True, element_rows=100))) == 1_651_076


def test_forcenet():
    assert abs(parameters(ForceNet(ForceNetOptions())) / 777_000 - 1) < 0.01


def test_forcenet_properties_tell_all_elements_apart():
    properties = element_properties()
    assert properties.min() == 0
    assert properties.max() == 1
    assert len({tuple(row) for row in properties[1:]}) == 118
