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
    """A committed report of this kind of device, of the very processor where there is one."""
    from priorbench.bench.machine import _processor

    reports = [load_report(path) for path in sorted(REPORTS.glob("*.json"))]
    fitting = [r for r in reports if r["machine"]["device"] == device]
    same = [r for r in fitting if device == "cuda" or r["machine"]["cpu"] == _processor()]
    return next(iter(same or fitting), None)


def shared(
    scaled: dict[Key, Price],
    stages: Mapping[Key, Stage],
    sizes: Mapping[str, Sizes | None],
    report: Report | None,
) -> Prices:
    """Seconds by the share of the matrix product rate that a report's nearest cell reaches."""
    if report is None:
        return Prices(scaled, None, "seconds were not measured: there is no report of this device; FLOPs only")
    m, notes, prices = report["machine"], [], {}
    workers = 1 if m["device"] == "cuda" else m["threads"]
    for key, price in scaled.items():
        known = sizes[key[0]]
        row, note = _nearest(report, stages[key].spec, known.mean_atoms if known else 0.0)
        step = price.flops / (m["matmul_gflops"] / workers * 1e9 * row["priorbench"]["matmul_share"])
        forward = step * row["priorbench"]["phases_ms"]["forward"] / row["priorbench"]["ms"]
        test = forward if stages[key].spec["task"]["name"] == FINETUNING else 0.0
        prices[key] = Price(price.flops, step, forward, test, 0.0)
        notes += [note] if note and note not in notes else []
    starts = [row["seconds"] for row in report["suites"].get("startup", [])]
    what = m["gpu"] or m["cpu"]
    basis = f"not timed: share of the matrix product rate in the report of {what}, {m['cores']} cores"
    return Prices(prices, statistics.median(starts) if starts else START, basis, notes)


def _nearest(report: Report, spec: Mapping[str, Any], atoms: float) -> tuple[dict[str, Any], str | None]:
    """The cell of the report most like a run, and in what it is not."""
    rows = report["suites"].get("steps", [])
    if not rows:
        raise PriorbenchError("the report has no steps; make one with priorbench bench --suites steps startup")
    architecture, task = spec["backbone"]["architecture"], spec["task"]["name"]

    def unlike(row: Mapping[str, Any]) -> tuple[bool, bool, float]:
        return row["backbone"] != architecture, row["task"] != task, abs(row["atoms"] - atoms)

    row = min(rows, key=unlike)
    differs = [f"{row['backbone']} {row['task']}"] if unlike(row)[:2] != (False, False) else []
    default = schemas()["backbone"][row["backbone"]]["properties"].get("width", {}).get("default")
    width = spec["backbone"].get("width")
    if width is not None and default is not None and width != default:
        differs.append(
            f"width {default}, not {width}" + ("; a narrower network reaches less" if width < default else "")
        )
    return row, f"{architecture} {task}: share of {', '.join(differs)}" if differs else None
