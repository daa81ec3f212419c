"""What a suite is: how its rows are measured, shown and compared with earlier ones."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from priorbench.bench.options import Options
from priorbench.bench.table import Table

Row = dict[str, Any]
Say = Callable[[str], None]  # one line of progress


@dataclass(frozen=True)
class Suite:
    """One of the measurements that make up a report; :mod:`priorbench.bench.suites` lists them."""

    key: tuple[str, ...]  # what tells its rows apart
    measure: Callable[[Options, Row, Path, Say], list[Row]]  # options, machine, a folder for files, progress → rows
    tables: Callable[[list[Row]], list[Table]]
    units: Callable[[Row], float] | None = None  # matmul units of a row, which must not grow; None: not compared
