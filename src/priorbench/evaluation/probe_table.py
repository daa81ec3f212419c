"""The table of probes: what :mod:`priorbench.evaluation.probes` writes of one cell, and the cells of an experiment.

``value`` is a coefficient of determination (``oh_length``, ``hoh_angle``, ``hydrogen_bonds``) or a linear CKA
(``similarity``), empty where there is none; ``n`` counts the test molecules, or for the similarity the test atoms.
``strategy`` is that of the path: with ``+n`` where a strategy has several trials.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from priorbench.errors import PriorbenchError
from priorbench.io import read_rows, write_rows

STAGES = ("untrained", "pretrain", "finetune")
PROBED = ("oh_length", "hoh_angle", "hydrogen_bonds")
SIMILARITY = "similarity"
KEY = ("dataset", "backbone", "seed", "stage", "strategy", "quantity")
COLUMNS = (*KEY, "value", "n")

Row = Mapping[str, Any]


def write_probes(path: Path, rows: Sequence[Row]) -> None:
    """Write ``rows`` sorted, whatever their order."""
    write_rows(path, sorted(rows, key=_sort_key), COLUMNS)


def collect_probes(paths: Sequence[Path], output: Path) -> None:
    """Write the rows of all tables to one, sorted; other columns, and a row that is there twice, are refused."""
    rows: list[Row] = []
    seen: dict[tuple[Any, ...], Path] = {}
    for path in paths:
        for row in _read(path):
            key = tuple(row[name] for name in KEY)
            if key in seen:
                raise PriorbenchError(f"{path}: {'/'.join(map(str, key))} is in {seen[key]} already; give each once")
            seen[key] = path
            rows.append(row)
    write_probes(output, rows)


def _read(path: Path) -> list[Row]:
    found, rows = read_rows(path, "run `priorbench probe` first")
    if tuple(found) != COLUMNS:
        raise PriorbenchError(f"{path}: columns are {', '.join(found)}, not {', '.join(COLUMNS)}; probe again")
    for row in rows:
        if row["stage"] not in STAGES or row["quantity"] not in (*PROBED, SIMILARITY) or not str(row["seed"]).isdigit():
            raise PriorbenchError(f"{path}: no row of a probe: {','.join(map(str, row.values()))}; probe again")
    return [{**row, "seed": int(row["seed"])} for row in rows]


def _sort_key(row: Row) -> tuple[Any, ...]:
    quantity = (*PROBED, SIMILARITY).index(row["quantity"])
    return row["dataset"], row["backbone"], row["seed"], STAGES.index(row["stage"]), row["strategy"], quantity
