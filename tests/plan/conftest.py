"""A small experiment, and a worker that counts and times by rules that a test knows."""

from typing import Any

import pytest

from priorbench.config import Config, parse_config
from priorbench.plan import cost, generation
from priorbench.plan.sizes import Sizes

TIP3P = {"source": "tip3p", "molecules": 8, "trajectories": 5, "frames": 4, "smoke": True, "equilibration_ps": 1}
TIP3P |= {"density": 0.5, "switch": 0.5}
TRAINING = {"epochs": 3, "batch_size": 4}
FLOPS = {"potential": 3e6, "masking": 2e6, "denoising": 3e6}  # of a structure-step
STEP, VALIDATION, TEST, SETUP, START = 0.01, 0.004, 0.003, 0.5, 2.0  # s
SIMULATED = {"begin": 1.0, "step": 0.002}  # s


def experiment(**changes: Any) -> Config:
    """Two backbones, masking and denoising, five strategies, two seeds; sections are replaced by ``changes``."""
    sections: dict[str, Any] = {
        "experiment": "planned",
        "seeds": [0, 1],
        "datasets": {"water": TIP3P},
        "split": {"train": 0.6, "validation": 0.2},
        "backbones": {
            "egnn": {"architecture": "egnn", "layers": 1, "width": 8},
            "gns": {"architecture": "gns", "layers": 1, "width": 8},
        },
        "pretraining": {
            "mask": {"task": "masking", "training": {**TRAINING, "epochs": 2}},
            "denoise": {"task": "denoising", "training": {**TRAINING, "epochs": 2}},
        },
        "finetuning": {"task": "potential", "training": TRAINING},
        "strategies": {
            "scratch": {},
            "longer-steps": {"longer": "steps", "matching": "mask"},
            "longer-compute": {"longer": "compute", "matching": "mask"},
            "mask": {"pretraining": "mask"},
            "denoise": {"pretraining": "denoise"},
        },
    }
    return parse_config({**sections, **changes})


def sizes(train: int = 12, validation: int = 4, test: int = 4, atoms: int = 24, seeds: int = 2) -> Sizes:
    """Of a dataset of equal structures."""
    counts = {"train": [train] * seeds, "validation": [validation] * seeds, "test": [test] * seeds}
    return Sizes("options", counts, [atoms] * train, list(range(train)), train + validation + test, True)


def told(function: str, **arguments: Any) -> dict[str, Any]:
    """What the worker answers in place of counting and timing."""
    if function.endswith(":simulation"):
        return dict(SIMULATED)
    seconds = {"step": STEP, "validation": VALIDATION, "setup": SETUP}
    costs = []
    for cell in arguments["cells"]:
        task, atoms = cell["task"]["name"], cell["sample"]["atoms"]
        own = {"flops": FLOPS[task], "atoms": sum(atoms) / len(atoms)}
        if arguments["timed"]:
            own |= {**seconds, "test": TEST if task == "potential" else 0.0}
        else:
            own |= dict.fromkeys(("step", "validation", "test", "setup"))
        costs.append(own)
    rate = 50.0 if arguments["rated"] else None
    return {"costs": costs, "start": START, "gflops": rate, "kernels": "plain", "spent": 0.0}


@pytest.fixture
def worker(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """The arguments of every call of the worker, which answers as :func:`told`."""
    calls: list[dict[str, Any]] = []

    def isolated(function: str, **arguments: Any) -> dict[str, Any]:
        calls.append({"function": function, **arguments})
        return told(function, **arguments)

    monkeypatch.setattr(cost, "isolated", isolated)
    monkeypatch.setattr(generation, "isolated", isolated)
    return calls
