"""One training run as the workflow calls it: pretraining or finetuning from files to files.

The test split never enters: the stores hold the training and validation structures alone.  Everything is written at
the end, the record last, so that a run that was cut leaves nothing that a later one would take for good; only the
metrics grow epoch by epoch, for the eyes of whoever waits.
"""

import math
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from priorbench import __version__
from priorbench.backbones.base import Backbone
from priorbench.config import Training
from priorbench.errors import PriorbenchError
from priorbench.frames import Frames
from priorbench.io import read_json, sha256_file, sha256_json, write_json, write_rows
from priorbench.neighbours import Neighbours
from priorbench.provenance import commit
from priorbench.registry import load
from priorbench.runs import Spec
from priorbench.splits import load_split
from priorbench.tasks.base import Task
from priorbench.training.flops import flops_per_structure
from priorbench.training.labels import Labels
from priorbench.training.loop import Outcome, Row, steps_per_epoch, train
from priorbench.training.model import build, checksum, load_parent, save_model, snapshot, transfer
from priorbench.training.process import prepare_torch
from priorbench.training.store import Store

METRICS = (
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
)
MEV = 1000.0


@dataclass(frozen=True)
class Inputs:
    """Files that a run reads."""

    frames: Path
    neighbours: Path
    split: Path
    parent: Path | None = None  # weights that finetuning starts from
    budget: Path | None = None  # record of the pretraining whose FLOPs a longer run spends


@dataclass(frozen=True)
class Data:
    """What the network is trained and chosen on."""

    train: Store
    validation: Store
    labels: Labels
    data_hash: str
    split_hash: str
    trivial_force_rmse: float  # meV/Å on the validation split


def run(spec: Spec, inputs: Inputs, threads: int, output: Path) -> None:
    """Train as ``spec`` says and write ``model.safetensors``, ``metrics.csv`` and ``run.json`` into ``output``."""
    _require_parent(spec, inputs)
    prepare_torch(threads)
    data = load_data(spec, inputs)
    training = Training(**spec["training"])
    task = make_task(spec["task"])
    idle = _idle(spec["task"]["name"], task, data)
    model = build(spec["backbone"], spec["seed"])
    _check_elements(model, data)
    initial = checksum(snapshot(model))
    parent = load_parent(inputs.parent, spec) if inputs.parent else None
    if parent is not None:
        _check_parent_data(inputs.parent, parent[1], data)
        transfer(model, parent[0], str(inputs.parent))
    model.to(spec["device"])
    start = checksum(snapshot(model))
    flops = flops_per_structure(model, task, data.train, training.batch_size)
    steps = budget_steps(spec, inputs, training, len(data.train), flops)
    epochs = math.ceil(steps / steps_per_epoch(len(data.train), training.batch_size))
    reporter = Reporter(output / "metrics.csv", data.labels, epochs)
    outcome = _train(model, task, data, training, steps, spec, reporter, parent)
    record = {
        **_identity(spec),
        **_training_record(training, outcome, data, flops, threads),
        "structures_without_loss": idle,
        **_provenance(spec, data),
        "parameters": sum(p.numel() for p in model.parameters()),
        "initial_checksum": initial,
        "start_checksum": start,
        "final_checksum": checksum(outcome.state),
        "parent": str(inputs.parent) if inputs.parent else None,
        "parent_checksum": parent[1]["checksum"] if parent else None,
        **_validation_record(spec, task, data, model, outcome),
    }
    metadata = {"spec": spec, "labels": data.labels.to_json(), "status": record["status"], "data_hash": data.data_hash}
    save_model(output / "model.safetensors", outcome.state, {**metadata, "split_hash": data.split_hash})
    write_json(output / "run.json", record)


def _train(
    model: Backbone,
    task: Task,
    data: Data,
    training: Training,
    steps: int,
    spec: Spec,
    reporter: "Reporter",
    parent: tuple[Any, dict[str, Any]] | None,
) -> Outcome:
    if parent is not None and parent[1]["status"] == "diverged":
        print(f"the pretraining {spec['pretraining']!r} diverged: counted as diverged, not trained", flush=True)
        return Outcome(snapshot(model), diverged="pretraining diverged")
    outcome = train(model, task, (data.train, data.validation), training, steps, spec["seed"], reporter)
    if outcome.diverged:
        print(f"diverged at {outcome.diverged}; the run counts as diverged", flush=True)
    return outcome


def make_task(spec: Spec) -> Task:
    """The task of a spec's ``task`` entry."""
    cls = load("task", spec["name"])
    task: Task = cls(cls.Options(**{key: value for key, value in spec.items() if key != "name"}))
    return task


def _idle(name: str, task: Task, data: Data) -> dict[str, int]:
    """Structures of each side that the task can ask nothing about; they are visited all the same, and said."""
    sides = {"train": data.train, "validation": data.validation}
    idle = {side: task.check(store) for side, store in sides.items()}
    for side, count in idle.items():
        if count:
            print(f"{count} of {len(sides[side])} {side} structures hold nothing for {name}: no loss there", flush=True)
    return idle


def load_data(spec: Spec, inputs: Inputs) -> Data:
    """Read frames, neighbours and split; the test structures are left on disk."""
    frames = Frames.load(inputs.frames, verify=True)
    data_hash = frames.metadata["hash"]
    neighbours = Neighbours.load(inputs.neighbours, data_hash, spec["backbone"]["cutoff"])
    split = load_split(inputs.split, data_hash, frames)
    structures = {name: np.asarray(split[name], dtype=np.int64) for name in ("train", "validation")}
    labels = Labels.fit(frames, structures["train"])
    stores = {n: Store.build(frames, neighbours, s, labels, spec["device"]) for n, s in structures.items()}
    trivial = float(stores["validation"].forces.double().square().mean().sqrt())
    return Data(
        stores["train"],
        stores["validation"],
        labels,
        data_hash,
        sha256_file(inputs.split),
        trivial * labels.scale * MEV,
    )


def budget_steps(spec: Spec, inputs: Inputs, training: Training, structures: int, flops: float) -> int:
    """Optimiser steps of the run: its own epochs, and for a longer run what the matched pretraining spends."""
    own = training.epochs * steps_per_epoch(structures, training.batch_size)
    longer = spec.get("longer")
    if longer is None:
        return own
    if longer["by"] == "steps":
        other = Training(**longer["training"])
        return own + other.epochs * steps_per_epoch(structures, other.batch_size)
    if inputs.budget is None:
        raise PriorbenchError(f"{spec['strategy']!r} matches compute: give the pretraining's run.json (--budget)")
    spent = float(read_json(inputs.budget)["flops"])
    return own + round(spent / (flops * structures / steps_per_epoch(structures, training.batch_size)))


def _require_parent(spec: Spec, inputs: Inputs) -> None:
    wanted, strategy = spec.get("pretraining"), spec["strategy"]
    if wanted and inputs.parent is None:
        raise PriorbenchError(f"strategy {strategy!r} starts from pretraining {wanted!r}: give its weights (--parent)")
    if not wanted and inputs.parent is not None:
        raise PriorbenchError(f"strategy {strategy!r} starts from scratch, yet {inputs.parent} was given as --parent")


def _check_parent_data(path: Path | None, parent: dict[str, Any], data: Data) -> None:
    """Weights that were pretrained on another split may have seen this run's test structures."""
    for name, own in (("data_hash", data.data_hash), ("split_hash", data.split_hash)):
        if parent[name] != own:
            raise PriorbenchError(
                f"{path}: wrong parent: {name} is {parent[name]}, not {own}; pretrain on the same split"
            )


def _check_elements(model: Backbone, data: Data) -> None:
    rows = getattr(model, "element", None)
    largest = int(data.train.atomic_numbers.max())
    if isinstance(rows, torch.nn.Embedding) and largest >= rows.num_embeddings:
        raise PriorbenchError(
            f"atomic number {largest} has no row in an element table of {rows.num_embeddings}; raise element_rows"
        )


class Reporter:
    """Writes one line per epoch to the log and all rows to the metrics file, RMSEs in meV."""

    def __init__(self, path: Path, labels: Labels, epochs: int) -> None:
        self.path = path
        self.unit = labels.scale * MEV
        self.epochs = epochs
        self.rows: list[Row] = []
        write_rows(path, [], METRICS)

    def __call__(self, row: Row) -> None:
        """Take one epoch's row."""
        eta = row.get("eta")
        values = dict(row)
        for name in ("val_force_rmse", "val_energy_rmse"):
            if name in row:
                values[name] = row[name] * self.unit
        self.rows.append({key: values.get(key, "") for key in METRICS})
        write_rows(self.path, self.rows, METRICS)
        print(self._line(values, eta), flush=True)

    def _line(self, v: Row, eta: float | None) -> str:
        parts = [f"epoch {v['epoch']:>4}/{self.epochs}"]
        if "train_loss" in v:
            parts.append(f"train {v['train_loss']:.4g}")
        parts.append(f"validation {v['val_loss']:.4g}")
        if "val_force_rmse" in v:
            parts.append(f"force {v['val_force_rmse']:.1f} meV/Å, energy {v['val_energy_rmse']:.2f} meV/atom")
        if "structures_per_s" in v:
            parts.append(f"{v['structures_per_s']:.1f} structures/s")
        if eta is not None:
            parts.append(f"ETA {int(eta) // 60}:{int(eta) % 60:02d}")
        return "  ".join(parts)


def _identity(spec: Spec) -> dict[str, Any]:
    return {
        "experiment": spec["experiment"],
        "dataset": spec["dataset"],
        "backbone": spec["backbone"]["name"],
        "architecture": spec["backbone"]["architecture"],
        "stage": spec["stage"],
        "strategy": spec["strategy"],
        "role": spec.get("role", "pretraining"),
        "task": spec["pretraining_task"] if spec["stage"] == "finetune" else spec["task"]["name"],
        "pretraining": spec.get("pretraining"),
        "seed": spec["seed"],
    }


def _training_record(training: Training, outcome: Outcome, data: Data, flops: float, threads: int) -> dict[str, Any]:
    return {
        "status": "diverged" if outcome.diverged else "completed",
        "diverged_at": outcome.diverged,
        "epochs": outcome.rows[-1]["epoch"] if outcome.rows else 0,
        "steps": outcome.steps,
        "structure_steps": outcome.structure_steps,
        "train_structures": len(data.train),
        "validation_structures": len(data.validation),
        "batch_size": training.batch_size,
        "learning_rate": training.learning_rate,
        "final_learning_rate": training.final_learning_rate,
        "seconds": outcome.seconds,
        "flops": flops * outcome.structure_steps,
        "structures_per_s": outcome.structure_steps / outcome.seconds if outcome.seconds else 0.0,
        "threads": threads,
    }


def _provenance(spec: Spec, data: Data) -> dict[str, Any]:
    device = torch.cuda.get_device_name() if spec["device"] == "cuda" else "cpu"
    return {
        "device": device,
        "config_hash": sha256_json(spec),
        "data_hash": data.data_hash,
        "split_hash": data.split_hash,
        "version": __version__,
        "commit": commit(),
        "torch": torch.__version__,
        "python": ".".join(map(str, sys.version_info[:3])),
    }


def _validation_record(spec: Spec, task: Task, data: Data, model: Backbone, outcome: Outcome) -> dict[str, Any]:
    best, unit = outcome.best, data.labels.scale * MEV
    kept = bool(best) and not outcome.diverged
    pretraining = spec["stage"] == "pretrain"
    return {
        "readout": model.readout,
        "best_epoch": best["epoch"] if kept else None,
        "val_force_rmse": best["val_force_rmse"] * unit if kept and not pretraining else None,
        "val_energy_rmse": best["val_energy_rmse"] * unit if kept and not pretraining else None,
        "trivial_val_force_rmse": data.trivial_force_rmse,
        "loss_start": _finite(outcome.rows[0]["val_loss"]) if pretraining and outcome.rows else None,
        "loss_best": _finite(best["val_loss"]) if pretraining and kept else None,
        "floor": task.floor(data.validation, model.readout) if pretraining else None,
    }


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
