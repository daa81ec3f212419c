"""Seconds without timing: the share of the matrix product rate that a report of ``priorbench bench`` has measured."""

import statistics
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import priorbench
from priorbench.bench.gate import load_report
from priorbench.bench.options import FINETUNING
from priorbench.errors import PriorbenchError
from priorbench.options import schemas
from priorbench.plan.prices import Key, Price, Prices
from priorbench.plan.sizes import Sizes
from priorbench.plan.stages import Stage

REPORTS = Path(priorbench.__file__).parents[2] / "benchmarks" / "results"
START = 2.0  # s of a job before its first run, where no report tells
Report = Mapping[str, Any]


def found_report(device: str) -> dict[str, Any] | None:
    """A committed report of this kind of device with timed steps, of the very processor where there is one."""
    from priorbench.bench.machine import _processor

    reports = [load_report(path) for path in sorted(REPORTS.glob("*.json"))]
    fitting = [r for r in reports if r["machine"]["device"] == device and r["suites"].get("steps")]
    same = [r for r in fitting if device == "cuda" or r["machine"]["cpu"] == _processor()]
    return next(iter(same or fitting), None)


def shared(counted: Mapping[Key, Price], known: Mapping[Key, tuple[Stage, Sizes]], report: Report | None) -> Prices:
    """Seconds by the share of the matrix product rate that a report's nearest cell reaches."""
    if report is None:
        basis = "not measured, for there is no report of this device (--machine); FLOPs only"
        return Prices(dict(counted), None, basis)
    m = report["machine"]
    workers = 1 if m["device"] == "cuda" else m["threads"]
    notes: list[str] = []
    prices = {}
    for key, price in counted.items():
        stage, sizes = known[key]
        row, differences, part = _nearest(report, stage.spec, sizes.mean_atoms)
        tested = stage.spec["task"]["name"] == FINETUNING
        rate = row.get("matmul_gflops", m["matmul_gflops"]) * 1e9 / workers  # FLOP/s of a core or GPU, where timed
        prices[key] = _price(price.flops, row["priorbench"], rate * part, tested)
        notes += [text for text in differences if text not in notes]
    starts = [row["seconds"] for row in report["suites"].get("startup", [])]
    basis = f"not timed; share of the matrix product rate in the report of {m['gpu'] or m['cpu']}, {m['cores']} cores"
    return Prices(prices, statistics.median(starts) if starts else START, basis, notes)


def _price(flops: float, measured: Mapping[str, Any], rate: float, tested: bool) -> Price:
    """At the share that a cell has ``measured`` of ``rate`` (FLOP/s); a pass is the forward part of a step."""
    step = flops / (rate * measured["matmul_share"])
    forward = step * measured["phases_ms"]["forward"] / measured["ms"]
    return Price(flops, step, forward, forward if tested else 0.0, 0.0)


def _nearest(report: Report, spec: Mapping[str, Any], atoms: float) -> tuple[dict[str, Any], list[str], float]:
    """The cell of the report most like a run, in what it is not, and the part of its share that a narrower one reaches.

    Of the work on an edge, the arithmetic grows with the square of the width and the memory that is moved with the
    width: what is bound by memory reaches a share in proportion to the width.
    """
    rows = report["suites"].get("steps", [])
    if not rows:
        raise PriorbenchError("the report has no steps; make one with priorbench bench --suites steps startup")
    architecture, task = spec["backbone"]["architecture"], spec["task"]["name"]

    def unlike(row: Mapping[str, Any]) -> tuple[bool, bool, float]:
        return row["backbone"] != architecture, row["task"] != task, abs(row["atoms"] - atoms)

    row = min(rows, key=unlike)
    differences, part = [], 1.0
    if unlike(row)[:2] != (False, False):
        differences.append(
            f"the report has no {architecture} {task}: the share is that of {row['backbone']} {row['task']}"
        )
    default = schemas()["backbone"][row["backbone"]]["properties"].get("width", {}).get("default")
    width = spec["backbone"].get("width")
    if width is not None and default is not None and width != default:
        part = min(1.0, width / default)
        rule = f"taken as {part:.3g} of them, in proportion" if width < default else "which reach more"
        differences.append(f"shares are those of networks of width {default}, not {width}, {rule}: a rough guess")
    return row, differences, part
