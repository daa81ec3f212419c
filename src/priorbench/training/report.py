"""What a training says while it runs: lines in the log and the metrics file."""

from pathlib import Path

from priorbench.io import write_rows
from priorbench.training.data import MEV
from priorbench.training.labels import Labels
from priorbench.training.loop import Row

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


class Reporter:
    """Writes one line per epoch to the log and all rows to the metrics file, RMSEs in meV."""

    def __init__(self, path: Path, labels: Labels, epochs: int, seed: int) -> None:
        self.path = path
        self.unit = labels.scale * MEV
        self.epochs = epochs
        self.seed = seed
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
        say(self.seed, self._line(values, eta))

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
