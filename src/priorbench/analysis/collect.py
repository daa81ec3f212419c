"""Gather finished runs into two tables: ``runs.csv`` (one row per run) and ``curves.csv`` (one row per epoch).

In: run directories, each with ``run.json`` and ``metrics.csv``, those of finetuned runs also with ``test.json``.
Out: the tables of :mod:`priorbench.analysis.records`, sorted, whatever the order of the directories.  Runs that cannot
be compared fairly are refused (:mod:`priorbench.analysis.guards`).
"""

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from priorbench.analysis.guards import check_runs, parent_of
from priorbench.analysis.records import (
    CURVE_KEY,
    FINETUNE_ONLY,
    METRIC_COLUMNS,
    PRETRAIN_ONLY,
    QUANTITIES,
    RUN_COLUMNS,
    RUN_FIELDS,
    TEST_COLUMNS,
    load_curves,
    load_runs,
)
from priorbench.errors import PriorbenchError
from priorbench.io import read_json, write_rows

__all__ = ["collect", "load_curves", "load_runs"]

Record = dict[str, Any]


def collect(run_dirs: list[Path], runs_csv: Path, curves_csv: Path) -> None:
    """Write ``runs.csv`` and ``curves.csv`` from the run directories.

    Raises:
        PriorbenchError: a file or field is missing, a run is there twice, strategies of one seed do not share
            weights, split, data and seeds, pretrained weights were not loaded, or a baseline is missing.
    """
    found = sorted(((_read_run(path), path) for path in run_dirs), key=lambda item: _sort_key(item[0]))
    runs = [run for run, _ in found]
    check_runs(runs)
    write_rows(runs_csv, [_with_pretraining(run, runs) for run in runs])
    write_rows(curves_csv, [row for run, path in found for row in _read_curve(run, path / "metrics.csv")])


def _sort_key(run: Record) -> tuple[Any, ...]:
    """Pretraining stands before the finetuning that starts from it."""
    return run["dataset"], run["backbone"], run["stage"] != "pretrain", run["strategy"], run["seed"]


def _read_run(path: Path) -> Record:
    source = path / "run.json"
    content = _mapping(source)
    optional = PRETRAIN_ONLY if content.get("stage") == "finetune" else FINETUNE_ONLY
    run: Record = {}
    for name in [*RUN_FIELDS, "seconds", "structures_per_s"]:
        if name not in content and name not in optional:
            raise PriorbenchError(f"{source}: no field {name!r}; it was made by another version, run it again")
        run[name] = content.get(name)
    return {**run, **(_read_test(path / "test.json") if run["stage"] == "finetune" else dict.fromkeys(TEST_COLUMNS))}


def _read_test(source: Path) -> Record:
    content = _mapping(source)
    names = {f"test_{quantity}": quantity for quantity in QUANTITIES}
    names.update({f"trivial_{quantity}": f"trivial_{quantity}" for quantity in QUANTITIES})
    absent = [name for name in names.values() if name not in content]
    if absent:
        raise PriorbenchError(f"{source}: no field {absent[0]!r}; evaluate the run again")
    return {column: content[name] for column, name in names.items()}


def _mapping(source: Path) -> Mapping[str, Any]:
    content = read_json(source)
    if not isinstance(content, Mapping):
        raise PriorbenchError(f"{source}: a JSON object is expected, found {type(content).__name__}; run it again")
    return content


def _with_pretraining(run: Record, runs: list[Record]) -> Record:
    """The row of ``run`` with the cost of the pretraining it started from and the totals, in column order."""
    row: Record = {**dict.fromkeys(RUN_COLUMNS), **run}
    if run["stage"] == "finetune":
        parent = parent_of(run, runs) if run["pretraining"] else {}
        for name in ("epochs", "steps", "flops", "seconds"):
            row[f"pretrain_{name}"] = parent.get(name, 0)
    else:
        row.update({f"pretrain_{name}": 0 for name in ("epochs", "steps", "flops", "seconds")})
    for name in ("flops", "seconds"):
        row[f"total_{name}"] = row[f"pretrain_{name}"] + row[name]
    return {name: row[name] for name in RUN_COLUMNS}


def _read_curve(run: Record, source: Path) -> list[Record]:
    """The rows of a run's ``metrics.csv``, values as they stand, each with the run's key in front."""
    try:
        with source.open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file)
            rows = list(reader)
    except FileNotFoundError:
        raise PriorbenchError(f"{source}: no such file; run it again") from None
    missing = [name for name in METRIC_COLUMNS if name not in (reader.fieldnames or [])]
    if missing:
        raise PriorbenchError(f"{source}: no column {missing[0]!r}; it was made by another version, run it again")
    key = {name: run[name] for name in CURVE_KEY}
    return [{**key, **{name: row[name] for name in METRIC_COLUMNS}} for row in rows]
