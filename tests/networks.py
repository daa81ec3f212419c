"""Every registered backbone, small, with the variants that change its symmetries."""

from typing import Any

import pytest

from priorbench.registry import BACKBONES
from priorbench.training.model import build

VARIANTS: dict[str, list[dict[str, Any]]] = {
    "egnn": [{}, {"edge_features": "squared-distance", "envelope": False, "detach_distances": True}],
    "gns": [{}, {"edge_features": "raw", "raw_coordinates": True, "envelope": False, "edge_update": "doubling"}],
    "forcenet": [{"frequencies": 8}],
}
CUTOFF = 3.4


def specs() -> list[Any]:
    """One spec a backbone and variant; a backbone without an entry is tested with its defaults."""
    return [
        pytest.param(
            {"name": name, "architecture": name, "cutoff": CUTOFF, "layers": 2, "width": 16, **variant},
            id="-".join([name, *map(str, variant.values())]),
        )
        for name in BACKBONES
        for variant in VARIANTS.get(name, [{}])
    ]


def network(spec: dict[str, Any], seed: int = 0):
    """The network of a spec."""
    return build(spec, seed)


every_network = pytest.mark.parametrize("spec", specs())
