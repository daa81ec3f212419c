"""A report as JSON value and as text."""

import datetime
from dataclasses import asdict
from typing import Any

from priorbench import __version__
from priorbench.bench.bounds import bounds_table
from priorbench.bench.machine import describe
from priorbench.bench.options import Options
from priorbench.bench.suite import Drawing
from priorbench.bench.suites import SUITES
from priorbench.bench.table import Table
from priorbench.provenance import commit

FORMAT = 1
JUDGED = (
    "matmul units are seconds × matmul_gflops, of the cell where it has its own, else of the machine; "
    "--against and bounds take those of a cell's best step, "
    "the tables of steps those of its median step"
)
Report = dict[str, Any]  # format, date, …, machine, options, suites: rows by name, bounds: rows, failures: texts


def new_report(options: Options) -> Report:
    """A report without rows yet, the machine measured."""
    return {
        "format": FORMAT,
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "version": __version__,
        "commit": commit(),
        "machine": describe(options),
        "options": asdict(options),
        "units": JUDGED,
        "suites": {},
        "bounds": [],
        "failures": [],
    }


def tables(report: Report) -> list[Table]:
    """The tables of every suite of the report, and its bounds."""
    found = [table for name, rows in report["suites"].items() for table in SUITES[name].tables(rows)]
    return [*found, *([bounds_table(report["bounds"])] if report.get("bounds") else [])]


def drawings(report: Report, name: str) -> list[tuple[str, Drawing]]:
    """The figures of the report and what their files are called: as it, and by their suite but for ``steps``."""
    return [
        (name if suite == "steps" or name.endswith(f"-{suite}") else f"{name}-{suite}", drawing)
        for suite, rows in report["suites"].items()
        if rows and (drawing := SUITES[suite].drawing)
    ]


def heading(report: Report) -> list[str]:
    """The machine and what was run, in a few lines."""
    m = report["machine"]
    device = f"{m['gpu']}, " if m["gpu"] else ""
    precision = "tf32" if "tf32" in (m.get("gpu_mode") or "") else "fp32"
    mode = f", GPU: {m['gpu_mode']}" if m.get("gpu_mode") else ""
    source = report["commit"][:12] + "+" * report["commit"].endswith("+")
    return [
        f"{device}{m['cpu']}, {_count(m['cores'], 'core')}, {_count(m['threads'], 'thread')}, "
        f"{m['memory_gb']:.0f} GB memory, PyTorch {m['torch']}",
        f"matrix product {m['matmul_gflops']:.0f} GFLOP/s ({precision}), copy {m['copy_gbytes']:.1f} GB/s{mode}",
        f"priorbench {report['version']}, commit {source}, {report['date']}",
    ]


def as_text(report: Report) -> str:
    """For a terminal."""
    return "\n".join(heading(report)) + "\n\n" + "\n".join(table.aligned() for table in tables(report))


def as_markdown(report: Report, name: str) -> str:
    """A page with the tables; the figures are beside it as ``name``.png and ``name``-<suite>.png."""
    lines = [f"# {name}", "", *(f"- {line}" for line in heading(report)), ""]
    for stem, drawing in drawings(report, name):
        lines += [f"![{drawing.title}]({stem}.png)", ""]
    return "\n".join(lines) + "\n" + "\n".join(table.markdown() for table in tables(report))


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'s' * (number != 1)}"
