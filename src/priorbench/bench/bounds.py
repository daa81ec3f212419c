"""What priorbench promises of its speed, and whether the machine at hand sees it kept.

All bounds are for 16 structures a step and networks of default size, on a CPU in single precision, on a GPU in
whatever it was told to compute in.  Matmul units are those of the best step of a cell, which other work on the machine
disturbs least.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

from priorbench.analysis.text import number
from priorbench.bench import steps
from priorbench.bench.options import FINETUNING
from priorbench.bench.suite import Row
from priorbench.bench.table import Table

BATCH_SIZE = 16
FINETUNE = {  # matmul units of a structure at most, by backbone and atoms: must, goal
    ("egnn", 192): (15.0, 10.0),
    ("egnn", 774): (75.0, 45.0),
    ("gns", 192): (14.0, 12.0),
    ("gns", 774): (76.0, 55.0),
    ("forcenet", 192): (9.0, 7.5),
    ("forcenet", 774): (45.0, 32.0),
}
MASKING = 0.75  # of the units of finetuning, at most
FLAT = 1.15  # cost of an atom over that in the smallest structures, at most


class Bound(NamedTuple):
    """A bound on the worst row of each group in a suite."""

    name: str
    suite: str
    groups: tuple[str, ...]
    value: Callable[[Row], float | None]  # None: nothing measured
    must: float
    least: bool = False  # at least that; else at most


def _calculator(row: Row) -> float | None:
    return float(row["ratio"]) if row["atoms"] == 774 else None


def _rate_share(row: Row) -> float | None:
    """Of finetuning GNS at 774 atoms."""
    chosen = (row["backbone"], row["atoms"], row["task"]) == ("gns", 774, FINETUNING)
    return float(row["priorbench"]["matmul_share"]) if chosen else None


def _ratio_at_192(row: Row) -> float | None:
    return None if row["ratio"] is None or row["atoms"] != 192 else float(row["ratio"])


OTHERS = (
    Bound("speed over textbook", "steps", ("backbone",), lambda row: row["ratio"], 2.5, least=True),
    Bound("share of data in a step", "steps", ("task",), lambda row: _data_share(row["priorbench"]), 0.03),
    Bound("GB at 774 atoms", "steps", ("backbone",), lambda row: _memory(row, 774), 2.0),
    Bound("s to the first step", "startup", ("backbone",), lambda row: row["seconds"], 4.0),
    Bound("2 processes over 1 thread", "parallel", ("backbone", "atoms"), lambda r: r["over_one_thread"], 1.7, True),
    Bound("2 processes over 2 threads", "parallel", ("backbone", "atoms"), lambda r: r["over_two_threads"], 1.0, True),
    Bound("calculator over network", "calculator", ("backbone",), _calculator, 1.2),
    Bound("cost of an atom over smallest", "scale", ("backbone", "kind"), lambda row: row["ratio"], FLAT),
)


ON_GPU = (
    Bound("speed over textbook", "steps", ("backbone",), _ratio_at_192, 20.0, least=True),
    Bound("share of a step outside its graph", "steps", ("task",), lambda row: row["priorbench"].get("outside"), 0.05),
    Bound("share of matrix product rate", "steps", ("backbone",), _rate_share, 0.3, least=True),
)


def bounds(report: dict[str, Any]) -> list[Row]:
    """A row for each bound that the report has a measurement of: what, where, must, goal, measured, met."""
    on_cpu = report["machine"]["device"] == "cpu"
    suites = {
        name: [row for row in rows if row.get("batch_size", BATCH_SIZE) == BATCH_SIZE]
        for name, rows in report["suites"].items()
    }
    rows = _of_units(suites.get("steps", [])) if on_cpu else []
    for bound in OTHERS if on_cpu else ON_GPU:
        found = [(row, bound.value(row)) for row in suites.get(bound.suite, [])]
        groups: dict[str, list[float]] = {}
        for row, value in found:
            if value is not None:
                groups.setdefault(" ".join(str(row[name]) for name in bound.groups), []).append(value)
        for where, values in groups.items():
            worst = min(values) if bound.least else max(values)
            rows.append(_row(bound.name, where, worst, bound.must, least=bound.least))
    return rows


def _of_units(rows: list[Row]) -> list[Row]:
    """Units of finetuning, then those of masking over them."""
    units = {(row["backbone"], row["atoms"], row["task"]): steps.units(row) for row in rows}
    finetuning, masking = [], []
    for (backbone, atoms), (must, goal) in FINETUNE.items():
        reached, other = (units.get((backbone, atoms, task)) for task in (FINETUNING, "masking"))
        if reached is not None:
            finetuning.append(_row("units of finetuning", f"{backbone} {atoms}", reached, must, goal))
        if reached is not None and other is not None:
            masking.append(_row("masking over finetuning", f"{backbone} {atoms}", other / reached, MASKING))
    return finetuning + masking


def _row(what: str, where: str, measured: float, must: float, goal: float | None = None, least: bool = False) -> Row:
    def met(limit: float) -> bool:
        return measured >= limit if least else measured <= limit

    return {
        **{"bound": what, "where": where, "at": "least" if least else "most", "must": must, "goal": goal},
        **{"measured": measured, "met": met(must), "goal_met": None if goal is None else met(goal)},
    }


def _data_share(found: Row) -> float:
    return float(found["phases_ms"]["data"] / found["ms"])


def _memory(row: Row, atoms: int) -> float | None:
    return float(row["priorbench"]["peak_memory_gb"]) if row["atoms"] == atoms else None


def bounds_table(rows: list[Row]) -> Table:
    """Each bound, what was measured, and by how much it is met or missed."""
    missed = sum(not row["met"] for row in rows)
    caption = (
        f"Bounds ({BATCH_SIZE} structures a step; units by the best step, of other bounds the worst "
        f"cell): {len(rows) - missed} of {len(rows)} met."
    )
    header = ["bound", "where", "at", "must", "goal", "measured", "verdict"]
    lines = [
        [
            *(
                row["bound"],
                row["where"],
                row["at"],
                f"{row['must']:g}",
                "" if row["goal"] is None else f"{row['goal']:g}",
            ),
            *(number(row["measured"]), _verdict(row)),
        ]
        for row in rows
    ]
    return Table(caption, header, lines, "lllrrrl")


def _verdict(row: Row) -> str:
    texts = [_distance("met" if row["met"] else "missed", row["measured"], row["must"])]
    if row["goal"] is not None:
        texts.append("goal " + _distance("met" if row["goal_met"] else "missed", row["measured"], row["goal"]))
    return ", ".join(texts)


def _distance(word: str, measured: float, limit: float) -> str:
    return f"{word} by {100 * abs(measured / limit - 1):.0f} %"
