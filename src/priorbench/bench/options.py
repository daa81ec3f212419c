"""What is measured, and on what: validated before anything starts, without importing torch."""

import math
from dataclasses import dataclass, field
from typing import Any

from priorbench.config_sections import GPU
from priorbench.errors import PriorbenchError
from priorbench.provenance import cores
from priorbench.registry import BACKBONES, TASKS

ATOMS = (192, 774)  # of the water boxes of revPBE0-D3 and of the paper's TIP3P set
GPU_MODES = ("compile", "fast", "tf32")  # fast: not deterministic
FINETUNING = "potential"  # the task of finetuning; every other one is a pretraining


@dataclass(frozen=True)
class Options:
    """Of one run of the bench."""

    backbones: tuple[str, ...] = tuple(BACKBONES)
    tasks: tuple[str, ...] = tuple(TASKS)
    atoms: tuple[int, ...] = ()  # of a structure; empty: what each suite measures by itself
    batch_size: int = 16
    threads: int = field(default_factory=cores)
    device: str = "cpu"
    seconds: float = 5.0  # of timed steps in a cell
    textbook: bool = True
    gpu: tuple[str, ...] = ()  # of GPU_MODES: how a GPU computes in other than its usual way

    def __post_init__(self) -> None:
        for name, registry in (("backbones", BACKBONES), ("tasks", TASKS)):
            _known(name, getattr(self, name), tuple(registry))
        _known("gpu", self.gpu, GPU_MODES)
        if self.gpu and self.device != "cuda":
            raise PriorbenchError(f"--gpu {self.gpu[0]}: --device is {self.device}; give --device cuda")
        _positive("batch-size", self.batch_size)
        _positive("threads", self.threads)
        for count in self.atoms:
            if count < 3 or count % 3:
                raise PriorbenchError(f"--atoms: {count} atoms are no whole water molecules; give multiples of 3")
        if not (math.isfinite(self.seconds) and self.seconds >= 0):
            raise PriorbenchError(f"--seconds: {self.seconds:g} is no length of time")


@dataclass(frozen=True)
class Cell:
    """One backbone, task and size of structure, as a process of its own is told to time it."""

    backbone: str
    task: str
    atoms: int
    batch_size: int
    threads: int
    device: str
    seconds: float
    folder: str  # of the boxes
    settings: dict[str, Any] = field(default_factory=dict)  # options of the backbone that differ from the defaults
    seed: int = 0  # of initial weights and draws
    gpu: tuple[str, ...] = ()  # of GPU_MODES

    @property
    def gpu_options(self) -> GPU:
        """How a GPU computes."""
        return GPU(compile="compile" in self.gpu, deterministic="fast" not in self.gpu, tf32="tf32" in self.gpu)

    def __str__(self) -> str:
        return f"{self.backbone} {self.task} {self.atoms} atoms"


def _known(option: str, names: tuple[str, ...], known: tuple[str, ...]) -> None:
    for name in names:
        if name not in known:
            raise PriorbenchError(f"--{option}: unknown {name!r}; known are {', '.join(known)}")


def _positive(option: str, value: int) -> None:
    if value < 1:
        raise PriorbenchError(f"--{option}: {value} is less than 1")
