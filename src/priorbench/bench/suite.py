"""What a suite is: how its rows are measured, shown and compared with earlier ones."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from priorbench.bench.options import Options
from priorbench.bench.table import Table
from priorbench.errors import PriorbenchError

Row = dict[str, Any]


@dataclass
class Log:
    """Lines of progress on standard error, and the cells that failed."""

    failures: list[str] = field(default_factory=list)

    def say(self, line: str) -> None:
        """One line of progress."""
        print(line, file=sys.stderr, flush=True)

    def fail(self, cell: str, error: PriorbenchError) -> None:
        """Say and note that the ``cell`` could not be measured."""
        self.failures.append(f"{cell}: {error}")
        self.say(f"failed: {self.failures[-1]}")

    @contextmanager
    def attempt(self, cell: str) -> Iterator[None]:
        """What goes wrong inside costs the ``cell`` alone: it is said and noted, and the others are measured."""
        try:
            yield
        except PriorbenchError as error:
            self.fail(cell, error)


class Drawing(NamedTuple):
    """A figure of a suite's rows."""

    function: str  # "module:name", imported when drawn, called with the report and the files' stem
    title: str


@dataclass(frozen=True)
class Suite:
    """One of the measurements that make up a report; :mod:`priorbench.bench.suites` lists them."""

    key: tuple[str, ...]  # what tells its rows apart
    measure: Callable[[Options, Row, Path, Log], list[Row]]  # options, machine, a folder for files, progress → rows
    tables: Callable[[list[Row]], list[Table]]
    units: Callable[[Row], float | None] | None = None  # matmul units of a row, which must not grow; None: not compared
    drawing: Drawing | None = None
