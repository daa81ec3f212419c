"""The columns of ``runs.csv``, ``curves.csv``, ``structures.csv`` and ``trials.csv``, and the readers of these tables.

``runs.csv`` has one row per run, ``curves.csv`` one row per run and epoch, ``structures.csv`` one row per finetuned run
and test structure, ``trials.csv`` one row per trial of a finetuned run.  Errors are in meV/Å (forces) and meV/atom
(energies).  The time columns stand last; they alone may differ between two executions of the same experiment.

Columns that came later than the first kept tables have defaults, which are filled in where a table lacks them.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from priorbench.errors import PriorbenchError, reason
from priorbench.io import check_table

Kind = Literal["text", "integer", "real"]

RUN_KEY = ["dataset", "backbone", "stage", "strategy", "seed"]

#: Fields of ``run.json`` in the order of the columns.
RUN_FIELDS: dict[str, Kind] = {
    "experiment": "text",
    "dataset": "text",
    "backbone": "text",
    "architecture": "text",
    "readout": "text",
    "stage": "text",
    "strategy": "text",
    "role": "text",
    "task": "text",
    "pretraining": "text",
    "seed": "integer",
    "status": "text",
    "epochs": "integer",
    "steps": "integer",
    "structure_steps": "integer",
    "train_structures": "integer",
    "batch_size": "integer",
    "learning_rate": "real",
    "flops": "real",
    "parameters": "integer",
    "threads": "integer",
    "device": "text",
    "config_hash": "text",
    "data_hash": "text",
    "split_hash": "text",
    "version": "text",
    "commit": "text",
    "initial_checksum": "text",
    "start_checksum": "text",
    "final_checksum": "text",
    "parent": "text",
    "parent_checksum": "text",
    "best_epoch": "real",
    "val_force_rmse": "real",
    "val_energy_rmse": "real",
    "trivial_val_force_rmse": "real",
    "loss_start": "real",
    "loss_best": "real",
    "floor": "real",
}

#: Fields that came later, after those above, each with what stands for it in older records and tables.  ``trials`` and
#: ``tuning_flops`` (FLOPs of all trials of a seed with their pretrainings) are filled in when runs are collected.
LATER_FIELDS: dict[str, tuple[Kind, str | int | float | None]] = {
    "source": ("text", None),
    "protocol": ("text", None),
    "settings": ("text", None),
    "labels": ("text", None),
    "pretraining_dataset": ("text", None),
    "trial": ("integer", 1),
    "trials": ("integer", 1),
    "tuning_flops": ("real", 0.0),
    "torch": ("text", None),
    "code": ("text", None),
}
RUN_FIELDS.update({name: kind for name, (kind, _) in LATER_FIELDS.items()})
DEFAULTS: dict[str, str | int | float | None] = {name: default for name, (_, default) in LATER_FIELDS.items()}

#: Fields that only one of the two stages has.
PRETRAIN_ONLY = {"loss_start", "loss_best", "floor"}
FINETUNE_ONLY = {"val_force_rmse", "val_energy_rmse", "trivial_val_force_rmse"}

#: Errors on the test split: forces in meV/Å, energies in meV/atom.
QUANTITIES = ("force_rmse", "force_mae", "energy_rmse", "energy_mae")
TEST_COLUMNS: dict[str, Kind] = {
    **{f"test_{quantity}": "real" for quantity in QUANTITIES},
    **{f"trivial_{quantity}": "real" for quantity in QUANTITIES},
}

#: What the pretraining before a finetuning run has cost (0 where there was none).
JOINED_COLUMNS: dict[str, Kind] = {
    "pretrain_epochs": "integer",
    "pretrain_steps": "integer",
    "pretrain_flops": "real",
    "total_flops": "real",
}

#: Wall-clock columns (s, structures/s): the only ones that are not deterministic.
RUN_TIMES: dict[str, Kind] = {
    "seconds": "real",
    "structures_per_s": "real",
    "pretrain_seconds": "real",
    "total_seconds": "real",
}

RUN_COLUMNS: dict[str, Kind] = {**RUN_FIELDS, **TEST_COLUMNS, **JOINED_COLUMNS, **RUN_TIMES}

#: Columns of a run's ``metrics.csv`` that are kept, the times last.
METRIC_COLUMNS: dict[str, Kind] = {
    "epoch": "integer",
    "step": "integer",
    "learning_rate": "real",
    "train_loss": "real",
    "val_loss": "real",
    "val_force_rmse": "real",
    "val_energy_rmse": "real",
    "grad_norm": "real",
    "seconds": "real",
    "structures_per_s": "real",
}

CURVE_KEY: dict[str, Kind] = {
    "dataset": "text",
    "backbone": "text",
    "strategy": "text",
    "stage": "text",
    "role": "text",
    "task": "text",
    "seed": "integer",
    "trial": "integer",
}
CURVE_COLUMNS: dict[str, Kind] = {**CURVE_KEY, **METRIC_COLUMNS}

#: One row per finetuned run and test structure: ``atoms`` is empty where the record does not say.
STRUCTURE_COLUMNS: dict[str, Kind] = {
    **{name: RUN_FIELDS[name] for name in RUN_KEY},
    "structure": "integer",
    "group": "integer",
    "atoms": "real",
    "force_rmse": "real",
    "energy_error": "real",
}

#: One row per chosen run and kind of detail (:mod:`priorbench.evaluation.details_table`): errors in meV/Å.
DETAIL_COLUMNS: dict[str, Kind] = {
    **{name: RUN_FIELDS[name] for name in ("dataset", "backbone", "strategy", "seed")},
    "kind": "text",
    "key": "text",
    "count": "integer",
    "rmse": "real",
    "mae": "real",
}

#: What is written of every trial: nothing that was measured on the test split.
TRIAL_FIELDS = (
    *("dataset", "backbone", "strategy", "seed", "trial", "status", "pretraining", "pretraining_dataset"),
    *("learning_rate", "settings", "best_epoch", "val_force_rmse", "val_energy_rmse", "trivial_val_force_rmse"),
    *("steps", "flops", "config_hash"),
)

LARGEST_ERROR = 1e100  # meV/Å or meV/atom; more is damage, where the worst network leaves 1e42
_POSITIVE = ("rmse", "mae", "flops", "seconds", "learning_rate")

#: What tells rows of one run apart.
_FURTHER = ("trial", "epoch", "structure")

_DTYPES = {"text": "object", "integer": "int64", "real": "float64"}


def load_runs(runs_csv: Path) -> pd.DataFrame:
    """Read ``runs.csv`` with every column of its declared type; empty text is None, an empty number NaN."""
    return _load(runs_csv, RUN_COLUMNS, DEFAULTS)


def load_curves(curves_csv: Path) -> pd.DataFrame:
    """Read ``curves.csv``; epochs count from 1 within each stage, epoch 0 is the state before training."""
    return _load(curves_csv, CURVE_COLUMNS, {"trial": 1})


def load_structures(structures_csv: Path) -> pd.DataFrame:
    """Read ``structures.csv``: force RMSE (meV/Å) and energy error (meV/atom) of every test structure."""
    return _load(structures_csv, STRUCTURE_COLUMNS, {})


def load_details(details_csv: Path) -> pd.DataFrame:
    """Read ``details.csv``: force errors (meV/Å) by element, part of the motion and hydrogen bonds."""
    return _load(details_csv, DETAIL_COLUMNS, {})


def read_table(path: Path, again: str, missing: str | None = None, **options: Any) -> pd.DataFrame:
    """Read a CSV file by pandas with its ``options``; one that is not there (``missing``), cut or damaged is refused.

    ``again`` and ``missing`` say what to do then.
    """
    check_table(path, missing or again)
    try:
        frame: pd.DataFrame = pd.read_csv(path, **options)
    except (ValueError, OverflowError) as error:
        raise PriorbenchError(f"{path}: not readable ({reason(error)}); {again}") from None
    return frame


def _load(path: Path, columns: dict[str, Kind], defaults: Mapping[str, str | int | float | None]) -> pd.DataFrame:
    dtypes = {name: _DTYPES[kind] for name, kind in columns.items()}
    again, missing_file = "collect it again", "run `priorbench collect`"
    frame = read_table(path, again, missing_file, dtype=dtypes, keep_default_na=False, na_values=["", "nan"])
    later = {name: pd.Series(value, frame.index, dtypes[name]) for name, value in defaults.items()}
    frame = frame.assign(**{name: values for name, values in later.items() if name not in frame.columns})
    missing = [name for name in columns if name not in frame.columns]
    if missing:
        raise PriorbenchError(f"{path}: no column {missing[0]!r}; it was made by another version, collect it again")
    _check_numbers(path, frame, columns)
    texts = [name for name, kind in columns.items() if kind == "text"]
    frame[texts] = frame[texts].astype(object).where(frame[texts].notna(), None)
    return frame[list(columns)].copy()  # which gathers the columns of a type: selecting rows is three times faster


def _check_numbers(path: Path, frame: pd.DataFrame, columns: Mapping[str, Kind]) -> None:
    """Refuse what no run writes: infinity, impossible counts and errors, a row without a key or that is there twice."""
    for name, kind in columns.items():
        bad = frame[name].isna().to_numpy(copy=True) if name in RUN_KEY else np.zeros(len(frame), bool)
        if kind != "text":
            values = frame[name].to_numpy(np.float64)
            if columns is not CURVE_COLUMNS:  # a diverging loss is infinite
                bad |= np.isinf(values)
            if kind == "integer" or name.endswith(_POSITIVE):
                bad |= values < 0
            if name.startswith("test_"):
                bad |= values == 0
            if name.endswith(("rmse", "mae")):
                bad |= values > LARGEST_ERROR
        if bad.any():
            value, row = frame[name][bad].iloc[0], int(bad.argmax()) + 1
            raise PriorbenchError(f"{path}: row {row}: {name} cannot be {value}; collect it again")
    if columns is DETAIL_COLUMNS:  # whoever gathers them sees to that
        return
    key = [name for name in (*RUN_KEY, *_FURTHER) if name in columns]
    twice = frame.duplicated([name for name in key if columns is not RUN_COLUMNS or name in RUN_KEY])
    if twice.any():
        raise PriorbenchError(f"{path}: row {int(twice.argmax()) + 1} is there twice; collect it again")
