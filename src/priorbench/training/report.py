"""What a training says while it runs: lines in the log and the metrics file."""

import math
import os
import socket
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from priorbench.io import write_json, write_rows
from priorbench.lock import Lease, identity
from priorbench.runs import PROGRESS
from priorbench.training.data import MEV
from priorbench.training.labels import Labels
from priorbench.training.progress import Row

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


def say(seed: int, text: str) -> None:
    """One line in the log about the run of a seed; a job may train several, one after the other."""
    print(f"seed {seed}  {text}", flush=True)


def whereabouts(device: str) -> str | None:
    """Job, node and GPU of this process where SLURM started it."""
    job = os.environ.get("SLURM_JOB_ID")
    if job is None:
        return None
    gpu = f", GPU {os.environ.get('CUDA_VISIBLE_DEVICES', 'unknown')}" if _has_gpu(device) else ""
    return f"SLURM job {job} on {os.environ.get('SLURMD_NODENAME', socket.gethostname())}{gpu}"


def _has_gpu(device: str) -> bool:
    return device == "cuda" or "CUDA_VISIBLE_DEVICES" in os.environ


def write_progress(folder: Path, state: str, **values: Any) -> None:
    """Say in the run's folder what state it is in: ``running``, ``cut`` or ``failed``; for ``priorbench status``."""
    write_json(folder / PROGRESS, {"state": state, "time": time.time(), **identity(), **values})


class Reporter:
    """Writes one line per epoch to the log, all rows to the metrics file, RMSEs in meV, and the last to the progress.

    Of several processes that train together, one reports: that which has the ``lease`` of the folder.
    """

    def __init__(self, folder: Path, labels: Labels, epochs: int, seed: int, lease: Lease | None) -> None:
        self.folder = folder
        self.unit = labels.scale * MEV
        self.epochs = epochs
        self.seed = seed
        self.lease = lease
        self.rows: list[Row] = []
        if lease is not None:
            self._write({"epoch": 0})

    def say(self, text: str) -> None:
        """One line in the log."""
        if self.lease is not None:
            say(self.seed, text)

    def resume(self, rows: Sequence[Row]) -> None:
        """Take over the rows of an earlier process."""
        self.rows = [self._columns(self._converted(row)) for row in rows]
        if rows:
            self._write(self._converted(rows[-1]))

    def __call__(self, row: Row) -> None:
        """Take one epoch's row."""
        if self.lease is None:
            return
        eta, values = row.get("eta"), self._converted(row)
        self.rows.append(self._columns(values))
        self._write(values)
        say(self.seed, self._line(values, eta))

    def _write(self, last: Row) -> None:
        if self.lease is None:
            return
        self.lease.check()
        write_rows(self.folder / "metrics.csv", self.rows, METRICS)
        shown = {name: value for name in (*METRICS, "eta") if (value := last.get(name)) is not None}
        finite = {name: value if math.isfinite(value) else None for name, value in shown.items()}
        write_progress(self.folder, "running", epochs=self.epochs, **finite)

    def _converted(self, row: Row) -> Row:
        return {k: v * self.unit if k in ("val_force_rmse", "val_energy_rmse") else v for k, v in row.items()}

    def _columns(self, values: Row) -> Row:
        return {key: values.get(key, "") for key in METRICS}

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
