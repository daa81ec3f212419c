"""What a training has done so far: the whole of it and the pass under way, enough to go on from."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from priorbench.training.model import State

Row = dict[str, Any]
Report = Callable[[Row], None]


@dataclass
class Outcome:
    """What a training leaves: the weights kept and what happened on the way."""

    state: State
    rows: list[Row] = field(default_factory=list)
    best: Row = field(default_factory=dict)
    steps: int = 0
    planned_steps: int = 0  # more than ``steps`` where a run diverged
    structure_steps: int = 0
    seconds: float = 0.0  # of the steps
    validation_seconds: float = 0.0
    diverged: str | None = None  # where the loss stopped being finite
    attempts: int = 1  # processes that had a part in it
    shape: list[int] | None = None  # to which the stepper fills up batches


@dataclass
class Epoch:
    """A pass over the training structures, or what has been done of it."""

    number: int
    draws: torch.Generator  # of the corruptions
    batches: int = 0
    structures: int = 0
    seconds: float = 0.0
    learning_rate: float = 0.0  # of the last step
    losses: list[Tensor] = field(default_factory=list)  # each times its structures
    norms: list[Tensor] = field(default_factory=list)
