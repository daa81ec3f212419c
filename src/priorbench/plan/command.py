"""``priorbench plan``: the runs of an experiment and what they will cost, printed."""

import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from priorbench import provenance
from priorbench.config import Config, load_config
from priorbench.datasets.pipeline import has_checks
from priorbench.errors import PriorbenchError
from priorbench.io import to_json
from priorbench.plan.cost import priced
from priorbench.plan.generation import Generation, generation_of
from priorbench.plan.lines import Line, as_json, lines_of, sums
from priorbench.plan.needs import MARGIN, save
from priorbench.plan.prices import Prices
from priorbench.plan.schedule import jobs_of, wall_seconds
from priorbench.plan.sizes import Sizes, sizes_of
from priorbench.plan.stages import stages_of
from priorbench.plan.table import as_text
from priorbench.runs import dataset_spec

RESULTS = Path("results")


@dataclass(frozen=True)
class Plan:
    """All that is known of an experiment beforehand."""

    config: Config
    sizes: dict[str, Sizes | None]
    prices: Prices
    lines: list[Line]
    data: list[Generation]
    parts: dict[str, float]  # s by what they are spent on
    cores: int
    wall: float | None  # s
    notes: list[str]


def plan(config: Path, machine: Path | None, cores: int | None, measured: bool, json: bool, keep: bool = False) -> None:
    """Print the plan of the experiment in the file ``config``, as a table or as ``json``.

    Nothing is written unless ``keep``: then the times that jobs ask a cluster for, beside the results.
    """
    if cores is not None and cores < 1:
        raise PriorbenchError(f"--cores: {cores} is less than 1")
    made = planned(load_config(config), RESULTS, machine, cores, measured)
    print(to_json(as_object(made)) if json else as_text(made), end="\n" if not json else "")
    if keep:
        path = save(made, RESULTS / made.config.experiment)
        print(f"{path}: jobs will ask a cluster for {MARGIN:g} times these times", file=sys.stderr)


def planned(config: Config, results: Path, machine: Path | None, cores: int | None, measured: bool) -> Plan:
    """The plan of ``config``; ``results`` is where frames and records of an earlier time are."""
    sizes = {name: sizes_of(config, name, results) for name in config.datasets}
    stages = stages_of(config, sizes)
    prices = priced(stages, sizes, config.device, machine, measured)
    together = len(config.seeds) if config.seeds_per_job == "all" else 1
    lines = lines_of(stages, sizes, prices, together)
    data = [generation_of(config, name, results, measured) for name in config.datasets]
    start = prices.start or 0.0
    count = cores or (1 if config.device == "cuda" else provenance.cores())
    small = [start] * small_jobs(config)
    on_cores = config.device == "cpu"  # as networks are: then data and analysis are in the same sum
    known = prices.start is not None
    wall = wall_seconds(jobs_of(lines, data, together, small), count) if known else None
    making = sum(made.parts * (made.seconds or 0.0) for made in data)
    parts = sums(lines, making, sum(small)) if on_cores else sums(lines, 0.0, 0.0)
    return Plan(config, sizes, prices, lines, data, parts, count, wall, _notes(config, sizes, prices, data, small))


def small_jobs(config: Config) -> int:
    """Jobs besides acquiring and training, each about as long as a start: conversion, card, neighbours; analysis."""
    cutoffs = {backbone.cutoff for backbone in config.backbones.values()}
    checked = sum(has_checks(dataset_spec(config, name)) for name in config.datasets)
    relabelled = {(stage.dataset, stage.labels) for stage in config.pretraining.values() if stage.labels}
    analysis = 4  # statistics, tables, figures, claims
    return len(config.datasets) * (2 + len(cutoffs)) + checked + len(relabelled) + analysis


def as_object(made: Plan) -> dict[str, Any]:
    """The plan for machines, s and FLOP."""
    return {
        "experiment": made.config.experiment,
        "device": made.config.device,
        "basis": made.prices.basis,
        "sizes": {name: _sizes(sizes) for name, sizes in made.sizes.items()},
        "lines": [as_json(line) for line in made.lines],
        "data": [asdict(each) for each in made.data],
        "start_seconds_per_job": made.prices.start,
        "seconds": made.parts if made.prices.start is not None else None,
        "total_seconds": sum(made.parts.values()) if made.prices.start is not None else None,
        "total_flops": sum(line.total_flops or 0.0 for line in made.lines),
        "cores": made.cores,
        "wall_seconds": made.wall,
        "notes": made.notes,
    }


def _sizes(sizes: Sizes | None) -> dict[str, Any] | None:
    if sizes is None:
        return None
    return {"origin": sizes.origin, "structures": sizes.total, "mean_atoms": sizes.mean_atoms, **sizes.counts}


def _notes(
    config: Config, sizes: dict[str, Sizes | None], prices: Prices, data: list[Generation], small: list[float]
) -> list[str]:
    notes = []
    for name, known in sizes.items():
        if known is None:
            notes.append(f"{name}: sizes are unknown until it is read; it is not in the sums")
        elif known.origin == "frames":
            notes.append(f"{name}: sizes are those of {known.frames}")
        else:
            notes.append(f"{name}: sizes are expected from its options, costs from water of as many atoms")
    for made in data:
        each = "" if made.seconds is None else f" of {made.seconds:.3g} s"
        notes.append(f"{made.dataset}: {made.parts} part{'s' * (made.parts > 1)}{each}; {made.basis}")
    notes += prices.notes
    if prices.start is not None:
        notes.append(f"a job takes {prices.start:.2g} s to start, and so long is each of {len(small)} other jobs taken")
    if config.device == "cuda":
        notes.append("GPU-hours are those of training jobs; data and analysis take cores")
    notes.append("everything counts from nothing, also what exists already; Snakemake itself and probes are not in it")
    return notes
