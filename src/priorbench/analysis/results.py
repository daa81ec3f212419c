"""What ``statistics.json`` holds, as types, and its reader and writer."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import TypeAdapter, ValidationError

from priorbench.analysis.intervals import LEVEL, MARGIN, Estimate, Paired
from priorbench.analysis.within import Within
from priorbench.errors import PriorbenchError
from priorbench.io import read_json, read_object, write_json

Quantity = Literal["force", "energy"]
QUANTITY_NAMES: tuple[Quantity, ...] = ("force", "energy")

#: Roles of the references that the table of errors has columns for.
TABLE_ROLES = ("scratch", "longer-steps")

COVERS = (
    "95 % over seeds. A seed draws the split (where it is resampled), the initial weights and the order of batches, "
    "so an interval covers their variation; it does not cover other simulations, settings or sizes. What the choice "
    "of test structures contributes is bootstrapped within each seed over groups and given beside (share of variance; "
    "where all seeds share their test structures the interval does not hold it). Intervals and verdicts are those of "
    "single comparisons; beside a decided verdict stands whether it survives Holm's correction over all comparisons "
    "shown of its quantity with references of its kind. Intervals of a single strategy hold what all strategies of a "
    "seed share; use the paired ones to compare."
)


@dataclass(frozen=True)
class StrategyResult:
    """One dataset × backbone × strategy over its seeds.

    Errors (``errors``, ``trivial``) are on the test split, by quantity: forces in meV/Å, energies in meV/atom;
    ``worse_than_trivial`` counts the seeds whose error is not below the trivial predictor's; ``stuck`` are the seeds
    that completed with such a force RMSE: failed training that did not diverge.  ``flops`` and ``seconds`` include the
    pretraining, ``tuning_flops`` all ``trials`` with their pretrainings (0 where it was not recorded).
    ``learning_rate`` is the median over seeds.  ``validation_ratio`` is validation force RMSE over the trivial one.
    ``source`` is where the dataset comes from, ``pretraining_dataset`` where the pretraining's structures do if not
    from the same dataset; None in results older than these fields.  ``parents`` are the pretrainings that the seeds
    started from, in their order: trials may differ in them, ``pretraining`` is the first.
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
    stuck: list[int]
    source: str | None
    pretraining_dataset: str | None
    parents: list[str | None]
    learning_rate: float
    trials: int
    tuning_flops: float

    @property
    def place(self) -> tuple[str, str]:
        """Dataset and backbone."""
        return self.dataset, self.backbone

    @property
    def learned_from(self) -> str:
        """The dataset of its pretraining."""
        return self.pretraining_dataset or self.dataset

    @property
    def completed(self) -> int:
        """Number of seeds that did not diverge."""
        return len(self.seeds) - len(self.diverged)

    def trained(self, quantity: str) -> list[float]:
        """Errors of the seeds whose training neither diverged nor got stuck."""
        done = [seed for seed in self.seeds if seed not in self.diverged]
        return [e for seed, e in zip(done, self.errors[quantity].values, strict=True) if seed not in self.stuck]

    def stuck_with(self, other: Self) -> list[int]:
        """Seeds in which neither of the two was trained."""
        return sorted(set(self.stuck) & set(other.stuck))


@dataclass(frozen=True)
class Comparison:
    """A pretrained strategy or a variant (by ``role``) against a reference, same seeds: Δ of test RMSE.

    ``step_ratio`` and ``flop_ratio`` are the reference's optimiser steps and counted FLOPs over those of the strategy
    with its pretraining.  ``matched`` marks, of several longer references of a role, the one nearest in budget.
    ``within`` is None where no errors by structure were given.
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
    role: str = "pretrained"
    within: Within | None = None

    @property
    def judged(self) -> bool:
        """Whether claims are judged by it: variants are shown in tables only."""
        return self.role == "pretrained"

    @property
    def shown(self) -> bool:
        """Whether the table or the scorecard shows it: what counts when p-values are corrected."""
        in_table = self.matched and self.reference_role in TABLE_ROLES
        return in_table or (self.matched and self.judged and self.task == "masking")

    @property
    def survives(self) -> bool:
        """Whether its verdict holds after the correction for the number of comparisons."""
        return self.change.survives


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
        TypeAdapter(Statistics).validate_python(content)
        return Statistics(
            [_strategy(item) for item in content["strategies"]],
            [_comparison(item) for item in content["comparisons"]],
            [PretrainingResult(**item) for item in content["pretraining"]],
        )
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise PriorbenchError(f"{path}: {where}: {first['msg']}; make the statistics again") from None
    except (KeyError, TypeError) as error:
        raise PriorbenchError(f"{path}: made by another version ({error}); make the statistics again") from None


def load_claims(experiment: Path) -> dict[str, Any] | None:
    """Read ``claims.json``; None where there is none, as of an experiment that was made for a question."""
    path = experiment / "claims.json"
    return read_object(path, ("claims", "evidence"), "run `priorbench claims` again") if path.is_file() else None


def load_answer(experiment: Path) -> dict[str, Any] | None:
    """Read ``answer/answer.json``; None where there is none, as of an experiment that was made for the claims."""
    path, keys = experiment / "answer" / "answer.json", ("question", "title", "verdict", "evidence")
    return read_object(path, keys, "run `priorbench answer` again") if path.is_file() else None


def _strategy(item: dict[str, Any]) -> StrategyResult:
    single = {name: Estimate(**item[name]) for name in ("validation_ratio", "seconds")}
    errors = {quantity: Estimate(**value) for quantity, value in item["errors"].items()}
    if not all(value > 0 for found in errors.values() for value in found.values):
        raise TypeError("an error that is not positive")
    completed = len(item["seeds"]) - len(item["diverged"])
    if not {"force_rmse", "energy_rmse"} <= set(errors) or any(len(e.values) != completed for e in errors.values()):
        raise TypeError("not an error for each seed")
    return StrategyResult(**{**item, **single, "errors": errors})


def _comparison(item: dict[str, Any]) -> Comparison:
    inside = item.get("within")
    return Comparison(**{**item, "change": Paired(**item["change"]), "within": inside and Within(**inside)})


def lost(results: Iterable[StrategyResult], most: int = 6) -> str:
    """Which runs diverged, as a sentence for captions, ``most`` strategies by name; empty where none did."""
    found = [
        f"{result.strategy} ({result.backbone}, {result.dataset}) {len(result.diverged)} of {len(result.seeds)}"
        for result in results
        if result.diverged
    ]
    more = [f"and {len(found) - most} further strategies"] if len(found) > most else []
    return f"Diverged, counted but without errors to draw: {', '.join([*found[:most], *more])}." if found else ""
