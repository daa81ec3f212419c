"""The suite ``scale``: what an atom costs in structures of ever more atoms, everything else alike.

Every point computes the same number of atoms, in structures of one size: inference as a validation does it, and a
training step.  A batch is cut between structures only, so the memory of both grows with the largest structure.  A size
that the machine has not got the memory for is left out, and said, with what it needs by the sizes before.
"""

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from priorbench.analysis.text import number
from priorbench.bench.options import FINETUNING, Cell, Options
from priorbench.bench.process import isolated
from priorbench.bench.scale_tables import KINDS, tables
from priorbench.bench.suite import Drawing, Log, Row, Suite
from priorbench.errors import PriorbenchError

SIZES = (1536, 6144, 24576, 98304)


def measure(options: Options, machine: Row, folder: Path, log: Log) -> list[Row]:
    """One row a backbone, kind and number of atoms, the smallest first."""
    sizes, chosen = sorted(options.atoms or SIZES), list(options.backbones)
    places = {}
    for atoms in sizes:
        boxes = {"backbones": chosen, "atoms": [atoms], "count": sizes[-1] // atoms}
        places[atoms] = isolated("priorbench.bench.boxes:prepare", folder=str(folder), **boxes)
    rows: list[Row] = []
    for backbone in chosen:
        cells = [
            Cell(
                *(backbone, FINETUNING, atoms, sizes[-1] // atoms, options.threads, options.device, options.seconds),
                folder=places[atoms][backbone][str(atoms)],
                gpu=options.gpu,
            )
            for atoms in sizes
        ]
        for kind in KINDS:
            with log.attempt(f"scale {backbone} {kind}"):
                rows += _series(kind, cells, machine, log)
    return rows


def _series(kind: str, cells: list[Cell], machine: Row, log: Log) -> list[Row]:
    """Rows of one backbone; a size that fails ends them."""
    rows: list[Row] = []
    last = _run(kind, replace(cells[0], batch_size=1, seconds=0.0))
    if last is None:
        raise PriorbenchError(f"the memory is too small for one structure of {cells[0].atoms} atoms")
    for cell in cells:
        needed = extrapolated(last, cell)
        try:
            found = _run(kind, cell)
        except PriorbenchError as error:
            log.fail(f"scale {cell} {kind}", error)
            break
        last = found or last
        smallest = rows[0]["best_ns_per_atom"] if rows else (found or {}).get("best_ns_per_atom")
        rows.append({**_identity(kind, cell, needed), **_figures(found, smallest, machine)})
        text = f"{number(found['best_ns_per_atom'] / 1000)} µs an atom" if found else f"left out, needs {needed:.0f} GB"
        log.say(f"{cell}, {kind}: {text}")
    return rows


def _run(kind: str, cell: Cell) -> dict[str, Any] | None:
    """What was measured; None where the memory was too small."""
    found: dict[str, Any] | None = isolated(f"priorbench.bench.scale_cells:{kind}", **asdict(cell))
    return found


def extrapolated(last: dict[str, Any], cell: Cell) -> float:
    """Memory in GB that the ``cell`` needs, from what the ``last`` one took for the edges it computed at once."""
    atoms = cell.atoms * (cell.batch_size if last["whole"] else 1)
    growth = last["edges_per_atom"] * atoms / last["edges_at_once"]
    return float(last["base_memory_gb"] + (last["peak_memory_gb"] - last["base_memory_gb"]) * growth)


def _identity(kind: str, cell: Cell, needed: float) -> Row:
    return {
        **{"backbone": cell.backbone, "kind": kind, "atoms": cell.atoms, "structures": cell.batch_size},
        "extrapolated_memory_gb": needed,
    }


def _figures(found: dict[str, Any] | None, smallest: float | None, machine: Row) -> Row:
    """Everything measured; None throughout where the cell was left out."""
    names = ("ns_per_atom", "best_ns_per_atom", "steps", "edges_per_atom", "edges_at_once", "peak_memory_gb")
    figures: Row = {name: found[name] if found else None for name in names}
    best = figures["best_ns_per_atom"]
    return {
        **figures,
        "ratio": best / smallest if best and smallest else None,
        "matmul_units": best / 1e9 * machine["matmul_gflops"] if best else None,
    }


def units(row: Row) -> float | None:
    """Matmul units of an atom in the best step; None where it was not measured."""
    value: float | None = row["matmul_units"]
    return value


DRAWING = Drawing("priorbench.bench.scale_figure:draw", "Cost of an atom against the atoms of a structure")
SUITE = Suite(("backbone", "kind", "atoms"), measure, tables, units, DRAWING)
