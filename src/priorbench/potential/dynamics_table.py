"""``dynamics.csv`` and ``distributions.csv``: what the dynamics of every chosen potential found.

Columns of the first: whose it is (dataset, backbone, strategy, seed); status; whether forces are a gradient and
molecules rigid; in NVE the drift of the predicted total energy (meV/atom/ps), its fluctuation (meV/atom) and the
heating (K/ps); in NVT the time until it broke (ps) of that asked for, what broke, mean temperature (K), the mean
absolute error of each pair's distribution, of the angles between heavy neighbours, and the diffusion coefficient
(Å²/ps).
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from priorbench.io import read_object, write_rows

RUN = ("dataset", "backbone", "strategy", "seed")
COLUMNS = (
    *RUN,
    "status",
    "conservative",
    "rigid",
    "atoms",
    "nve_ps",
    "nve_broken",
    "drift_mev_per_atom_per_ps",
    "fluctuation_mev_per_atom",
    "heating_K_per_ps",
    "stability_ps",
    "asked_ps",
    "broken",
    "temperature_K",
)
Record = Mapping[str, Any]


DISTRIBUTION_COLUMNS = (*RUN, "periodic", "pair", "r", "value", "reference")
SHIFT = 4  # decimals of distributions


def collect_dynamics(paths: Sequence[Path], table: Path, distributions: Path) -> None:
    """Write ``dynamics.csv`` and ``distributions.csv`` of all records of chosen runs."""
    records = [record for path in sorted(paths) if (record := _read(path))["status"] != "not chosen"]
    records = sorted(records, key=lambda record: tuple(record[name] for name in RUN))
    rows = [row_of(record) for record in records]
    measured = sorted({name for row in rows for name in row} - set(COLUMNS))
    write_rows(table, [{name: row.get(name) for name in (*COLUMNS, *measured)} for row in rows], [*COLUMNS, *measured])
    write_rows(distributions, [row for record in records for row in _distribution_rows(record)], DISTRIBUTION_COLUMNS)


def _distribution_rows(record: Record) -> list[dict[str, Any]]:
    """A row a pair of elements and distance (Å), beside the value in the data."""
    nvt, run = record.get("nvt") or {}, {name: record[name] for name in RUN}
    if not nvt.get("frames"):
        return []
    return [
        {**run, "periodic": int(nvt["periodic"]), "pair": pair, "r": round(r, SHIFT)}
        | {"value": round(value, SHIFT), "reference": round(reference, SHIFT)}
        for pair, values in nvt["distributions"].items()
        for r, value, reference in zip(nvt["r"], values, nvt["reference"][pair], strict=True)
    ]


def row_of(record: Record) -> dict[str, Any]:
    """One row; what a run that diverged or broke at once has not is absent."""
    nve, nvt = record.get("nve") or {}, record.get("nvt") or {}
    row = {name: record.get(name) for name in (*RUN, "status", "conservative", "rigid", "atoms")}
    row |= {"nve_ps": nve.get("ps"), "nve_broken": nve.get("broken"), "stability_ps": nvt.get("ps")}
    row |= {name: nve.get(name) for name in COLUMNS[10:13]}
    row |= {name: nvt.get(name) for name in ("asked_ps", "broken", "temperature_K")}
    found = {name: value for name, value in nvt.items() if "_error" in name or name.startswith("diffusion")}
    return {**row, **found}


def _read(path: Path) -> Record:
    return read_object(path, (*RUN, "status"), "run `priorbench dynamics` again")
