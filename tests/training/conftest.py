"""A small dataset on disk and specs of runs on it."""

from pathlib import Path
from typing import Any

import pytest

from priorbench.io import write_json
from priorbench.neighbours import build
from priorbench.training.data import Inputs
from priorbench.training.run import run
from tests.conftest import make_frames
from tests.networks import CUTOFF

BACKBONE = {"name": "small", "architecture": "gns", "cutoff": CUTOFF, "layers": 1, "width": 8}
TRAINING = {"epochs": 2, "batch_size": 2, "learning_rate": 1e-3}
BY_STEPS = {"by": "steps", "times": None}
TRAIN, VALIDATION, TEST = [0, 1, 2, 3, 4], [5, 6], [7, 8]


def write_inputs(folder: Path, frames=None) -> Inputs:
    """Frames, neighbour lists and a split in ``folder``."""
    frames = frames or make_frames(9)
    inputs = Inputs(folder / "frames.safetensors", folder / "neighbours.safetensors", folder / "split.json")
    frames.save(inputs.frames)
    build(inputs.frames, CUTOFF, inputs.neighbours)
    sides = {"train": TRAIN, "validation": VALIDATION, "test": TEST}
    write_json(inputs.split, {"frames": frames.hash(), "seed": 0, **sides, "groups": {}})
    return inputs


def spec(stage: str = "finetune", **changes: Any) -> dict[str, Any]:
    """A run's spec; masking for pretraining, scratch for finetuning unless changed."""
    common = {"experiment": "test", "dataset": "boxes", "backbone": BACKBONE, "seed": 0, "device": "cpu"}
    if stage == "pretrain":
        own = {"strategy": "mask", "task": {"name": "masking", "ratio": 0.5}}
    else:
        own = {
            "strategy": "scratch",
            "role": "scratch",
            "pretraining": None,
            "pretraining_task": None,
            "longer": None,
            "task": {"name": "potential"},
        }
    return {"stage": stage, **common, "training": TRAINING, **own, **changes}


def from_mask(**changes: Any) -> dict[str, Any]:
    """Spec of the finetuning after masking."""
    return spec(strategy="mask", role="pretrained", pretraining="mask", pretraining_task="masking", **changes)


@pytest.fixture
def inputs(tmp_path) -> Inputs:
    return write_inputs(tmp_path)


@pytest.fixture
def pretrained(inputs, tmp_path) -> Path:
    """Weights of a masked pretraining."""
    run(spec("pretrain"), inputs, 1, tmp_path / "pretrained")
    return tmp_path / "pretrained" / "model.safetensors"
