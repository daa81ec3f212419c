"""Molecular dynamics on the page: whatever columns ``dynamics.csv`` has, as a table with units from their names."""

import re
from collections.abc import Hashable, Mapping
from typing import Any

import pandas as pd

from priorbench.analysis.text import MISSING, number
from priorbench.report.parts import Part, columns
from priorbench.report.tables import Row, Table, quantity, text

DYNAMICS = "dynamics.csv"
_KEY = ("dataset", "backbone", "strategy", "seed")
#: Units as they end a column's name, the longest first.
_UNITS = {
    "mev_per_atom_per_ps": "meV/atom/ps",
    "mev_per_angstrom": "meV/Å",
    "ev_per_angstrom": "eV/Å",
    "mev_per_atom": "meV/atom",
    "ev_per_atom": "eV/atom",
    "g_per_cm3": "g/cm³",
    "a2_per_ps": "Å²/ps",
    "cm2_per_s": "cm²/s",
    "angstrom": "Å",
    "percent": "%",
    "ps": "ps",
    "fs": "fs",
    "mev": "meV",
    "ev": "eV",
    "k": "K",
    "s": "s",
}


def dynamics(parts: list[Part]) -> Table | None:
    """One row a run; None where no dynamics were run."""
    tables = [(part, part.table(DYNAMICS)) for part in parts]
    present = [(p, columns(t, p.folder / DYNAMICS, _KEY)) for p, t in tables if t is not None]
    if not present:
        return None
    names = list(dict.fromkeys(name for _, table in present for name in table.columns if name not in _KEY))
    rows = [_row(part, run, names) for part, table in present for run in table.to_dict("records")]
    header = [*_KEY, *map(heading, names)]
    real = [all(pd.api.types.is_numeric_dtype(t[n]) for _, t in present if n in t) for n in names]
    return Table("md", "Molecular dynamics with the trained networks.", header, rows, [False] * 3 + [True, *real], 2)


def heading(name: str) -> str:
    """A column's name in words, its unit last."""
    for end, unit in _UNITS.items():
        if name.lower().endswith(f"_{end}"):
            return f"{_words(name[: -len(end) - 1])} / {'(' + unit + ')' if '/' in unit else unit}"
    return _words(name)


def _words(name: str) -> str:
    return re.sub(r"_+", " ", name)


def _row(part: Part, run: Mapping[Hashable, Any], names: list[str]) -> Row:
    keys = [text(run[name]) for name in _KEY[:3]]
    cells = []
    for name in (_KEY[3], *names):
        value = run.get(name)
        if pd.isna(value):
            cells.append(text(MISSING, kind="number"))
        elif isinstance(value, int | float) and not isinstance(value, bool):
            shown = str(value) if isinstance(value, int) else number(float(value))
            cells.append(quantity(shown, float(value)))
        else:
            cells.append(text(value))
    return Row([*keys, *cells])
