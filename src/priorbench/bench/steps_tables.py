"""The suite ``steps`` as tables."""

from priorbench.analysis.text import MISSING, number
from priorbench.bench.phases import PHASES
from priorbench.bench.suite import Row
from priorbench.bench.table import Table

CODES = ("priorbench", "textbook")


def tables(rows: list[Row]) -> list[Table]:
    """Times, and what they are spent on."""
    return [_times(rows), _work(rows)] if rows else []


def _times(rows: list[Row]) -> Table:
    """Two lines a row: priorbench and the textbook version."""
    sizes = "/".join(str(size) for size in dict.fromkeys(row["batch_size"] for row in rows))
    caption = (
        f"Training step, {sizes} structures a batch: ms per structure (median, best, phases of the median step); "
        "matmul units per structure: GFLOP that a matrix product would have done in that time; peak memory of the "
        "process (on a GPU: of its tensors)."
    )
    if any("outside" in row["priorbench"] for row in rows):
        caption += (
            "  On a GPU priorbench's ms are those of steps as a training takes them, one CUDA graph each and the next "
            "batch drawn beside it; its phases are those of steps taken operation by operation, each waited for."
        )
    header = ["backbone", "task", "atoms", "code", "ms", "best", *PHASES, "units", "per s", "GB", "ratio"]
    lines = []
    for row in rows:
        for code in CODES:
            if found := row[code]:
                name = [row["backbone"], row["task"], str(row["atoms"])] if code == CODES[0] else [""] * 3
                lines.append([*name, code, *_figures(found), _ratio(row) if code == CODES[1] else ""])
    return Table(caption, header, lines, "llrl" + "r" * 10)


def _figures(found: Row) -> list[str]:
    gpu = found["peak_gpu_memory_gb"]
    values = [found["ms"], found["best_ms"], *(found["phases_ms"][phase] for phase in PHASES)]
    values += [found["matmul_units"], found["structures_per_s"], found["peak_memory_gb"] if gpu is None else gpu]
    return [number(value) for value in values]


def _ratio(row: Row) -> str:
    return f"{row['ratio']:.2f}"


def _work(rows: list[Row]) -> Table:
    caption = (
        "What a step does: edges of the structures as they are, arithmetic of matrix products per structure, and the "
        "share of the machine's matrix product rate that it reaches."
    )
    header = ["backbone", "task", "atoms", "edges/atom", "edges/step", "GFLOP"]
    header += ["Medges/s", "(textbook)", "share", "(textbook)"]
    lines = [
        [
            *(row["backbone"], row["task"], str(row["atoms"])),
            *(f"{row['edges_per_atom']:.1f}", f"{row['edges_per_step']:.0f}", number(row["gflop_per_structure"])),
            *(number(row[code]["edges_per_s"] / 1e6) if row[code] else MISSING for code in CODES),
            *(f"{100 * row[code]['matmul_share']:.1f} %" if row[code] else MISSING for code in CODES),
        ]
        for row in rows
    ]
    return Table(caption, header, lines, "ll" + "r" * 8)
