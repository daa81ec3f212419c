"""The suite ``packed``: several runs at once on the machine, one thread each, against one after the other with all."""

from dataclasses import asdict, replace
from itertools import product
from pathlib import Path

from priorbench.analysis.text import number
from priorbench.bench.options import FINETUNING, Cell, Options
from priorbench.bench.process import isolated, together
from priorbench.bench.suite import Log, Row, Suite
from priorbench.bench.table import Table

ATOMS = (192,)
TASKS = ("masking", FINETUNING)
ON_A_GPU = 4  # runs at once
EVEN = 0.02  # difference of the two ways that is none
OWN = "priorbench.bench.cells:own"


def measure(options: Options, machine: Row, folder: Path, log: Log) -> list[Row]:
    """One row a backbone, task and number of atoms, as many runs as there are threads."""
    if options.threads < 2:
        log.say("packed: it takes two threads at least; its rows are left out")
        return []
    sizes, chosen, count = list(options.atoms or ATOMS), list(options.backbones), 2 * options.batch_size
    places = isolated("priorbench.bench.boxes:prepare", folder=str(folder), backbones=chosen, atoms=sizes, count=count)
    rows = []
    for backbone, task, atoms in product(chosen, [t for t in TASKS if t in options.tasks], sizes):
        place = places[backbone][str(atoms)]
        cell = Cell(
            *(backbone, task, atoms, options.batch_size, options.threads, options.device, options.seconds, place),
            gpu=options.gpu,
        )
        with log.attempt(f"packed {cell}"):
            rows.append(measured(cell, machine))
            log.say(f"{cell}: {rows[-1]['runs']} runs at once {number(rows[-1]['ratio'])} times as fast as in a row")
    return rows


def measured(cell: Cell, machine: Row) -> Row:
    """The row of one ``cell`` of all threads."""
    runs = cell.threads if cell.device == "cpu" else min(cell.threads, ON_A_GPU)
    whole = isolated(OWN, **asdict(cell))
    found = together(OWN, [asdict(replace(cell, threads=1, seed=seed)) for seed in range(runs)])
    in_a_row, at_once = 1000 / whole["ms"], sum(1000 / run["ms"] for run in found)
    best = sum(1000 / run["best_ms"] for run in found)
    return {
        **{name: getattr(cell, name) for name in SUITE.key},
        "runs": runs,
        "in_a_row": {"structures_per_s": in_a_row, "peak_memory_gb": whole["peak_memory_gb"]},
        "at_once": {"structures_per_s": at_once, "peak_memory_gb": sum(run["peak_memory_gb"] for run in found)},
        "ratio": at_once / in_a_row,
        "matmul_units": machine["matmul_gflops"] / best,
    }


def tables(rows: list[Row]) -> list[Table]:
    """Structures per second of both ways, and for each backbone which is the better."""
    if not rows:
        return []
    runs = rows[0]["runs"]
    caption = (
        f"{runs} runs with different seeds, at once in processes of one thread each or one after the other with "
        f"{runs} threads: structures per second of all together (median step), memory of all processes."
    )
    header = ["backbone", "task", "atoms", "in a row", "at once", "at once / in a row", "GB in a row", "GB at once"]
    lines = [
        [
            *(row["backbone"], row["task"], str(row["atoms"])),
            *(number(row[way]["structures_per_s"]) for way in ("in_a_row", "at_once")),
            f"{row['ratio']:.2f}",
            *(number(row[way]["peak_memory_gb"]) for way in ("in_a_row", "at_once")),
        ]
        for row in rows
    ]
    return [Table(f"{caption}  Faster: {'; '.join(_verdicts(rows))}.", header, lines, "ll" + "r" * 6)]


def _verdicts(rows: list[Row]) -> list[str]:
    """Which way is faster for each backbone, in the mean of its tasks and sizes."""
    texts = []
    for backbone in dict.fromkeys(row["backbone"] for row in rows):
        ratios = [row["ratio"] for row in rows if row["backbone"] == backbone]
        mean = sum(ratios) / len(ratios)
        way = "no difference" if abs(mean - 1) < EVEN else "at once" if mean > 1 else "in a row"
        texts.append(f"{backbone} {way} ({mean:.2f})")
    return texts


SUITE = Suite(("backbone", "task", "atoms", "batch_size"), measure, tables, lambda row: float(row["matmul_units"]))
