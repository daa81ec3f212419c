"""The table of most answers: errors of every strategy with intervals, and its changes against each reference."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from priorbench.analysis.intervals import Estimate
from priorbench.analysis.results import QUANTITY_NAMES
from priorbench.analysis.tables import TRIVIAL
from priorbench.questions.cells import SURVIVES, Cell, Column, Kind, Table
from priorbench.questions.compare import Against, Entry
from priorbench.questions.experiment import Member

#: What the columns mean, beneath every such table.
LEGEND = (
    "Test errors: geometric mean [95 % interval] over seeds. Δ: change of test RMSE in per cent, paired by seed, "
    f"[95 % interval]; {SURVIVES}: its verdict survives Holm's correction over the column. Stuck: completed with a "
    "force RMSE not below the trivial predictor's. TFLOP: counted, pretraining included."
)

_UNITS = {"force": ("mev_per_angstrom", "meV/Å"), "energy": ("mev_per_atom", "meV/atom")}


@dataclass(frozen=True)
class Extra:
    """A column of a question's own; ``value`` reads an entry."""

    column: Column
    value: Callable[[Entry], Cell]


def extra(key: str, header: str, kind: Kind, value: Callable[[Entry], Cell]) -> Extra:
    """A column of a question's own."""
    return Extra(Column(key, header, kind), value)


def error_table(entries: Sequence[Entry], references: Sequence[Against], x: str, extras: Sequence[Extra] = ()) -> Table:
    """One row an entry, and one for the trivial predictor of every place; ``x`` heads the column of what was set.

    There is no such column where ``x`` is empty.
    """
    table = Table(_columns(references, x, extras))
    for place in dict.fromkeys(entry.member.place for entry in entries):
        own = [entry for entry in entries if entry.member.place == place]
        table.rows.append(_trivial(own[0].member, bool(x), len(table.columns)))
        table.rows.extend(_row(entry, bool(x), references, extras) for entry in own)
    return table


def place_columns() -> list[Column]:
    """Dataset and backbone."""
    return [Column("dataset", "dataset"), Column("backbone", "backbone")]


def _columns(references: Sequence[Against], x: str, extras: Sequence[Extra]) -> list[Column]:
    errors = [Column(f"{q}_rmse_{_UNITS[q][0]}", f"{q} RMSE {_UNITS[q][1]}", "estimate") for q in QUANTITY_NAMES]
    changes = [
        Column(f"delta_{q}_{_key(against)}", f"Δ {q} {_versus(against)} %", "change")
        for against in references
        for q in QUANTITY_NAMES
    ]
    counts = [Column(name, name, "number") for name in ("seeds", "diverged", "stuck")]
    front = [*place_columns(), Column("strategy", "strategy"), *([Column("set_to", x)] if x else [])]
    return [*front, *errors, *(e.column for e in extras), *changes, *counts, Column("total_tflop", "TFLOP", "number")]


def _versus(against: Against) -> str:
    return f"{against.label} vs this" if against.turned else f"vs {against.label}"


def _key(against: Against) -> str:
    name = "".join(c if c.isalnum() else "_" for c in against.label)
    return f"of_{name}" if against.turned else name


def _row(entry: Entry, x: bool, references: Sequence[Against], extras: Sequence[Extra]) -> list[Cell]:
    result = entry.member.result
    return [
        *(*entry.member.place, result.strategy, *([entry.x or None] if x else [])),
        *(result.errors[f"{q}_rmse"] for q in QUANTITY_NAMES),
        *(item.value(entry) for item in extras),
        *(entry.change(against.label, q) for against in references for q in QUANTITY_NAMES),
        *(len(result.seeds), len(result.diverged), len(result.stuck), result.flops / 1e12),
    ]


def _trivial(member: Member, x: bool, width: int) -> list[Cell]:
    """The trivial predictor in the columns of the errors."""
    means = [member.result.trivial[f"{q}_rmse"] for q in QUANTITY_NAMES]
    front: list[Cell] = [*member.place, TRIVIAL, *([None] if x else [])]
    cells = [*front, *(Estimate(mean, None, None, None, []) for mean in means)]
    return cells + [None] * (width - len(cells))
