"""Wall time of training steps, divided into their phases."""

import statistics
import time
from collections.abc import Callable
from typing import Any

from priorbench.bench.machine import synchronise

PHASES = ("data", "forward", "backward", "optimiser")
LEAST = 3  # timed steps
Times = dict[str, float]  # seconds by phase


class Stopwatch:
    """Told of the end of each phase of a step, it sums the time up by phase.

    On a GPU it waits for the device there, so what the phases of a step would do at the same time they do one after
    the other.
    """

    def __init__(self, device: str) -> None:
        self.device = device
        self.seconds: Times = {}
        self.last = 0.0

    def __call__(self, phase: str) -> None:
        """The ``phase`` has ended."""
        synchronise(self.device)
        now = time.perf_counter()
        self.seconds[phase] += now - self.last
        self.last = now

    def of(self, step: Callable[[], None]) -> Times:
        """Seconds of one ``step``, which calls this stopwatch, by phase."""
        self.seconds = dict.fromkeys(PHASES, 0.0)
        synchronise(self.device)
        self.last = time.perf_counter()
        step()
        return self.seconds


def timed(step: Callable[[], None], watch: Stopwatch, seconds: float, least: int = LEAST) -> list[Times]:
    """Steps until ``seconds`` are over, ``least`` at least, after one that is not counted."""
    watch.of(step)
    steps: list[Times] = []
    started = time.perf_counter()
    while len(steps) < least or time.perf_counter() - started < seconds:
        steps.append(watch.of(step))
    return steps


def summarised(steps: list[Times], structures: int) -> dict[str, Any]:
    """Milliseconds per structure of steps of so many ``structures``: median, best, and the phases of the median one.

    The median is that of a step which was taken (of two in the middle the faster), so its phases add up to it.
    """
    totals = [sum(step.values()) for step in steps]
    median = statistics.median_low(totals)
    scale = 1000 / structures
    return {
        "ms": scale * median,
        "best_ms": scale * min(totals),
        "phases_ms": {phase: scale * value for phase, value in steps[totals.index(median)].items()},
        "steps": len(steps),
    }
