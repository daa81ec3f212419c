"""Whether what lies together belongs together: a run's files with its record, and the tables of an experiment.

A number that was edited, files of another run, tables of two experiments: each is one clear line, before it is used.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from priorbench.analysis.guards import label
from priorbench.analysis.records import RUN_KEY
from priorbench.errors import PriorbenchError
from priorbench.io import sha256_file

Record = Mapping[str, Any]

TOLERANCE = 1e-6  # relative: sums over structures in another order
_FOLDERS = {"runs": "finetune", "pretrained": "pretrain"}  # of the workflow, by what lies in them


def check_place(run: Record) -> None:
    """Refuse a run in the folder of another: the workflow's paths say which run they are for."""
    parts = run["folder"].resolve().parts[-5:]
    if _FOLDERS.get(parts[0]) != run["stage"]:
        return  # another layout than the workflow's
    trial = f"+{run['trial']}" if run["trials"] > 1 else ""
    own = run["dataset"], run["backbone"], f"{run['strategy']}{trial}", f"seed{run['seed']}"
    if parts[1:] != own:
        raise PriorbenchError(f"{run['folder']}: holds the run {'/'.join(own)}; it was moved or copied, run both again")


def check_test(run: Record, test: Record, rows: Sequence[Record]) -> None:
    """Refuse a ``test.json`` that the run did not write, or whose totals are not those of the ``rows``."""
    source = run["folder"] / "test.json"
    if run.get("test_hash") and sha256_file(source) != run["test_hash"]:
        raise PriorbenchError(f"{source}: not what {label(run)} wrote; it was edited or is another run's, run it again")
    for quantity, found in _pooled(rows).items():
        if not _same(test.get(quantity), found):
            raise PriorbenchError(
                f"{source}: {quantity} is {test.get(quantity)}, but that of its structures is {found:.6g}; run it again"
            )


def check_curve(run: Record, rows: Sequence[Record]) -> None:
    """Refuse a ``metrics.csv`` in which the epoch that was kept is not as the record says."""
    column, field = ("val_loss", "loss_best") if run["stage"] == "pretrain" else ("val_force_rmse", "val_force_rmse")
    kept = run[field]
    if run["status"] != "completed" or run["best_epoch"] is None or kept is None:
        return
    found = [row[column] for row in rows if _number(row["epoch"]) == run["best_epoch"]]
    if len(found) != 1 or not _same(_number(found[0]), kept):
        where, values = run["folder"] / "metrics.csv", ", ".join(map(str, found))
        raise PriorbenchError(
            f"{where}: {column} of epoch {run['best_epoch']:g} is {values}; "
            f"{label(run)} kept {kept}: it was edited or is another run's, run it again"
        )


def check_tables(runs: pd.DataFrame, curves: pd.DataFrame, structures: pd.DataFrame | None) -> None:
    """Refuse tables that are not of the same collection: kept epochs and test errors must agree."""
    done = runs[(runs["status"] == "completed") & (runs["stage"] == "finetune")]
    by_run = dict(list(curves.groupby([*RUN_KEY, "trial"], sort=False)))
    tested = {} if structures is None else dict(list(structures.groupby(RUN_KEY, sort=False)))
    for run in done.to_dict("records"):
        key = tuple(run[name] for name in RUN_KEY)
        curve = by_run.get((*key, run["trial"]))
        if curve is not None:
            kept = curve.loc[curve["epoch"] == run["best_epoch"], "val_force_rmse"]
            _agree(run, "val_force_rmse", "curves.csv", list(kept))
        if (own := tested.get(key)) is not None:
            for quantity, found in _pooled(own.to_dict("records")).items():
                _agree(run, f"test_{quantity}", "structures.csv", [found])


def _agree(run: Mapping[Any, Any], column: str, table: str, found: list[float]) -> None:
    if len(found) != 1 or not _same(run[column], found[0]):
        values, name = ", ".join(f"{value:.6g}" for value in found) or "absent", "/".join(str(run[k]) for k in RUN_KEY)
        raise PriorbenchError(
            f"{name}: {column} is {run[column]:.6g} in runs.csv, but {values} by {table}; the tables are not of one "
            "collection, collect again"
        )


def _pooled(rows: Sequence[Mapping[Any, Any]]) -> dict[str, float]:
    """RMSEs over all structures; forces weigh by atoms where all say how many."""
    if not rows:
        return {}
    atoms = [row.get("atoms") for row in rows]
    weights = [float(n) if n is not None and n == n else None for n in atoms]
    weighed = [1.0 if None in weights else float(n or 0) for n in weights]
    if any(weight <= 0 for weight in weighed):
        return dict.fromkeys(("force_rmse", "energy_rmse"), math.nan)  # no structure has so few atoms
    try:
        force = math.fsum(w * row["force_rmse"] ** 2 for w, row in zip(weighed, rows, strict=True)) / math.fsum(weighed)
        energy = math.fsum(row["energy_error"] ** 2 for row in rows) / len(rows)
    except OverflowError:  # no error that anything was tested with
        force = energy = math.inf
    return {"force_rmse": math.sqrt(force), "energy_rmse": math.sqrt(energy)}


def _same(first: float | None, second: float | None) -> bool:
    return first is not None and second is not None and math.isclose(first, second, rel_tol=TOLERANCE)


def _number(value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        return math.nan
