"""The suite ``steps``: time, memory and arithmetic of a training step, priorbench's beside the textbook version's."""

from dataclasses import asdict, replace
from importlib.util import find_spec
from itertools import product
from pathlib import Path

import priorbench
from priorbench.analysis.text import number
from priorbench.bench.machine import matmul_gflops
from priorbench.bench.options import ATOMS, Cell, Options
from priorbench.bench.process import isolated
from priorbench.bench.steps_tables import tables
from priorbench.bench.suite import Drawing, Log, Row, Suite
from priorbench.errors import PriorbenchError

TEXTBOOK = Path(priorbench.__file__).parents[2] / "benchmarks" / "textbook"
LARGE = 400  # atoms from which the textbook version takes no more steps than it must


def measure(options: Options, machine: Row, folder: Path, log: Log) -> list[Row]:
    """One row a backbone, task and number of atoms; each version of each in a process of its own.

    The tasks of a size come one after the other: bounds compare them, and the machine's speed drifts.
    """
    sizes, chosen = list(options.atoms or ATOMS), list(options.backbones)
    count = 2 * options.batch_size
    places = isolated("priorbench.bench.boxes:prepare", folder=str(folder), backbones=chosen, atoms=sizes, count=count)
    with_textbook = options.textbook and _has_textbook(log)
    rows = []
    for backbone, atoms, task in product(chosen, sizes, options.tasks):
        cell = Cell(
            *(backbone, task, atoms, options.batch_size, options.threads, options.device, options.seconds),
            folder=places[backbone][str(atoms)],
            gpu=options.gpu,
        )
        with log.attempt(str(cell)):
            rows.append(measured(cell, options, with_textbook, log))
            log.say(_progress(cell, rows[-1]))
    return sorted(rows, key=lambda row: (chosen.index(row["backbone"]), options.tasks.index(row["task"])))


def measured(cell: Cell, options: Options, with_textbook: bool, log: Log) -> Row:
    """The row of one ``cell``; a textbook version that fails is said, and its part of the row is None.

    Its units are by the rate of the matrix product right before and after it, for the machine's speed drifts.
    """
    before = matmul_gflops(options)
    found = isolated("priorbench.bench.cells:engine", **asdict(cell))
    rate = max(before, matmul_gflops(options))
    gflop, edges = found.pop("gflop_per_structure"), found.pop("edges_per_structure")
    other = _textbook(cell, log) if with_textbook else None
    return {
        **{name: getattr(cell, name) for name in SUITE.key},
        "edges_per_atom": edges / cell.atoms,
        "edges_per_step": edges * cell.batch_size,
        "gflop_per_structure": gflop,
        "matmul_gflops": rate,
        "priorbench": {**found, **_rates(found, edges, gflop, rate)},
        "textbook": {**other, **_rates(other, edges, gflop, rate)} if other else None,
        "ratio": other["ms"] / found["ms"] if other else None,
    }


def units(row: Row) -> float:
    """Matmul units per structure of priorbench's best step, which other work on the machine disturbs least."""
    found = row["priorbench"]
    return float(found["matmul_units"] * found["best_ms"] / found["ms"])


def _rates(found: Row, edges: float, gflop: float, rate: float) -> Row:
    """``rate`` in GFLOP/s; the edges are those of the structures before a task hides or moves atoms."""
    seconds = found["ms"] / 1000
    return {
        "matmul_units": seconds * rate,
        "structures_per_s": 1 / seconds,
        "edges_per_s": edges / seconds,
        "matmul_share": gflop / seconds / rate,
    }


def _textbook(cell: Cell, log: Log) -> Row | None:
    short = replace(cell, seconds=0.0) if cell.atoms >= LARGE else cell
    try:
        row: Row = isolated("priorbench.bench.textbook_cell:textbook", **asdict(short))
    except PriorbenchError as error:
        log.say(f"{cell}, textbook: {error}; its columns are left empty")
        return None
    return row


def _has_textbook(log: Log) -> bool:
    reason = None
    if not TEXTBOOK.is_dir():
        reason = f"{TEXTBOOK} does not exist (it is part of the repository, not of the package)"
    elif find_spec("torch_geometric") is None:
        reason = "torch_geometric is not installed"
    if reason:
        log.say(f"no textbook version: {reason}; its columns are left empty")
    return reason is None


def _progress(cell: Cell, row: Row) -> str:
    text = f"{cell}: {number(row['priorbench']['ms'])} ms per structure"
    return text + (f", textbook {number(row['ratio'])} times that" if row["textbook"] else "")


DRAWING = Drawing("priorbench.bench.figure:draw", "Cost of a training step and share of the matrix product rate")
SUITE = Suite(("backbone", "task", "atoms", "batch_size"), measure, tables, units, DRAWING)
