"""The plan itself: what every stage does and costs, and where the time goes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from priorbench.plan.prices import Key, Prices
from priorbench.plan.sizes import Sizes
from priorbench.plan.stages import Effort, Stage, effort

PARTS = {
    "data": "data: simulating or downloading",
    "pretraining": "pretraining, optimiser steps",
    "finetuning": "finetuning, optimiser steps",
    "validation": "validation passes",
    "test": "test passes",
    "start": "start-up of jobs, set-up of runs",
    "other": "other jobs: data, splits, analysis",
}


@dataclass(frozen=True)
class Seconds:
    """Core (or GPU) seconds of one run."""

    training: float  # optimiser steps
    validation: float
    test: float
    setup: float

    @property
    def total(self) -> float:
        """All of them."""
        return self.training + self.validation + self.test + self.setup


@dataclass(frozen=True)
class Line:
    """A stage with what each of its seeds does; the trials of a seed do the same."""

    stage: Stage
    efforts: tuple[Effort, ...] = ()  # one a seed; none where sizes are unknown
    flops: float | None = None  # of a structure-step
    step: float | None = None  # s of a structure-step
    seconds: tuple[Seconds, ...] = ()  # one a seed; none where they are unknown
    starts: float = 0.0  # s of all jobs together before their first run

    @property
    def total_flops(self) -> float | None:
        """Of all runs."""
        return None if self.flops is None else self.stage.trials * self.flops * sum(e.visits for e in self.efforts)

    @property
    def total(self) -> float | None:
        """Seconds of all runs, those of starting their jobs included."""
        return self.stage.trials * sum(s.total for s in self.seconds) + self.starts if self.seconds else None

    def mean(self, name: str) -> float | None:
        """Of the seeds: a field of their efforts or of their seconds, None where those are unknown."""
        values = [getattr(each, name) for each in (*self.efforts, *self.seconds) if hasattr(each, name)]
        return sum(values) / len(values) if values else None


def lines_of(
    stages: Sequence[Stage], sizes: Mapping[str, Sizes | None], prices: Prices, seeds_per_job: int
) -> list[Line]:
    """A line a stage, in order; a longer run is matched to the pretraining of the same seed."""
    found: dict[Key, Line] = {}
    for stage in sorted(stages, key=lambda s: s.kind != "pretrain"):
        known = sizes[stage.dataset]
        found[stage.key] = _line(stage, known, prices, seeds_per_job, found) if known else Line(stage)
    return [found[stage.key] for stage in stages]


def _line(stage: Stage, sizes: Sizes, prices: Prices, seeds_per_job: int, before: Mapping[Key, Line]) -> Line:
    price, efforts = prices.of[stage.key], []
    matched = _matched(stage, before)
    if stage.spec.get("longer") and stage.parents[0] and matched is None:
        return Line(stage)  # to a pretraining on structures that are unknown until read
    for seed in range(stage.seeds):
        other = (matched.efforts[seed], matched.flops or 0.0) if matched else None
        budget = (other[0].steps, other[1] * other[0].visits) if other else None
        efforts.append(effort(stage, seed, budget, price.flops))
    if price.step is None or price.validation is None or price.test is None or price.setup is None:
        return Line(stage, tuple(efforts), price.flops)
    seconds = tuple(
        Seconds(
            e.visits * price.step,
            (e.epochs + 1) * sizes.counts["validation"][seed] * price.validation,
            sizes.counts["test"][seed] * price.test if stage.kind == "finetune" else 0.0,
            price.setup,
        )
        for seed, e in enumerate(efforts)
    )
    starts = stage.runs / seeds_per_job * (prices.start or 0.0)
    return Line(stage, tuple(efforts), price.flops, price.step, seconds, starts)


def _matched(stage: Stage, before: Mapping[Key, Line]) -> Line | None:
    """The line of the pretraining that a longer run is matched to, if its budget is known."""
    if not stage.spec.get("longer") or not stage.parents[0]:
        return None
    dataset, name = stage.parents[0]
    line = before[dataset, stage.backbone, "pretrain", name]
    return line if line.efforts else None


def sums(lines: Sequence[Line], data: float | None, other: float) -> dict[str, float]:
    """Seconds by what they are spent on, of the lines whose seconds are known."""
    parts = dict.fromkeys(PARTS, 0.0)
    parts["data"], parts["other"] = data or 0.0, other
    for line in lines:
        kind = "pretraining" if line.stage.kind == "pretrain" else "finetuning"
        for each in line.seconds:
            parts[kind] += line.stage.trials * each.training
            parts["validation"] += line.stage.trials * each.validation
            parts["test"] += line.stage.trials * each.test
            parts["start"] += line.stage.trials * each.setup
        parts["start"] += line.starts
    return parts


def as_json(line: Line) -> dict[str, Any]:
    """A line for machines; means over the seeds, s and FLOP."""
    stage = line.stage
    return {
        "dataset": stage.dataset,
        "backbone": stage.backbone,
        "stage": stage.kind,
        "name": stage.name,
        "task": stage.spec["task"]["name"],
        "seeds": stage.seeds,
        "trials": stage.trials,
        "runs": stage.runs,
        "epochs": line.mean("epochs"),
        "batch_size": stage.batch,
        "train_structures": list(stage.structures) if stage.structures else None,
        "steps": [e.steps for e in line.efforts],
        "structure_steps": [e.visits for e in line.efforts],
        "flops_per_structure_step": line.flops,
        "seconds_per_structure_step": line.step,
        "seconds_per_run": {name: line.mean(name) for name in ("training", "validation", "test", "setup", "total")},
        "start_seconds": line.starts if line.seconds else None,
        "total_flops": line.total_flops,
        "total_seconds": line.total,
    }
