"""What making a dataset takes: by the records of an earlier time, else by a few time steps of its simulation."""

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from priorbench.bench.process import isolated
from priorbench.config import Config
from priorbench.datasets.pipeline import parts
from priorbench.runs import dataset_spec

SIMULATED = "tip3p"  # the source that simulates


@dataclass(frozen=True)
class Generation:
    """Of one dataset."""

    dataset: str
    parts: int  # jobs
    seconds: float | None  # of each; None: unknown
    basis: str


def generation_of(config: Config, dataset: str, results: Path, measured: bool) -> Generation:
    """How long ``dataset`` takes to simulate or fetch."""
    spec = dataset_spec(config, dataset)
    names = parts(spec)
    records = results / config.experiment / "benchmarks" / "acquire" / dataset
    times = [seconds for name in names if (seconds := _recorded(records / f"{name}.tsv")) is not None]
    if times:
        return Generation(dataset, len(names), sum(times) / len(times), f"by {len(times)} records of {records}")
    if spec["source"] != SIMULATED:
        return Generation(dataset, len(names), None, "reading or downloading is not estimated")
    steps = simulated_steps(spec["options"])
    if not measured:
        return Generation(dataset, len(names), None, f"{steps} simulated steps each, not timed")
    took: Mapping[str, float] = isolated("priorbench.plan.worker:simulation", options=spec["options"])
    seconds = took["begin"] + steps * took["step"]
    basis = f"{steps} simulated steps of {1000 * took['step']:.2f} ms each, timed here"
    return Generation(dataset, len(names), seconds, basis)


def simulated_steps(options: Mapping[str, Any]) -> int:
    """Time steps of one trajectory, equilibration included."""
    equilibration: int = round(options["equilibration_ps"] * 1e3 / options["timestep"])
    return equilibration + int(options["frames"]) * int(options["interval_steps"])


def _recorded(path: Path) -> float | None:
    """Seconds of a job by Snakemake's record."""
    try:
        with path.open(encoding="utf-8", newline="") as file:
            return float(next(csv.DictReader(file, delimiter="\t"))["s"])
    except (OSError, StopIteration, KeyError, ValueError):
        return None
