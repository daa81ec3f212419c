"""Tables of the page: cells with what they are sorted by, rows with what they are filtered by."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Cell:
    """One cell; ``key`` is what it is sorted by (empty: goes last), ``tint`` the colour of the strategy it names."""

    text: str
    key: str = ""
    tint: str | None = None
    kind: str = ""  # of number, warning, code, verdicts; for its style


@dataclass(frozen=True)
class Row:
    """One row; a filter of the page looks at ``tags`` by name."""

    cells: Sequence[Cell]
    tags: dict[str, str] = field(default_factory=dict)
    kind: str = ""


@dataclass(frozen=True)
class Table:
    """A table with its caption; the first column that is no number heads its row."""

    id: str
    caption: str
    header: Sequence[str]
    rows: Sequence[Row]
    numeric: Sequence[bool]
    row_header: int = 0


def text(value: object, tint: str | None = None, kind: str = "") -> Cell:
    """A cell of words, sorted as they are."""
    return Cell(str(value), str(value), tint, kind)


def quantity(shown: str, value: float | None, kind: str = "number") -> Cell:
    """A cell of a number, shown in words and sorted by its value."""
    known = value is not None and math.isfinite(value)
    return Cell(shown, repr(float(value)) if known and value is not None else "", kind=kind)
