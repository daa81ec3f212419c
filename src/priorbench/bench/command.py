"""``priorbench bench``: measure, print, write, and compare with an earlier report."""

import math
import tempfile
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

from priorbench.bench.bounds import bounds
from priorbench.bench.gate import compare, judge, load_report, table
from priorbench.bench.machine import measure, slug
from priorbench.bench.options import Options
from priorbench.bench.report import Report, as_markdown, as_text, drawings, new_report
from priorbench.bench.suite import Log
from priorbench.bench.suites import SUITES
from priorbench.errors import PriorbenchError
from priorbench.io import write_json, write_text

DRIFT = 0.1  # change of the machine's rate during a run from which it is said


def bench(
    options: Options,
    suites: Sequence[str] | None,
    output: Path | None,
    name: str | None,
    against: Path | None,
    tolerance: float,
) -> None:
    """Run the ``suites`` (None: all) and print them.

    With ``output`` they are written there as ``<name>.{json,md,png,pdf}``.  With ``against``, an earlier report, a
    cell that takes more than 1 + ``tolerance`` times its matmul units is a :class:`PriorbenchError`.  So are cells that
    failed, after everything else is done.
    """
    chosen = _chosen(suites)
    if not (math.isfinite(tolerance) and tolerance >= 0):
        raise PriorbenchError(f"--tolerance: {tolerance:g} is no fraction")
    earlier = load_report(against) if against else None
    report = run(options, chosen)
    print(as_text(report))
    if output:
        write(report, output, name or slug(report["machine"]))
    if against and earlier:
        comparison = compare(earlier, report)
        print(table(comparison, against).aligned())
        for line in judge(comparison, against, tolerance):
            print(line)
    if report["failures"]:
        count = len(report["failures"])
        raise PriorbenchError(f"{count} cell{'s' * (count > 1)} failed: {'; '.join(report['failures'])}")


def run(options: Options, suites: Sequence[str]) -> Report:
    """Measure the machine and the suites, one thing after the other."""
    report, log = new_report(options), Log()
    log.say(f"matrix product {report['machine']['matmul_gflops']:.0f} GFLOP/s")
    with tempfile.TemporaryDirectory(prefix="priorbench-bench-") as folder:
        for name in suites:
            place = Path(folder) / name
            place.mkdir()
            report["suites"][name] = SUITES[name].measure(options, report["machine"], place, log)
            fastest(report)
    at_end = measure(options)["matmul_gflops"]
    report["machine"]["matmul_gflops_at_end"] = at_end
    change = at_end / report["machine"]["matmul_gflops"] - 1
    if abs(change) > DRIFT:
        log.say(f"the matrix product's rate changed by {100 * change:+.0f} % meanwhile: is something else running?")
    report["bounds"], report["failures"] = bounds(report), log.failures
    return report


def fastest(report: Report) -> None:
    """Let the machine's rate be the best seen so far: what disturbed its first measurement makes no units small."""
    seen = [row["matmul_gflops"] for rows in report["suites"].values() for row in rows if "matmul_gflops" in row]
    report["machine"]["matmul_gflops"] = max([report["machine"]["matmul_gflops"], *seen])


def write(report: Report, output: Path, name: str) -> None:
    """Write the report, its tables, and the figures of its suites."""
    write_json(output / f"{name}.json", report)
    write_text(output / f"{name}.md", as_markdown(report, name))
    for stem, drawing in drawings(report, name):
        module, function = drawing.function.split(":")
        getattr(import_module(module), function)(report, output / stem)
    Log().say(f"written: {output / name}.json, .md, .png, .pdf")


def _chosen(suites: Sequence[str] | None) -> list[str]:
    for name in suites or ():
        if name not in SUITES:
            raise PriorbenchError(f"--suites: unknown {name!r}; known are {', '.join(SUITES)}")
    return [name for name in SUITES if suites is None or name in suites]
