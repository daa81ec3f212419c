"""The record of a run, ``run.json``: what it was, what it cost, where it comes from and what it reached."""

import json
import math
import sys
from typing import Any

import torch

from priorbench import __version__
from priorbench.backbones.base import Backbone
from priorbench.config import Training
from priorbench.io import sha256_json
from priorbench.kernels.library import in_use
from priorbench.provenance import commit
from priorbench.runs import Spec
from priorbench.sources import code_of
from priorbench.tasks.base import Task
from priorbench.training.data import MEV, Data
from priorbench.training.process import gpu_of
from priorbench.training.progress import Outcome


def identity(spec: Spec) -> dict[str, Any]:
    """Which run it is."""
    return {
        "experiment": spec["experiment"],
        "dataset": spec["dataset"],
        "source": spec.get("source"),
        "protocol": spec.get("protocol"),
        "backbone": spec["backbone"]["name"],
        "architecture": spec["backbone"]["architecture"],
        "stage": spec["stage"],
        "strategy": spec["strategy"],
        "role": spec.get("role", "pretraining"),
        "task": spec["pretraining_task"] if spec["stage"] == "finetune" else spec["task"]["name"],
        "pretraining": spec.get("pretraining"),
        "pretraining_dataset": spec.get("pretraining_dataset"),
        "labels": spec.get("labels"),
        "trial": spec.get("trial", 1),
        "trials": spec.get("trials", 1),
        "settings": settings(spec),
        "seed": spec["seed"],
    }


def settings(spec: Spec) -> str:
    """What a scan may change besides the backbone, as JSON text."""
    values = {key: spec[key] for key in ("longer", "transfer", "rescale", "structures") if spec.get(key) is not None}
    return json.dumps({**spec["task"], **values}, sort_keys=True)


def effort(
    training: Training, outcome: Outcome, data: Data, flops: float, threads: int, processes: int = 1
) -> dict[str, Any]:
    """What was done and what it cost; ``seconds`` are those of the optimiser steps."""
    return {
        "status": "diverged" if outcome.diverged else "completed",
        "diverged_at": outcome.diverged,
        "epochs": outcome.rows[-1]["epoch"] if outcome.rows else 0,
        "steps": outcome.steps,
        "planned_steps": outcome.planned_steps,
        "structure_steps": outcome.structure_steps,
        "train_structures": len(data.train),
        "validation_structures": len(data.validation),
        "batch_size": training.batch_size,
        "learning_rate": training.learning_rate,
        "final_learning_rate": training.final_learning_rate,
        "seconds": outcome.seconds,
        "validation_seconds": outcome.validation_seconds,
        "flops": flops * outcome.structure_steps,
        "structures_per_s": outcome.structure_steps / outcome.seconds if outcome.seconds else 0.0,
        "threads": threads,
        "processes": processes,
        "attempts": outcome.attempts,
    }


def code(spec: Spec) -> str:
    """Hash of the sources that the run goes through, its backbone and task among them."""
    return code_of(spec["stage"], backbone=spec["backbone"]["architecture"], task=spec["task"]["name"])


def provenance(spec: Spec, data: Data) -> dict[str, Any]:
    """By what, from what and where the run was made."""
    device = torch.cuda.get_device_name() if spec["device"] == "cuda" else "cpu"
    return {
        "device": device,
        "edge_layers": in_use(spec["device"]),  # compiled or plain: the same numbers but for rounding
        "precision": "tf32" if gpu_of(spec).tf32 else "fp32",
        "deterministic": gpu_of(spec).deterministic,
        "config_hash": sha256_json(spec),
        "data_hash": data.data_hash,
        "split_hash": data.split_hash,
        "version": __version__,
        "commit": commit(),
        "code": code(spec),
        "torch": torch.__version__,
        "python": ".".join(map(str, sys.version_info[:3])),
    }


def reached(spec: Spec, task: Task, data: Data, model: Backbone, outcome: Outcome) -> dict[str, Any]:
    """Errors and losses on the validation structures, RMSEs in meV."""
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
