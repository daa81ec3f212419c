"""Tables of runs with known effects, made without training: what the questions read."""

import json
import re
import zlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from priorbench.analysis.records import CURVE_COLUMNS, RUN_COLUMNS, RUN_KEY, STRUCTURE_COLUMNS
from priorbench.analysis.statistics import statistics
from priorbench.cli import main
from priorbench.evaluation.probe_table import COLUMNS as PROBE_COLUMNS
from priorbench.io import read_json, write_rows
from priorbench.questions.base import Answer
from priorbench.questions.experiment import Experiment as Loaded
from priorbench.questions.experiment import load_experiment
from priorbench.registry import load

TRIVIAL = {"force": 2000.0, "energy": 40.0}
MASKING = {"name": "masking", "ratio": 0.5, "rule": "bonded", "element": "hydrogen"}
MASKING |= {"loss": "cosine", "permute": False, "readout": "own"}
DENOISING = {"name": "denoising", "sigma": 0.05, "readout": "own"}
EVIDENCE = {"structure_steps": 1000, "seeds": 3}


@dataclass
class Strategy:
    """A strategy and its true error over that of scratch; ``options`` are those of its pretraining."""

    factor: float
    role: str = "pretrained"
    options: dict[str, Any] | None = None
    settings: dict[str, Any] = field(default_factory=dict)
    pretraining_dataset: str | None = None
    labels: str | None = None
    steps: int = 1000  # of finetuning
    pretrain_steps: int = 400
    cost: float = 0.7  # of a pretraining step, in finetuning steps

    @property
    def task(self) -> str | None:
        return self.options["name"] if self.options else None


@dataclass
class Backbone:
    """An entry under ``backbones``; ``factors`` are further true factors of its strategies."""

    architecture: str = "gns"
    readout: str = "vector"
    learning_rate: float = 1e-3
    train_structures: int = 100
    protocol: str = "fair"
    scale: float = 1.0
    settings: dict[str, Any] = field(default_factory=dict)
    factors: dict[str, float] = field(default_factory=dict)


@dataclass
class Simulation:
    """Errors are 500 × all factors × one of the seed × noise, in meV/Å; energies a fiftieth, in meV/atom."""

    strategies: Mapping[str, Strategy]
    backbones: Mapping[str, Backbone] = field(default_factory=lambda: {"gns": Backbone()})
    datasets: tuple[str, ...] = ("water",)
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)
    noise: float = 0.004
    diverged: Iterable[tuple[str, str, int]] = ()  # backbone, strategy, seed
    stuck: Iterable[tuple[str, str, int]] = ()
    losses: Mapping[str, float] = field(default_factory=lambda: {"gns": 0.3})
    atoms: Mapping[str, int] = field(default_factory=dict)  # by dataset

    def rows(self) -> list[dict[str, Any]]:
        found: dict[tuple[Any, ...], dict[str, Any]] = {}
        for dataset, backbone, seed in self._cells():
            for name, strategy in self.strategies.items():
                row = self._finetuned(dataset, backbone, name, strategy, seed)
                if strategy.options:
                    parent = self._pretrained(strategy.pretraining_dataset or dataset, backbone, name, strategy, seed)
                    found[parent["dataset"], backbone, "pretrain", name, seed] = parent
                found[dataset, backbone, "finetune", name, seed] = row
        return list(found.values())

    def _cells(self) -> list[tuple[str, str, int]]:
        return [(d, b, s) for d in self.datasets for b in self.backbones for s in self.seeds]

    def _common(self, dataset: str, backbone: str, seed: int) -> dict[str, Any]:
        entry = self.backbones[backbone]
        return dict.fromkeys(RUN_COLUMNS) | {
            "experiment": "simulated", "dataset": dataset, "backbone": backbone, "architecture": entry.architecture,
            "readout": entry.readout, "seed": seed, "status": "completed", "batch_size": 8,
            "learning_rate": entry.learning_rate, "train_structures": entry.train_structures, "parameters": 12345,
            "threads": 1, "device": "cpu", "protocol": entry.protocol, "trial": 1, "trials": 1, "tuning_flops": 0.0,
            "seconds": 1.0, "total_seconds": 1.0, "pretrain_seconds": 0.0, "structures_per_s": 100.0,
            "trivial_val_force_rmse": TRIVIAL["force"], "epochs": 20, "pretrain_epochs": 0, "pretrain_steps": 0,
            "pretrain_flops": 0.0,
        }  # fmt: skip

    def _pretrained(self, dataset: str, backbone: str, name: str, strategy: Strategy, seed: int) -> dict[str, Any]:
        flops = self._flops(dataset, strategy.pretrain_steps) * strategy.cost
        masking = strategy.task == "masking"
        return self._common(dataset, backbone, seed) | {
            "stage": "pretrain", "strategy": name, "role": "pretraining", "task": strategy.task,
            "settings": json.dumps(strategy.options), "labels": strategy.labels, "steps": strategy.pretrain_steps,
            "structure_steps": 8 * strategy.pretrain_steps, "flops": flops, "total_flops": flops,
            "loss_start": 1.0, "floor": 0.479 if masking else None,
            "loss_best": self.losses.get(backbone, 0.3) * (1 + 0.01 * (seed % 3)),
        }  # fmt: skip

    def _flops(self, dataset: str, steps: int) -> float:
        return 1e8 * steps * self.atoms.get(dataset, 100)

    def _finetuned(self, dataset: str, backbone: str, name: str, strategy: Strategy, seed: int) -> dict[str, Any]:
        entry = self.backbones[backbone]
        lost = (backbone, name, seed) in set(self.diverged)
        rng = np.random.default_rng(zlib.crc32(repr((dataset, backbone, name, seed)).encode()))
        factor = strategy.factor * entry.factors.get(name, 1.0) * entry.scale * (1 + 0.05 * seed)
        force, energy = (500 * factor * float(np.exp(self.noise * rng.standard_normal())) for _ in range(2))
        if (backbone, name, seed) in set(self.stuck):
            force = 1.01 * TRIVIAL["force"]
        errors = dict.fromkeys(("force_rmse", "force_mae", "energy_rmse", "energy_mae"))
        if not lost:
            errors = {
                "force_rmse": force,
                "force_mae": force / 2,
                "energy_rmse": energy / 50,
                "energy_mae": energy / 99,
            }
        pretrained = strategy.options is not None
        work = self._flops(dataset, strategy.pretrain_steps) * strategy.cost if pretrained else 0.0
        flops = self._flops(dataset, strategy.steps)
        settings = {"name": "potential", "target_rms": 1.0, "label_spread": "force-rms", **entry.settings}
        return self._common(dataset, backbone, seed) | {
            "stage": "finetune", "strategy": name, "role": strategy.role, "task": strategy.task,
            "pretraining": name if pretrained else None, "pretraining_dataset": strategy.pretraining_dataset,
            "settings": json.dumps({**settings, "transfer": "all", **strategy.settings}),
            "status": "diverged" if lost else "completed", "steps": strategy.steps,
            "structure_steps": 8 * strategy.steps, "flops": flops, "total_flops": flops + work,
            "pretrain_flops": work, "pretrain_steps": strategy.pretrain_steps if pretrained else 0,
            "pretrain_epochs": 6 if pretrained else 0, "val_force_rmse": None if lost else force,
            "val_energy_rmse": None if lost else energy / 50, "best_epoch": None if lost else 12,
            **{f"test_{key}": value for key, value in errors.items()},
            "trivial_force_rmse": TRIVIAL["force"], "trivial_force_mae": 1500.0,
            "trivial_energy_rmse": TRIVIAL["energy"], "trivial_energy_mae": 30.0,
        }  # fmt: skip

    def curves(self) -> list[dict[str, Any]]:
        lost, found = set(self.diverged), []
        for row in self.rows():
            key = {name: row.get(name) for name in CURVE_COLUMNS if name in row}
            gone = (row["backbone"], row["strategy"], row["seed"]) in lost
            for epoch in range(8 if gone else 13):
                norm = (4 + 3 * (row["task"] is None)) * np.exp(-0.1 * epoch) * (1.7**epoch if gone else 1.0)
                norm *= 1 + 0.08 * row["seed"] + 0.2 * ((epoch * 7 + row["seed"]) % 3)
                error = row["val_force_rmse"] if epoch == row["best_epoch"] else 300 + 1500 * np.exp(-epoch / 3)
                values = {
                    "epoch": epoch,
                    "step": 50 * epoch,
                    "seconds": epoch / 10,
                    "grad_norm": norm if epoch else None,
                }
                found.append(dict.fromkeys(CURVE_COLUMNS) | key | values | {"val_force_rmse": error, "val_loss": 0.5})
        return found

    def write(self, root: Path) -> "Experiment":
        """Write the tables below ``root``."""
        write_rows(root / "runs.csv", self.rows(), list(RUN_COLUMNS))
        write_rows(root / "curves.csv", self.curves(), list(CURVE_COLUMNS))
        statistics(root / "runs.csv", root / "curves.csv", root / "statistics.json")
        return Experiment(root)


@dataclass
class Experiment:
    """Where the tables lie."""

    root: Path

    @property
    def tables(self) -> tuple[Path, Path, Path]:
        return self.root / "runs.csv", self.root / "curves.csv", self.root / "statistics.json"

    def load(self, probes: Path | None = None, structures: Path | None = None) -> Loaded:
        """What the questions read."""
        return load_experiment(*self.tables, probes, structures)

    def judge(self, question: str, probes: Path | None = None, structures: Path | None = None) -> Answer:
        """The answer, without drawing it."""
        found: Answer = load("question", question)().answer(self.load(probes, structures))
        assert [count_sentences(sentence) for sentence in found.sentences] == [1, 1], found.sentences
        return found

    def edit(self, change: Callable[[dict[str, Any]], None]) -> "Experiment":
        """Change rows of ``runs.csv``, what was kept in ``curves.csv`` too, and make the statistics again."""
        runs, curves = (
            pd.read_csv(path, dtype=str, keep_default_na=False).to_dict("records") for path in self.tables[:2]
        )
        for row in runs:
            change(row)
        kept = {(*(row[name] for name in RUN_KEY), row["best_epoch"]): row["val_force_rmse"] for row in runs}
        for row in curves:
            key = (*(row[name] for name in RUN_KEY), str(float(row["epoch"])))
            row["val_force_rmse"] = kept.get(key, kept.get((*key[:-1], row["epoch"]), row["val_force_rmse"]))
        write_rows(self.tables[0], runs)
        write_rows(self.tables[1], curves)
        statistics(*self.tables)
        return self

    def answer(self, question: str, evidence: dict[str, int] | None = None, **more: Path) -> dict[str, Any]:
        """Run the command and return ``answer.json``."""
        output = self.root / question
        options = [word for key, path in more.items() for word in (f"--{key.replace('_', '-')}", str(path))]
        arguments = [
            *("--runs-csv", str(self.root / "runs.csv"), "--curves-csv", str(self.root / "curves.csv")),
            *("--statistics", str(self.root / "statistics.json"), "--evidence", json.dumps(evidence or EVIDENCE)),
        ]
        assert main(["answer", "--question", question, *arguments, "--output", str(output), *options]) == 0
        found: dict[str, Any] = read_json(output / "answer.json")
        return found


def count_sentences(text: str) -> int:
    """Full stops that a space or the end follows."""
    return len(re.findall(r"\.(?=\s|$)", text))


def rows_of(found: Answer, **wanted: Any) -> list[dict[str, Any]]:
    """The rows of an answer's table with these values."""
    return [row for row in found.table.csv_rows() if all(row[key] == value for key, value in wanted.items())]


def baselines(times: tuple[float, ...] = ()) -> dict[str, Strategy]:
    """Scratch, as many steps and FLOPs as masking, and ``times`` as many; the error goes by budget^−0.5."""
    found = {
        "scratch": Strategy(1.0, "scratch"),
        "longer-steps": Strategy(1.4**-0.5, "longer-steps", steps=1400),
        "longer-compute": Strategy(1.28**-0.5, "longer-compute", steps=1280),
    }
    for n in times:
        longer = {"longer": {"by": "steps", "times": n}}
        found[f"longer-{n:g}"] = Strategy(n**-0.5, "longer-steps", settings=longer, steps=round(1000 * n))
    return found


def masked(factor: float, role: str = "variant", **options: Any) -> Strategy:
    return Strategy(factor, role, {**MASKING, **options})


def denoised(factor: float, role: str = "variant", **options: Any) -> Strategy:
    return Strategy(factor, role, {**DENOISING, **options})


def write_probes(path: Path, rows: list[dict[str, Any]]) -> Path:
    write_rows(path, rows, list(PROBE_COLUMNS))
    return path


def write_structures(path: Path, atoms: Mapping[str, int]) -> Path:
    key = {"backbone": "gns", "stage": "finetune", "strategy": "scratch", "seed": 0}
    rows = [
        {**key, "dataset": d, "structure": i, "group": i, "atoms": n, "force_rmse": 1.0, "energy_error": 1.0}
        for d, n in atoms.items()
        for i in range(3)
    ]
    write_rows(path, rows, list(STRUCTURE_COLUMNS))
    return path
