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
    "droplet": "priorbench.datasets.droplet:Droplet",
}
BACKBONES = {
    "egnn": "priorbench.backbones.egnn:EGNN",
    "gns": "priorbench.backbones.gns:GNS",
    "forcenet": "priorbench.backbones.forcenet:ForceNet",
    "painn": "priorbench.backbones.painn:PaiNN",
}
TASKS = {
    "masking": "priorbench.tasks.masking:Masking",
    "denoising": "priorbench.tasks.denoising:Denoising",
    "masking_denoising": "priorbench.tasks.masking_denoising:MaskingDenoising",
    "potential": "priorbench.tasks.potential:Potential",
}
LABELS = {
    "flexible_tip3p": "priorbench.labels.flexible_tip3p:FlexibleTIP3P",
}
QUESTIONS = {
    "q1": "priorbench.questions.scan:Element",
    "q2": "priorbench.questions.scan:Loss",
    "q3": "priorbench.questions.budget:Budget",
    "q4": "priorbench.questions.scan:Ratio",
    "q5": "priorbench.questions.denoising:Denoising",
    "q6": "priorbench.questions.scan:Readout",
    "q7": "priorbench.questions.stability:Stability",
    "q8": "priorbench.questions.learned:Learned",
    "q9": "priorbench.questions.transfer:Transfer",
    "q10": "priorbench.questions.strategies:Strategies",
    "efficiency": "priorbench.questions.efficiency:Efficiency",
    "artefact": "priorbench.questions.artefact:Artefact",
    "protocols": "priorbench.questions.protocols:Protocols",
}
#: Kinds of plug-ins with options; questions have none.
REGISTRIES = {"dataset": DATASETS, "backbone": BACKBONES, "task": TASKS, "labels": LABELS}


def load(kind: str, name: str) -> Any:
    """Return the class registered as ``name`` among the ``kind``: that of a registry above, or "question"."""
    registry = QUESTIONS if kind == "question" else REGISTRIES[kind]
    if name not in registry:
        raise PriorbenchError(f"unknown {kind} {name!r}; known are {', '.join(registry)}")
    module, attribute = registry[name].split(":")
    return getattr(import_module(module), attribute)
