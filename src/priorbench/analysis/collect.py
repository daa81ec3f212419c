"""Gather finished runs into flat tables, one row per run, epoch, test structure and trial.

In: run directories, each with ``run.json`` and ``metrics.csv``, those of finetuned runs also with ``test.json``.
Out: the tables of :mod:`priorbench.analysis.records`, sorted, whatever the order of the directories.  Runs that cannot
be compared fairly are refused (:mod:`priorbench.analysis.guards`); of several trials of a run one is chosen
(:mod:`priorbench.analysis.trials`) before any test error is read.
"""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from priorbench.analysis.consistency import check_curve, check_place, check_test
from priorbench.analysis.guards import check_runs, check_tested, parent_of
from priorbench.analysis.records import (
    CURVE_KEY,
    DEFAULTS,
    FINETUNE_ONLY,
    METRIC_COLUMNS,
    PRETRAIN_ONLY,
    QUANTITIES,
    RUN_COLUMNS,
    RUN_FIELDS,
    RUN_KEY,
    STRUCTURE_COLUMNS,
    TEST_COLUMNS,
    Kind,
    load_curves,
    load_runs,
)
from priorbench.analysis.trials import check_trials, choose, trial_rows
from priorbench.errors import PriorbenchError
from priorbench.io import read_object, read_rows, write_rows

__all__ = ["collect", "load_curves", "load_runs"]

Record = dict[str, Any]
LARGEST_COUNT, LARGEST = 2**62, 1e100  # in a record; more is damage, where the worst training leaves 1e42


def collect(
    run_dirs: list[Path],
    runs_csv: Path,
    curves_csv: Path,
    structures_csv: Path | None = None,
    trials_csv: Path | None = None,
) -> None:
    """Write ``runs.csv`` and ``curves.csv`` from the run directories, and the other tables where a path is given.

    Raises:
        PriorbenchError: a file or field is missing, a run is there twice, strategies of one seed do not share
            weights, split, data and seeds, or have not the same number of trials, pretrained weights were not loaded,
            or a baseline is missing.
    """
    found = sorted((_read_run(path) for path in run_dirs), key=_sort_key)
    for run in found:
        check_place(run)
    check_runs(found)
    check_trials(found)
    chosen = sorted(choose(found), key=_sort_key)
    tests = [_read_test(run) for run in chosen]
    runs = [{**run, **errors} for run, (errors, _) in zip(chosen, tests, strict=True)]
    curves = [row for run in chosen for row in _read_curve(run)]
    write_rows(runs_csv, [_with_pretraining(run, found) for run in runs])
    write_rows(curves_csv, curves)
    if structures_csv:
        write_rows(structures_csv, [row for _, rows in tests for row in rows], list(STRUCTURE_COLUMNS))
    if trials_csv:
        write_rows(trials_csv, trial_rows(found, chosen))


def _sort_key(run: Mapping[str, Any]) -> tuple[Any, ...]:
    """Pretraining stands before the finetuning that starts from it."""
    return run["dataset"], run["backbone"], run["stage"] != "pretrain", run["strategy"], run["seed"], run["trial"]


def _read_run(path: Path) -> Record:
    """What ``run.json`` says, and the ``folder`` that it lies in; nothing of the test."""
    source = path / "run.json"
    content = read_object(source, (), "run it again")
    optional = {*DEFAULTS, *(PRETRAIN_ONLY if content.get("stage") == "finetune" else FINETUNE_ONLY)}
    run: Record = {"folder": path}
    for name in [*RUN_FIELDS, "seconds", "structures_per_s"]:
        if name not in content and name not in optional:
            raise PriorbenchError(f"{source}: no field {name!r}; it was made by another version, run it again")
        run[name] = _flat(content.get(name, DEFAULTS.get(name)))
        if not _is(run[name], RUN_FIELDS.get(name, "real"), optional=name not in _NEEDED):
            raise PriorbenchError(f"{source}: {name} cannot be {str(run[name])[:40]!r}; run it again")
    run["test_hash"] = content.get("test_hash")
    return run


#: Fields whose number or text every comparison needs.
_NEEDED = {name for name, kind in RUN_FIELDS.items() if kind == "integer"} | {
    *("experiment", "dataset", "backbone", "stage", "strategy", "role", "status", "flops", "seconds")
}


def _is(value: Any, kind: Kind, optional: bool) -> bool:
    """Whether a value of a record is of the ``kind`` of its column: text, a count, or a number."""
    if value is None:
        return optional
    if kind == "text":
        return isinstance(value, str)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    if kind == "integer":
        return isinstance(value, int) and 0 <= value < LARGEST_COUNT
    return abs(value) < LARGEST


def _flat(value: Any) -> Any:
    """Anything nested as JSON text."""
    return json.dumps(value, sort_keys=True) if isinstance(value, dict | list) else value


def _read_test(run: Mapping[str, Any]) -> tuple[Record, list[Record]]:
    """Test errors of a finetuned run, and its rows of ``structures.csv``; of a pretraining there are none."""
    if run["stage"] != "finetune":
        return dict.fromkeys(TEST_COLUMNS), []
    test = read_object(run["folder"] / "test.json", (), "run it again")
    errors = _test_errors(run, test)
    if run["status"] == "completed":
        check_tested({**run, **errors})
    rows = _structures(run, test)
    check_test(run, test, rows)
    return errors, rows


def _test_errors(run: Mapping[str, Any], test: Mapping[str, Any]) -> Record:
    names = {f"test_{quantity}": quantity for quantity in QUANTITIES}
    names.update({f"trivial_{quantity}": f"trivial_{quantity}" for quantity in QUANTITIES})
    absent = [name for name in names.values() if name not in test]
    if absent:
        raise PriorbenchError(f"{run['folder'] / 'test.json'}: no field {absent[0]!r}; evaluate the run again")
    for name in names.values():
        if not _is(test[name], "real", optional=True) or (test[name] or 0) < 0:
            raise PriorbenchError(f"{run['folder'] / 'test.json'}: {name} is no error; evaluate the run again")
    return {column: test[name] for column, name in names.items()}


def _structures(run: Mapping[str, Any], test: Mapping[str, Any]) -> list[Record]:
    """The rows of ``structures.csv``: the run's key, then what its test says of every structure."""
    key = {name: run[name] for name in RUN_KEY}
    names = {name: kind for name, kind in STRUCTURE_COLUMNS.items() if name not in key}
    rows = test.get("per_structure", [])
    if not isinstance(rows, list) or not all(isinstance(row, Mapping) for row in rows):
        raise PriorbenchError(f"{run['folder'] / 'test.json'}: per_structure is no list; evaluate the run again")
    for row in rows:
        for name, kind in names.items():
            if not _is(row.get(name), kind, optional=name == "atoms"):
                raise PriorbenchError(
                    f"{run['folder'] / 'test.json'}: {name} of a structure is {str(row.get(name))[:40]!r}; evaluate "
                    "the run again"
                )
    return [{**key, **{name: row.get(name) for name in names}} for row in rows]


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


def _read_curve(run: Mapping[str, Any]) -> list[Record]:
    """The rows of a run's ``metrics.csv``, values as they stand, each with the run's key in front."""
    source = run["folder"] / "metrics.csv"
    found, rows = read_rows(source, "run it again")
    missing = [name for name in METRIC_COLUMNS if name not in found]
    if missing:
        raise PriorbenchError(f"{source}: no column {missing[0]!r}; it was made by another version, run it again")
    for number, row in enumerate(rows, start=2):
        for name, kind in METRIC_COLUMNS.items():
            if not _is_number(row[name], kind):
                raise PriorbenchError(f"{source}: line {number}: {name} cannot be {row[name][:40]!r}; run it again")
    if run["status"] == "completed" and [row["epoch"] for row in rows] != [str(n) for n in range(run["epochs"] + 1)]:
        raise PriorbenchError(f"{source}: not one row for each of the epochs 0 to {run['epochs']}; run it again")
    check_curve(run, rows)
    key = {name: run[name] for name in CURVE_KEY}
    return [{**key, **{name: row[name] for name in METRIC_COLUMNS}} for row in rows]


def _is_number(text: str, kind: Kind) -> bool:
    """Whether a cell of ``metrics.csv`` holds a count, or nothing or any number: a loss that diverges is infinite."""
    if kind == "integer":
        return re.fullmatch(r"[0-9]{1,18}", text) is not None
    return re.fullmatch(r"|-?(nan|inf|[0-9]+(\.[0-9]*)?([eE][-+]?[0-9]+)?)", text) is not None
