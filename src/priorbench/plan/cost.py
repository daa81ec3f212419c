"""The price of a structure-step of each stage: counted here, and timed here where that is asked for."""

import json
import resource
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from priorbench.bench.gate import load_report
from priorbench.bench.process import isolated
from priorbench.errors import PriorbenchError
from priorbench.plan.prices import Key, Price, Prices
from priorbench.plan.share import Report, found_report, shared
from priorbench.plan.sizes import Sizes
from priorbench.plan.stages import Stage

SECONDS = 0.3  # of timed steps in a cell
PART_EDGES = 30_000  # that a step takes at once: more structures cost as much each, so no more are timed
EDGES_PER_ATOM = 15.0


def priced(
    stages: Sequence[Stage], sizes: Mapping[str, Sizes | None], device: str, machine: Path | None, measured: bool
) -> Prices:
    """Prices of ``stages``; ``machine`` is the report of another machine, or of this one where nothing is timed."""
    timed = measured and device == "cpu"
    report = load_report(machine) if machine else None if timed else found_report(device)
    if report and report["machine"]["device"] != device:
        raise PriorbenchError(f"{machine}: measured on {report['machine']['device']}, the experiment is for {device}")
    known = {stage.key: (stage, own) for stage in stages if (own := sizes[stage.dataset])}
    cells = {key: _cell(*each) for key, each in known.items()}
    distinct = {_text(cell): cell for cell in cells.values()}
    answer = _asked(list(distinct.values()), timed, rated=timed and report is not None)
    costs = dict(zip(distinct, answer["costs"], strict=True))
    prices = {key: _scaled(costs[_text(cells[key])], own) for key, (_, own) in known.items()}
    return _timed(prices, answer, report) if timed else shared(prices, known, report)


def _asked(cells: list[dict[str, Any]], timed: bool, rated: bool) -> dict[str, Any]:
    """The answer of the worker, to whose start is added what its process took to end: a third of that of a job."""
    before = _of_children()
    answer: dict[str, Any] = isolated(
        "priorbench.plan.worker:measure", cells=cells, seconds=SECONDS, timed=timed, rated=rated
    )
    ending = _of_children() - before - answer["spent"]
    return {**answer, "start": answer["start"] + max(ending, 0.0)}


def _of_children() -> float:
    """CPU seconds of all processes that this one has started and that have ended."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def _cell(stage: Stage, sizes: Sizes) -> dict[str, Any]:
    """What the worker is told; stages that differ in epochs or learning rate alone are one cell."""
    spec, structures = stage.spec, stage.structures or (1,)
    fitting = max(1, int(PART_EDGES / (EDGES_PER_ATOM * sizes.mean_atoms)))
    batch = min(stage.batch, max(structures), fitting)
    places = sizes.typical(batch)
    training = {key: spec["training"][key] for key in ("optimiser", "gradient_clip", "weight_decay")}
    return {
        "sample": {
            "cutoff": spec["backbone"]["cutoff"],
            "atoms": [sizes.atoms[i] for i in places],
            "periodic": sizes.periodic,
            "frames": str(sizes.frames) if sizes.frames else None,
            "structures": sorted(sizes.structures[i] for i in places),
        },
        "backbone": spec["backbone"],
        "task": spec["task"],
        "training": {"epochs": 1, "batch_size": batch, **training},
        "batch": batch,
    }


def _scaled(cost: Mapping[str, Any], sizes: Sizes) -> Price:
    """From the structures counted on to those of the dataset: all that is counted grows with atoms and edges."""
    factor = sizes.mean_atoms / cost["atoms"]
    per_structure = {name: None if (v := cost[name]) is None else v * factor for name in ("step", "validation", "test")}
    return Price(flops=cost["flops"] * factor, setup=cost["setup"], **per_structure)


def _timed(scaled: dict[Key, Price], answer: Mapping[str, Any], report: Report | None) -> Prices:
    kernels = f"edge layers {answer['kernels']}"
    if report is None:
        return Prices(scaled, answer["start"], f"timed here, one thread, CPU seconds, {kernels}")
    m = report["machine"]
    there = m["matmul_gflops"] / m["threads"]
    factor = answer["gflops"] / there
    prices = {key: price.times(factor) for key, price in scaled.items()}
    basis = (
        f"timed here, one thread, {kernels}, times {factor:.2f} for {m['cpu']}: matrix product of a core "
        f"{there:.0f} GFLOP/s there, {answer['gflops']:.0f} here"
    )
    return Prices(prices, answer["start"] * factor, basis, factor=factor)


def _text(cell: Mapping[str, Any]) -> str:
    same = {**cell, "backbone": {k: v for k, v in cell["backbone"].items() if k != "name"}}
    return json.dumps(same, sort_keys=True)
