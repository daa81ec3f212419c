"""Where the time of an experiment went, by its own records.

In:  benchmarks/<rule>….tsv, one a job, with the seconds from the start of its process to its end; run.json of every
     run, with those of its parts
Out: accounting.json

All times are core time: a job holds one core, and the whole is the wall time × the cores that were to be had.  What no
job and no part of a run accounts for is the last entry: Snakemake itself, its report, and cores that had nothing to do.
"""

import csv
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from priorbench import provenance
from priorbench.errors import PriorbenchError
from priorbench.io import read_object, write_json

FILE = "accounting.json"
DATA_RULES = ("acquire", "convert", "neighbours", "split")  # their whole jobs
RUN_FOLDERS = {"pretrain": "pretrained", "finetune": "runs"}  # of the rules that train
PARTS = {
    "data": "data: generating, converting, neighbours, splits",
    "training": "training: optimiser steps and validation",
    "setup": "set-up of training jobs: starting, loading, counting FLOPs, writing",
    "evaluation": "evaluation on the test structures",
    "analysis": "analysis: cards, tables, figures, verdicts",
    "rest": "Snakemake, its report, idle cores",
}
USEFUL = ("data", "training")
FIELDS = ("wall_seconds", "cores", "jobs", "core_seconds", "outside")  # of the file


@dataclass(frozen=True)
class Job:
    """A finished job; its records are those of ``runs`` where it trained."""

    rule: str
    started: float  # s, Unix time
    ended: float
    runs: tuple[Mapping[str, Any], ...] = ()


def accounting(experiment: Path, cores: str, started: float | None = None, output: Path | None = None) -> None:
    """Write ``accounting.json`` of the jobs done since ``started`` (s, Unix time) on ``cores`` (a number or ``all``).

    It goes to ``output``, by default the folder of the experiment.  Wall time goes from ``started`` to now; without it,
    from the start of the first job ever recorded to the end of the last, pauses between included.  Where no job was
    done, what stands there is left.
    """
    jobs = [job for job in read_jobs(experiment) if started is None or job.started >= started]
    if not jobs:
        return
    begin, end = min(job.started for job in jobs), max(job.ended for job in jobs)
    wall = end - begin if started is None else time.time() - started
    write_json((output or experiment) / FILE, account(jobs, wall, _number(cores)))


def account(jobs: Sequence[Job], wall: float, cores: int) -> dict[str, Any]:
    """Core seconds of every part, and the share of the whole that is neither data nor training."""
    seconds = dict.fromkeys(PARTS, 0.0)
    for job in jobs:
        own = job.ended - job.started
        if job.rule in RUN_FOLDERS:
            training = sum(run["seconds"] + run["validation_seconds"] for run in job.runs)
            evaluation = sum(run.get("evaluation_seconds", 0.0) for run in job.runs)
            seconds["training"] += training
            seconds["evaluation"] += evaluation
            seconds["setup"] += own - training - evaluation
        else:
            seconds["data" if job.rule in DATA_RULES else "analysis"] += own
    whole = wall * cores
    seconds["rest"] = whole - sum(seconds.values())
    outside = 1 - sum(seconds[part] for part in USEFUL) / whole
    return dict(zip(FIELDS, (wall, cores, len(jobs), seconds, outside), strict=True))


def read_jobs(experiment: Path) -> list[Job]:
    """Every job that the experiment has a benchmark of, the last of each."""
    root = experiment / "benchmarks"
    return [_read_job(experiment, path, path.relative_to(root)) for path in sorted(root.rglob("*.tsv"))]


def _read_job(experiment: Path, path: Path, place: Path) -> Job:
    try:
        with path.open(encoding="utf-8", newline="") as file:
            duration = float(next(csv.DictReader(file, delimiter="\t"))["s"])
    except (StopIteration, KeyError, ValueError, UnicodeDecodeError):
        raise PriorbenchError(f"{path}: no benchmark of Snakemake's; delete it") from None
    ended = path.stat().st_mtime
    rule = place.with_suffix("").parts[0]
    return Job(rule, ended - duration, ended, _runs(experiment, rule, place, ended - duration))


def _runs(experiment: Path, rule: str, place: Path, started: float) -> tuple[Mapping[str, Any], ...]:
    """Records of the runs that a job did: of the seed that its benchmark is named after, else of every seed."""
    if rule not in RUN_FOLDERS:
        return ()
    seed = place.stem if place.stem.startswith("seed") else "seed*"
    folder = experiment.joinpath(RUN_FOLDERS[rule], *place.parts[1:-1])
    records = [path for path in sorted(folder.glob(f"{seed}/run.json")) if path.stat().st_mtime >= started]
    return tuple(_record(path) for path in records)


def _record(path: Path) -> Mapping[str, Any]:
    return read_object(path, ("seconds", "validation_seconds"), "run it again")


def _number(cores: str) -> int:
    if cores == "all":
        return provenance.cores()
    if not cores.isdecimal() or int(cores) == 0:
        raise PriorbenchError(f"--cores: {cores!r} is neither a number of cores nor all")
    return int(cores)


def lines(content: Mapping[str, Any]) -> list[str]:
    """What ``accounting.json`` says, a line a part with its share of the whole."""
    whole = content["wall_seconds"] * content["cores"]
    rows = [(text, content["core_seconds"][part]) for part, text in PARTS.items()]
    rows.append(("neither data nor training", content["outside"] * whole))
    width = max(len(text) for text, _ in rows)
    return [f"{text:{width}}  {seconds:8.1f} s  {100 * seconds / whole:5.1f} %" for text, seconds in rows]
