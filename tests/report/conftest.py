"""Reports of a simulated experiment, with names that are not harmless, and a browser."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from tests.analysis import simulate

from priorbench.analysis.claims import claims
from priorbench.analysis.collect import collect
from priorbench.analysis.statistics import statistics
from priorbench.report.page import report

EVIDENCE = {"structure_steps": 1000, "seeds": 3}
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
FLAGS = ("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking")
EVIL = "<script>alert(1)</script>\"'"


def experiment(folder: Path, **options: Any) -> Path:
    """A simulated experiment as `make run` leaves it, without figures."""
    names = [folder / name for name in ("runs.csv", "curves.csv", "structures.csv", "trials.csv")]
    collect(simulate.Simulation(**options).write(folder / "runs"), *names)
    statistics(names[0], names[1], folder / "statistics.json")
    claims(names[0], names[1], folder / "statistics.json", EVIDENCE, folder)
    return folder


def rename(folder: Path, old: str, new: str) -> None:
    """Give a strategy another name in every table."""
    for name in ("runs.csv", "curves.csv"):
        table = pd.read_csv(folder / name, keep_default_na=False)
        table.replace({"strategy": {old: new}}).to_csv(folder / name, index=False)
    statistics(folder / "runs.csv", folder / "curves.csv", folder / "statistics.json")


def add_details(folder: Path) -> None:
    """Where errors lie, for every completed run."""
    runs = pd.read_csv(folder / "runs.csv")
    done = runs[(runs["stage"] == "finetune") & (runs["status"] == "completed")]
    rng, rows, points = np.random.default_rng(0), [], []
    keys = [("element", "H"), ("element", "O"), ("part", "translation"), ("part", "internal"), ("hydrogen_bonds", "4")]
    for run in done[["dataset", "backbone", "strategy", "seed"]].to_dict("records"):
        rows += [{**run, "kind": k, "key": v, "count": 9, "rmse": rng.uniform(90, 110), "mae": 70.0} for k, v in keys]
        for quantity in ("force", "energy"):
            values = rng.normal(size=30)
            points += [{**run, "quantity": quantity, "reference": v, "predicted": 1.1 * v} for v in values]
    pd.DataFrame(rows).to_csv(folder / "details.csv", index=False)
    pd.DataFrame(points).to_csv(folder / "parity.csv", index=False)


@pytest.fixture(scope="session")
def simulated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = experiment(tmp_path_factory.mktemp("report") / "simulated", diverged=(("gns", "mask", 1),))
    rename(folder, "denoise", EVIL)
    add_details(folder)
    (folder / "dynamics.csv").write_text(
        "dataset,backbone,strategy,seed,drift_mev_per_atom_per_ps\ntip3p,gns,mask,0,0.25\n"
    )
    return folder


@pytest.fixture(scope="session")
def page_file(simulated: Path) -> Path:
    report(simulated, simulated / "report.html")
    return simulated / "report.html"


@pytest.fixture(scope="session")
def page_text(page_file: Path) -> str:
    return page_file.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    found = next((path for name in BROWSERS if (path := shutil.which(name))), None)
    if found is None:
        pytest.skip(f"no browser: none of {', '.join(BROWSERS)} is installed")
    api = pytest.importorskip("playwright.sync_api", reason="no playwright")
    with api.sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=found, args=list(FLAGS))
        yield running
        running.close()


@pytest.fixture(scope="session")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two backbones, five strategies and 20 seeds: 200 runs of 300 epochs, after 80 pretrainings."""
    return experiment(tmp_path_factory.mktemp("large"), seeds=tuple(range(20)), epochs=300, pretrain_epochs=25)
