"""Every plug-in by the name that a configuration uses: a new one is one file and one line here.

Modules are imported only when asked for, so that listing or validating imports no torch.
"""

from importlib import import_module
from typing import Any

from priorbench.errors import PriorbenchError

DATASETS = {
    "tip3p": "priorbench.datasets.tip3p:TIP3P",
    "revpbe0_d3": "priorbench.datasets.revpbe0_d3:RevPBE0D3",
    "rpbe_d3": "priorbench.datasets.rpbe_d3:RPBED3",
    "extxyz": "priorbench.datasets.extxyz:ExtXYZ",
    "rmd17": "priorbench.datasets.rmd17:RMD17",
}
BACKBONES = {
    "egnn": "priorbench.backbones.egnn:EGNN",
    "gns": "priorbench.backbones.gns:GNS",
    "forcenet": "priorbench.backbones.forcenet:ForceNet",
}
TASKS = {
    "masking": "priorbench.tasks.masking:Masking",
    "denoising": "priorbench.tasks.denoising:Denoising",
    "potential": "priorbench.tasks.potential:Potential",
}
REGISTRIES = {"dataset": DATASETS, "backbone": BACKBONES, "task": TASKS}


def load(kind: str, name: str) -> Any:
    """Return the class registered as ``name`` among the ``kind`` ("dataset", "backbone" or "task")."""
    registry = REGISTRIES[kind]
    if name not in registry:
        raise PriorbenchError(f"unknown {kind} {name!r}; known are {', '.join(registry)}")
    module, attribute = registry[name].split(":")
    return getattr(import_module(module), attribute)
