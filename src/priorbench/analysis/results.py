"""What ``statistics.json`` holds, as types, and its reader and writer."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from priorbench.analysis.intervals import LEVEL, MARGIN, Estimate, Paired
from priorbench.errors import PriorbenchError
from priorbench.io import read_json, write_json

Quantity = Literal["force", "energy"]
QUANTITY_NAMES: tuple[Quantity, ...] = ("force", "energy")

COVERS = (
    "95 % over seeds. A seed draws the split (where it is resampled), the initial weights and the order of batches, "
    "so an interval covers their variation; it does not cover other simulations, settings or sizes, nor the "
    "choice of test structures beyond that (no block bootstrap within a seed yet), nor is it corrected for "
    "the number of comparisons. Intervals of a single strategy hold what all strategies of a seed share; "
    "use the paired ones to compare."
)


@dataclass(frozen=True)
class StrategyResult:
    """One dataset × backbone × strategy over its seeds.

    Errors (``errors``, ``trivial``) are on the test split, by quantity: forces in meV/Å, energies in meV/atom;
    ``worse_than_trivial`` counts the seeds whose error is not below the trivial predictor's.  ``flops`` and
    ``seconds`` include the pretraining.  ``validation_ratio`` is validation force RMSE over the trivial one.
    """

    dataset: str
    backbone: str
    architecture: str
    readout: str
    strategy: str
    role: str
    task: str | None
    pretraining: str | None
    seeds: list[int]
    diverged: list[int]
    parameters: int
    steps: float
    flops: float
    errors: dict[str, Estimate]
    trivial: dict[str, float | None]
    worse_than_trivial: dict[str, int]
    validation_ratio: Estimate
    seconds: Estimate

    @property
    def place(self) -> tuple[str, str]:
        """Dataset and backbone."""
        return self.dataset, self.backbone

    @property
    def completed(self) -> int:
        """Number of seeds that did not diverge."""
        return len(self.seeds) - len(self.diverged)


@dataclass(frozen=True)
class Comparison:
    """A pretrained strategy against a reference, same seeds: Δ of test RMSE.

    ``step_ratio`` and ``flop_ratio`` are the reference's optimiser steps and counted FLOPs over those of the strategy
    with its pretraining.  ``matched`` marks, of several longer references of a role, the one nearest in budget.
    """

    dataset: str
    backbone: str
    strategy: str
    reference: str
    reference_role: str
    task: str | None
    reference_task: str | None
    quantity: Quantity
    matched: bool
    step_ratio: float
    flop_ratio: float
    change: Paired


@dataclass(frozen=True)
class PretrainingResult:
    """Whether one pretraining run learned: validation loss at the start, of the kept weights, and without context."""

    dataset: str
    backbone: str
    pretraining: str
    task: str
    seed: int
    diverged: bool
    loss_start: float | None
    loss_best: float | None
    floor: float | None
    below_start: bool
    below_floor: bool | None


@dataclass(frozen=True)
class Statistics:
    """All of ``statistics.json``."""

    strategies: list[StrategyResult]
    comparisons: list[Comparison]
    pretraining: list[PretrainingResult]

    def of(self, dataset: str, backbone: str) -> list[StrategyResult]:
        """The strategies of one dataset and backbone."""
        return [result for result in self.strategies if result.place == (dataset, backbone)]

    @property
    def places(self) -> list[tuple[str, str]]:
        """Every dataset and backbone, in order."""
        return list(dict.fromkeys(result.place for result in self.strategies))


def write_statistics(path: Path, statistics: Statistics) -> None:
    """Write ``statistics.json``; wall-clock numbers stand only under keys named ``seconds``."""
    write_json(path, {"level": LEVEL, "margin": MARGIN, "intervals": COVERS, **asdict(statistics)})


def load_statistics(path: Path) -> Statistics:
    """Read ``statistics.json``."""
    content = read_json(path)
    try:
        return Statistics(
            [_strategy(item) for item in content["strategies"]],
            [Comparison(**{**item, "change": Paired(**item["change"])}) for item in content["comparisons"]],
            [PretrainingResult(**item) for item in content["pretraining"]],
        )
    except (KeyError, TypeError) as error:
        raise PriorbenchError(f"{path}: made by another version ({error}); make the statistics again") from None


def _strategy(item: dict[str, Any]) -> StrategyResult:
    single = {name: Estimate(**item[name]) for name in ("validation_ratio", "seconds")}
    errors = {quantity: Estimate(**value) for quantity, value in item["errors"].items()}
    return StrategyResult(**{**item, **single, "errors": errors})
