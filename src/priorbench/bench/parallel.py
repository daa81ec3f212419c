"""The suite ``parallel``: finetuning in two processes that share every batch, against one process.

Against one with one thread it says what a second core brings, against one with two threads which of the two ways to
use it is the better.
"""

import math
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from priorbench.analysis.text import number
from priorbench.bench.options import FINETUNING, Cell, Options
from priorbench.bench.phases import LEAST
from priorbench.bench.process import isolated, together
from priorbench.bench.suite import Log, Row, Suite
from priorbench.bench.table import Table
from priorbench.provenance import cores

ATOMS = (192,)
PROCESSES = 2
OWN = "priorbench.bench.cells:own"
WAYS = {"one_thread": "1 thread", "two_threads": "2 threads", "two_processes": "2 processes"}


def measure(options: Options, machine: Row, folder: Path, log: Log) -> list[Row]:
    """One row a backbone and number of atoms; of the chosen backbones those without batch statistics."""
    if options.device != "cpu" or cores() < PROCESSES:
        log.say(f"parallel: measured on a CPU with {PROCESSES} cores at least; its rows are left out")
        return []
    chosen = isolated("priorbench.bench.parallel:divisible", backbones=list(options.backbones))
    sizes, count = list(options.atoms or ATOMS), 2 * options.batch_size
    places = isolated("priorbench.bench.boxes:prepare", folder=str(folder), backbones=chosen, atoms=sizes, count=count)
    rows = []
    for backbone in chosen:
        for atoms in sizes:
            place = places[backbone][str(atoms)]
            cell = Cell(backbone, FINETUNING, atoms, options.batch_size, 1, "cpu", options.seconds, place)
            with log.attempt(f"parallel {cell}"):
                rows.append(measured(cell, machine))
                log.say(f"{cell}: two processes {number(rows[-1]['over_one_thread'])} times as fast as one")
    return rows


def divisible(backbones: list[str]) -> list[str]:
    """Those of the ``backbones`` that can be trained in several processes."""
    from priorbench.training.model import build
    from priorbench.training.step import has_batch_statistics

    return [name for name in backbones if not has_batch_statistics(build({"name": name, "architecture": name}, 0))]


def measured(cell: Cell, machine: Row) -> Row:
    """The row of one ``cell`` of one thread."""
    one = isolated(OWN, **asdict(cell))
    two = isolated(OWN, **asdict(replace(cell, threads=PROCESSES)))
    steps = max(LEAST, math.ceil(cell.seconds / (one["ms"] / 1000 * cell.batch_size / PROCESSES)))
    shared = together(OWN, [{**asdict(cell), "steps": steps, "divided": True} for _ in range(PROCESSES)])[0]
    found = dict(zip(WAYS, (one, two, shared), strict=True))
    return {
        **{name: getattr(cell, name) for name in SUITE.key},
        **{way: {**times, "structures_per_s": 1000 / times["best_ms"]} for way, times in found.items()},
        "over_one_thread": one["best_ms"] / shared["best_ms"],
        "over_two_threads": two["best_ms"] / shared["best_ms"],
        "matmul_units": shared["best_ms"] / 1000 * machine["matmul_gflops"],
    }


def tables(rows: list[Row]) -> list[Table]:
    """Structures per second of the three ways and the ratios."""
    caption = (
        "Finetuning in two processes of one thread that share every batch, against one process with one and with two "
        "threads: structures per second, by the best step of each."
    )
    header = ["backbone", "atoms", *WAYS.values(), "over 1 thread", "over 2 threads"]
    lines = [[row["backbone"], str(row["atoms"]), *_figures(row)] for row in rows]
    return [Table(caption, header, lines, "lr" + "r" * 5)] if rows else []


def _figures(row: dict[str, Any]) -> list[str]:
    ratios = [f"{row[name]:.2f}" for name in ("over_one_thread", "over_two_threads")]
    return [*(number(row[way]["structures_per_s"]) for way in WAYS), *ratios]


SUITE = Suite(("backbone", "atoms", "batch_size"), measure, tables, lambda row: float(row["matmul_units"]))
