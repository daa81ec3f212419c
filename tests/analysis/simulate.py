"""Simulated run directories: what training leaves behind, without training."""

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

METRICS = [
    "epoch",
    "step",
    "seconds",
    "learning_rate",
    "train_loss",
    "val_loss",
    "val_force_rmse",
    "val_energy_rmse",
    "grad_norm",
    "structures_per_s",
]
TRIVIAL = 2000.0
KEPT = {
    "val_force_rmse": "val_force_rmse",
    "loss_best": "val_loss",
}  # by the field of a record, the column of the curve
QUANTITIES = ("force_rmse", "force_mae", "energy_rmse", "energy_mae")


@dataclass
class Strategy:
    """A strategy and its true error relative to scratch."""

    role: str
    factor: float
    task: str | None = None
    pretraining: str | None = None


def default_strategies() -> dict[str, Strategy]:
    return {
        "scratch": Strategy("scratch", 1.0),
        "longer-steps": Strategy("longer-steps", 0.85),
        "longer-compute": Strategy("longer-compute", 0.88),
        "denoise": Strategy("pretrained", 0.95, "denoising", "denoise"),
        "mask": Strategy("pretrained", 0.6, "masking", "mask"),
    }


@dataclass
class Simulation:
    """An experiment to write; errors are 600 × factor × a factor of the seed × noise, in meV/Å."""

    datasets: tuple[str, ...] = ("tip3p",)
    backbones: dict[str, str] = field(default_factory=lambda: {"egnn": "gradient", "gns": "vector"})
    strategies: dict[str, Strategy] = field(default_factory=default_strategies)
    seeds: tuple[int, ...] = (0, 1, 2)
    epochs: int = 20
    pretrain_epochs: int = 6
    noise: float = 0.02
    wobble: float = 0.001  # of the curves, from epoch to epoch
    diverged: tuple[tuple[str, str, int], ...] = ()  # backbone, strategy, seed
    time_scale: float = 1.0  # the clock of another execution
    trials: int = 1  # the second is the best, by a tenth
    groups: int = 0  # of three test structures each
    architectures: dict[str, str] = field(default_factory=dict)  # where not the backbone's name
    learning_rates: dict[str, float] = field(default_factory=dict)  # where not 0.001
    source: str | None = None
    stuck: tuple[tuple[str, str, int], ...] = ()  # backbone, strategy, seed: no better than the trivial predictor

    def write(self, root: Path) -> list[Path]:
        """Write every run below ``root`` and return the directories."""
        found = []
        for dataset in self.datasets:
            for backbone in self.backbones:
                for seed in self.seeds:
                    for name in {s.pretraining for s in self.strategies.values() if s.pretraining}:
                        found.append(self._pretrain(root, dataset, backbone, name, seed))
                    for name in self.strategies:
                        for trial in range(1, self.trials + 1):
                            found.append(self._finetune(root, dataset, backbone, name, seed, trial))
        return found

    def _common(self, dataset: str, backbone: str, seed: int) -> dict[str, Any]:
        return {
            "experiment": "simulated",
            "dataset": dataset,
            "source": self.source,
            "backbone": backbone,
            "architecture": self.architectures.get(backbone, backbone),
            "readout": self.backbones[backbone],
            "seed": seed,
            "status": "completed",
            "train_structures": 100,
            "batch_size": 8,
            "learning_rate": self.learning_rates.get(backbone, 1e-3),
            "parameters": 12345,
            "threads": 1,
            "device": "cpu",
            "data_hash": digest(dataset),
            "split_hash": digest(dataset, seed),
            "version": "0.1.0",
            "commit": "abc",
            "initial_checksum": digest("initial", dataset, backbone, seed),
        }

    def _pretrain(self, root: Path, dataset: str, backbone: str, name: str, seed: int) -> Path:
        masking = any(s.pretraining == name and s.task == "masking" for s in self.strategies.values())
        common = self._common(dataset, backbone, seed)
        floor = (0.479 if common["readout"] == "vector" else 0.73) if masking else None
        rate = 8 if masking else 4
        losses = 0.35 + 0.65 * np.exp(-np.arange(self.pretrain_epochs + 1) / rate) + 0.01 * seed
        run = {
            **common,
            **self._work(self.pretrain_epochs, 0.7),
            "stage": "pretrain",
            "strategy": name,
            "role": "pretraining",
            "task": "masking" if masking else "denoising",
            "pretraining": None,
            "config_hash": digest("config", name, backbone, seed),
            "start_checksum": common["initial_checksum"],
            "final_checksum": digest("final", dataset, backbone, name, seed),
            "parent": None,
            "parent_checksum": None,
            "best_epoch": self.pretrain_epochs,
            "loss_start": losses[0],
            "loss_best": losses[-1],
            "floor": floor,
        }
        path = root / dataset / backbone / f"pretrain-{name}" / f"seed{seed}"
        rows = [self._metrics(epoch, 0.7, val_loss=loss) for epoch, loss in enumerate(losses)]
        write_run(path, run, rows, None)
        return path

    def _finetune(self, root: Path, dataset: str, backbone: str, name: str, seed: int, trial: int) -> Path:
        strategy, common = self.strategies[name], self._common(dataset, backbone, seed)
        lost = (backbone, name, seed) in self.diverged
        epochs = (
            self.epochs + {"longer-steps": 6, "longer-compute": 4}.get(strategy.role, 0) * self.pretrain_epochs // 6
        )
        key = (dataset, backbone, name, seed) if trial == 1 else (dataset, backbone, name, seed, trial)
        rng = np.random.default_rng(int(digest(*key)[:8], 16))
        scale = 600 * {"egnn": 1.0, "gns": 1.4, "forcenet": 0.8}.get(backbone, 1.0) * (1 + 0.05 * seed)
        error = scale * strategy.factor * float(np.exp(self.noise * rng.standard_normal()))
        error *= 1.0 if self.trials == 1 else 1 + 0.1 * abs(trial - 2)
        error = 1.1 * TRIVIAL if (backbone, name, seed) in self.stuck else error
        decay = 4.0 if strategy.role != "pretrained" else 2.5
        time = np.arange(epochs + 1) / epochs
        wobble = 4 * self.wobble * time * (1 - time) * rng.standard_normal(epochs + 1)
        curve = (error + (0.95 * TRIVIAL - error) * np.exp(-1.5 * decay * time)) * np.exp(wobble)
        parent = strategy.pretraining and root / dataset / backbone / f"pretrain-{strategy.pretraining}" / f"seed{seed}"
        final = digest("final", dataset, backbone, strategy.pretraining, seed)
        run = {
            **common,
            **self._work(epochs, 1.0),
            "stage": "finetune",
            "strategy": name,
            "role": strategy.role,
            "task": strategy.task,
            "pretraining": strategy.pretraining,
            "trial": trial,
            "trials": self.trials,
            "status": "diverged" if lost else "completed",
            "config_hash": digest("config", name, backbone, seed),
            "start_checksum": final if parent else common["initial_checksum"],
            "final_checksum": digest("finetuned", dataset, backbone, name, seed, trial),
            "parent": str(parent) if parent else None,
            "parent_checksum": final if parent else None,
            "best_epoch": None if lost else epochs,
            "val_force_rmse": None if lost else curve[-1],
            "val_energy_rmse": None if lost else curve[-1] / 100,
            "trivial_val_force_rmse": TRIVIAL,
        }
        errors = (error, 0.7 * error, error / 100, 0.8 * error / 100)
        test: dict[str, Any] = dict(zip(QUANTITIES, (None,) * 4 if lost else errors, strict=True))
        test |= {f"trivial_{q}": v for q, v in zip(QUANTITIES, (TRIVIAL, 1500.0, 12.0, 9.0), strict=True)}
        last = epochs // 3 if lost else epochs
        rows = [self._metrics(e, 1.0, val_force_rmse=curve[e], val_energy_rmse=curve[e] / 100) for e in range(last + 1)]
        path = root / dataset / backbone / (name if self.trials == 1 else f"{name}+{trial}") / f"seed{seed}"
        write_run(path, run, rows, {**test, "structures": 50, "per_structure": [] if lost else self._tested(error)})
        return path

    def _tested(self, error: float) -> list[dict[str, Any]]:
        """Test structures whose squares average to that of ``error``; those of one group are equally hard."""
        hardness = np.linspace(0.5, 1.5, self.groups)
        return [
            {"structure": 3 * group + i, "group": group, "force_rmse": error * h**0.5, "energy_error": error / 100}
            for group, h in enumerate(hardness)
            for i in range(3)
        ]

    def _work(self, epochs: int, cost: float) -> dict[str, Any]:
        return {
            "epochs": epochs,
            "steps": epochs * 13,
            "structure_steps": epochs * 100,
            "seconds": epochs * 1.5 * cost * self.time_scale,
            "flops": int(epochs * 3e10 * cost),
            "structures_per_s": 70.0 / self.time_scale,
        }

    def _metrics(self, epoch: int, cost: float, **values: float) -> dict[str, Any]:
        common = {"epoch": epoch, "step": epoch * 13, "seconds": epoch * 1.5 * cost * self.time_scale}
        return {**dict.fromkeys(METRICS, ""), **common, **values}


def digest(*parts: object) -> str:
    return hashlib.sha256(repr(parts).encode()).hexdigest()


def write_run(path: Path, run: dict[str, Any], rows: list[dict[str, Any]], test: dict[str, Any] | None) -> None:
    path.mkdir(parents=True)
    (path / "run.json").write_text(json.dumps(run))
    lines = [",".join(METRICS), *(",".join(str(row[name]) for name in METRICS) for row in rows)]
    (path / "metrics.csv").write_text("\n".join(lines) + "\n")
    if test is not None:
        (path / "test.json").write_text(json.dumps(test))


def edit(path: Path, **fields: Any) -> None:
    """Change fields of a JSON file; of a record what was kept, in the learning curve too."""
    content = {**json.loads(path.read_text()), **fields}
    path.write_text(json.dumps(content))
    for column, value in ((c, fields[f]) for f, c in KEPT.items() if path.name == "run.json" and f in fields):
        metrics = path.with_name("metrics.csv")
        head, *rows = [line.split(",") for line in metrics.read_text().splitlines()]
        for row in rows:
            if row[0] == str(content["best_epoch"]):
                row[head.index(column)] = "" if value is None else str(value)
        metrics.write_text("".join(",".join(row) + "\n" for row in (head, *rows)))
