"""The two protocols, as the configuration values in which they differ.

``fair`` is the defaults of every option.  ``released`` is the recipe of the paper's released code (arXiv 2402.15921) as
it is: each difference is a named value below, so that each can be switched on alone.  Not carried over are outright
bugs: a missing checkpoint becomes training from scratch, the best validation loss is never updated (here: the last
epoch is kept, which is what that does), ForceNet sees every atom as oxygen, the denoising loader crashes on TIP3P,
neighbours beyond a limit are cut, atoms are taken to stand in the order O, H, H, EGNN's labels are normalised twice.
"""

from typing import Any, Literal

Protocol = Literal["fair", "released"]
Values = dict[str, Any]

#: Options of a backbone, by architecture.
_BACKBONES: dict[str, Values] = {
    "egnn": {
        "edge_features": "squared-distance",
        "envelope": False,
        "detach_distances": True,
        "element_rows": 28,
        "mask_rows": 28,
    },
    "gns": {
        "edge_features": "raw",
        "raw_coordinates": True,
        "edge_update": "doubling",
        "envelope": False,
        "element_rows": 100,
    },
    "forcenet": {},
}
#: Keys of the training, by stage.
_TRAINING: dict[str, Values] = {
    "pretrain": {"optimiser": "adam", "checkpoint": "last", "gradient_clip": None},
    "finetune": {"optimiser": "adamw", "checkpoint": "last", "gradient_clip": None},
}
#: Options of a task, by its name.
_TASKS: dict[str, Values] = {"denoising": {"sigma": 1.0}, "masking_denoising": {"sigma": 1.0}}
#: Scaling of the labels, by the source of the dataset: by the spread of an energy instead of that of the forces.
_LABELS: dict[str, Values] = {"tip3p": {"label_spread": "energy", "energy_reference": "mean"}}
_OTHER_LABELS: Values = {"label_spread": "energy-per-atom", "energy_reference": "mean-per-atom"}


def backbone_values(protocol: Protocol, architecture: str) -> Values | None:
    """Options of an architecture under a protocol; None where it has no released form."""
    return {} if protocol == "fair" else _BACKBONES.get(architecture)


def training_values(protocol: Protocol, stage: Literal["pretrain", "finetune"]) -> Values:
    """Keys of a stage's training under a protocol."""
    return {} if protocol == "fair" else _TRAINING[stage]


def task_values(protocol: Protocol, task: str, source: str) -> Values:
    """Options of a task on a dataset of ``source`` under a protocol."""
    if protocol == "fair":
        return {}
    return _LABELS.get(source, _OTHER_LABELS) if task == "potential" else _TASKS.get(task, {})
