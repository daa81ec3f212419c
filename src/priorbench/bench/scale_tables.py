"""The suite ``scale`` as a table."""

from priorbench.analysis.text import MISSING, number
from priorbench.bench.suite import Row
from priorbench.bench.table import Table

KINDS = ("inference", "training")


def tables(rows: list[Row]) -> list[Table]:
    """A line a backbone and number of atoms, inference beside training."""
    if not rows:
        return []
    caption = (
        f"Cost of an atom by the atoms of a structure, {max(row['atoms'] for row in rows)} atoms a step at every size: "
        "best step, its ratio to that of the smallest structures, peak memory of the process.  Inference: energies and "
        "forces; training: a finetuning step.  In brackets: memory too small; what is needed, by the sizes before."
    )
    header = ["backbone", "atoms", "edges/atom"]
    for kind in KINDS:
        header += [f"{kind} µs/atom", "ratio", "GB"]
    lines = []
    for backbone, atoms in dict.fromkeys((row["backbone"], row["atoms"]) for row in rows):
        own = {row["kind"]: row for row in rows if (row["backbone"], row["atoms"]) == (backbone, atoms)}
        edges = next((row["edges_per_atom"] for row in own.values() if row["edges_per_atom"]), None)
        figures = [text for kind in KINDS for text in _figures(own.get(kind))]
        lines.append([backbone, str(atoms), number(edges), *figures])
    return [Table(caption, header, lines, "l" + "r" * 8)]


def _figures(row: Row | None) -> list[str]:
    if row is None:
        return [MISSING] * 3
    if row["best_ns_per_atom"] is None:
        return [MISSING, MISSING, f"({row['extrapolated_memory_gb']:.0f})"]
    return [number(row["best_ns_per_atom"] / 1000), f"{row['ratio']:.2f}", number(row["peak_memory_gb"])]
