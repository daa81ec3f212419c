"""Tables of typed cells, as CSV with all numbers and as text for reading."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from priorbench.analysis.intervals import Estimate, Paired, t_interval
from priorbench.analysis.text import MISSING, change, number, with_interval

Kind = Literal["text", "number", "estimate", "change"]
Cell = str | int | float | Estimate | Paired | None

#: Stands at a change whose verdict survives Holm's correction.
SURVIVES = "*"


@dataclass(frozen=True)
class Column:
    """``key`` in the CSV, with the unit in it; ``header`` for readers."""

    key: str
    header: str
    kind: Kind = "text"


@dataclass(frozen=True)
class Table:
    """Rows of cells, each of its column's kind or None."""

    columns: Sequence[Column]
    rows: list[list[Cell]] = field(default_factory=list)

    @property
    def header(self) -> list[str]:
        """For readers."""
        return [column.header for column in self.columns]

    @property
    def alignment(self) -> str:
        """``l`` or ``r`` for each column."""
        return "".join("l" if column.kind == "text" else "r" for column in self.columns)

    def text_rows(self) -> list[list[str]]:
        """For readers: numbers with three digits, changes in per cent."""
        return [[_text(cell) for cell in row] for row in self.rows]

    def csv_rows(self) -> list[dict[str, object]]:
        """For machines: an interval has columns of its own, changes are fractions."""
        found = []
        for row in self.rows:
            values: dict[str, object] = {}
            for column, cell in zip(self.columns, row, strict=True):
                values.update(_fields(column, cell))
            found.append(values)
        return found

    @property
    def csv_columns(self) -> list[str]:
        """The keys of :meth:`csv_rows`."""
        return [name for column in self.columns for name in _fields(column, None)]


def linear(values: Sequence[float | None]) -> Estimate:
    """Arithmetic mean of the values there are, with its t-interval: for what can be negative, unlike an error."""
    numbers = [float(value) for value in values if value is not None and math.isfinite(value)]
    if len(numbers) < 2:
        return Estimate(numbers[0] if numbers else None, None, None, None, numbers)
    return Estimate(*t_interval(numbers), None, numbers)


def _text(cell: Cell) -> str:
    if cell is None:
        return MISSING
    if isinstance(cell, Paired):
        return change(cell) + (SURVIVES if cell.survives else "")
    if isinstance(cell, Estimate):
        return with_interval(cell)
    return cell if isinstance(cell, str) else str(cell) if isinstance(cell, int) else number(cell)


def _fields(column: Column, cell: Cell) -> dict[str, object]:
    key = column.key
    if column.kind == "estimate":
        estimate = cell if isinstance(cell, Estimate) else Estimate(None, None, None, None, [])
        return {key: estimate.mean, f"{key}_low": estimate.low, f"{key}_high": estimate.high}
    if column.kind == "change":
        paired = cell if isinstance(cell, Paired) else None
        names = ("low", "high", "pairs", "p", "p_holm", "verdict", "survives")
        values = {f"{key}_{name}": getattr(paired, name, None) for name in names}
        return {key: paired.delta if paired else None, **values}
    return {key: cell}
