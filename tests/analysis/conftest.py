"""Simulated experiments, written once for the tests that only read them."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from tests.analysis import simulate

from priorbench.analysis.claims import claims
from priorbench.analysis.collect import collect
from priorbench.analysis.statistics import statistics
from priorbench.analysis.tables import tables

EVIDENCE = {"structure_steps": 1000, "seeds": 3}


@dataclass
class Experiment:
    """Where a simulated experiment lies."""

    root: Path
    runs: list[Path]

    @property
    def runs_csv(self) -> Path:
        return self.root / "runs.csv"

    @property
    def curves_csv(self) -> Path:
        return self.root / "curves.csv"

    @property
    def statistics_json(self) -> Path:
        return self.root / "statistics.json"

    @property
    def structures_csv(self) -> Path:
        return self.root / "structures.csv"

    @property
    def trials_csv(self) -> Path:
        return self.root / "trials.csv"

    def run(self, backbone: str, strategy: str, seed: int, dataset: str = "tip3p") -> Path:
        return self.root / "runs" / dataset / backbone / strategy / f"seed{seed}"

    def collect(self) -> "Experiment":
        collect(self.runs, self.runs_csv, self.curves_csv, self.structures_csv, self.trials_csv)
        return self

    def analyse(self, evidence: dict[str, int] = EVIDENCE) -> "Experiment":
        self.collect()
        statistics(self.runs_csv, self.curves_csv, self.statistics_json, self.structures_csv)
        tables(self.runs_csv, self.statistics_json, evidence, self.root / "tables")
        claims(self.runs_csv, self.curves_csv, self.statistics_json, evidence, self.root)
        return self


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., Experiment]:
    """Write a simulated experiment; keywords are those of the simulation."""

    def build(folder: str = "experiment", **options: Any) -> Experiment:
        root = tmp_path / folder
        return Experiment(root, simulate.Simulation(**options).write(root / "runs"))

    return build


@pytest.fixture
def sim() -> ModuleType:
    return simulate


@pytest.fixture(scope="session")
def analysed(tmp_path_factory: pytest.TempPathFactory) -> Experiment:
    """A whole experiment with one diverged run; read only."""
    root = tmp_path_factory.mktemp("analysed")
    simulation = simulate.Simulation(diverged=(("gns", "scratch", 1),))
    return Experiment(root, simulation.write(root / "runs")).analyse()
