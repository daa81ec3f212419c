"""Whether a report is slower than an earlier one of the same kind of machine.

What is compared are matmul units, so that a clock that runs slower today does not count, and those of the best step
of each cell: on a machine that others use as well, the best is steadier than the median.  They still depend on caches,
memory and threads: reports of another processor, GPU or number of threads are shown side by side but not judged.
"""

from dataclasses import dataclass, field
from pathlib import Path

from priorbench.analysis.text import MISSING, number, percent
from priorbench.bench.machine import KIND
from priorbench.bench.report import FORMAT, Report
from priorbench.bench.suites import SUITES
from priorbench.bench.table import Table
from priorbench.errors import PriorbenchError
from priorbench.io import read_json

Key = tuple[str, ...]  # suite and what tells its rows apart


@dataclass(frozen=True)
class Comparison:
    """Cells of two reports side by side."""

    lines: list[tuple[Key, float | None, float | None]]  # units earlier and now, None where one has no such cell
    differences: list[str] = field(default_factory=list)  # why the machines are not of one kind

    @property
    def common(self) -> list[tuple[Key, float]]:
        """Relative change of the units of every cell that both have."""
        return [(key, now / before - 1) for key, before, now in self.lines if before and now]

    def missing(self, side: int) -> list[str]:
        """Names of the cells without units earlier (1) or now (2)."""
        return [_name(line[0]) for line in self.lines if line[side] is None]


def load_report(path: Path) -> Report:
    """Read a report that ``priorbench bench`` wrote; anything else is a :class:`PriorbenchError`."""
    report = read_json(path)
    if not isinstance(report, dict) or report.get("format") != FORMAT or not {"machine", "suites"} <= set(report):
        raise PriorbenchError(f"{path}: not a report of priorbench bench in format {FORMAT}; make a new one")
    return report


def compare(earlier: Report, now: Report) -> Comparison:
    """All cells of the suites that are compared, those of ``earlier`` first."""
    before, after = _cells(earlier), _cells(now)
    keys = [*before, *(key for key in after if key not in before)]
    differences = [
        f"{name} {earlier['machine'].get(name)} and {now['machine'].get(name)}"
        for name in KIND
        if earlier["machine"].get(name) != now["machine"].get(name)
    ]
    return Comparison([(key, before.get(key), after.get(key)) for key in keys], differences)


def table(comparison: Comparison, path: Path) -> Table:
    """Units earlier and now, and their change."""
    lines = []
    for key, before, now in comparison.lines:
        change = percent(now / before - 1) if before and now else ""
        lines.append([" ".join(key), number(before), number(now), f"{change} %" if change else MISSING])
    return Table(f"Matmul units of best steps against {path}.", ["cell", "earlier", "now", "change"], lines, "lrrr")


def judge(comparison: Comparison, path: Path, tolerance: float) -> list[str]:
    """What is to be said of the ``comparison`` with ``path``; a regression is a :class:`PriorbenchError`."""
    said = [
        f"{where}: {', '.join(names)}"
        for side, where in ((1, f"not in {path}"), (2, f"in {path}, but not measured now"))
        if (names := comparison.missing(side))
    ]
    if comparison.differences:
        return [*said, f"not judged, the machines are of different kinds: {'; '.join(comparison.differences)}"]
    if not comparison.common:
        raise PriorbenchError(f"{path}: no cell in common with what was measured; choose the same cells")
    slower = [f"{_name(key)} {percent(change)} %" for key, change in comparison.common if change > tolerance]
    if slower:
        raise PriorbenchError(
            f"{len(slower)} of {len(comparison.common)} cells take more than {100 * tolerance:g} % more matmul units "
            f"than in {path}: {', '.join(slower)}"
        )
    return [
        *said,
        f"no cell of {len(comparison.common)} takes more than {100 * tolerance:g} % more units than in {path}",
    ]


def _cells(report: Report) -> dict[Key, float]:
    """Units by suite and key of the suites that are compared."""
    cells = {}
    for name, suite in SUITES.items():
        if suite.units is not None:
            for row in report["suites"].get(name, []):
                if (units := suite.units(row)) is not None:
                    cells[(name, *(str(row[key]) for key in suite.key))] = units
    return cells


def _name(key: Key) -> str:
    return "-".join(key)
