"""How long a run is: its own optimiser steps, and what a longer run adds to them; for training and for its plan."""

from collections.abc import Mapping
from typing import Any


def planned_steps(
    longer: Mapping[str, Any] | None, own: int, step_flops: float, matched: tuple[int, float] | None
) -> int:
    """Optimiser steps of a run with ``own`` ones, each of ``step_flops``; ``longer`` as in the run's spec.

    ``matched`` are the planned steps and FLOPs of the pretraining that a longer run is matched to.

    Raises:
        ValueError: a run that is matched has nothing to be matched to.
    """
    if longer is None:
        return own
    if longer.get("times") is not None:
        return max(1, round(float(longer["times"]) * own))
    if matched is None:
        raise ValueError("needs what it is matched to")
    steps, flops = matched
    return own + (steps if longer["by"] == "steps" else round(flops / step_flops))
