"""The cost of a structure-step of each stage: counted and timed here, or the share of a report of ``priorbench bench``."""

import json
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
PART_EDGES = 26_000  # that a step takes at once: more structures cost as much each, so no more are timed
EDGES_PER_ATOM = 15.0


def priced(
    stages: Sequence[Stage], sizes: Mapping[str, Sizes | None], device: str, machine: Path | None, measured: bool
) -> Prices:
    """Prices of ``stages``; ``machine`` is the report of another machine, or of this one where nothing is timed."""
    report = load_report(machine) if machine else None if measured else found_report(device)
    if report is not None and machine and report["machine"]["device"] != device:
        raise PriorbenchError(
            f"{machine}: was measured on {report['machine']['device']}, the experiment is for {device}"
        )
    chosen = {stage.key: (stage, _cell(stage, known)) for stage in stages if (known := sizes[stage.dataset])}
    cells = {_text(cell): cell for _, cell in chosen.values()}
    timed = measured and device == "cpu"
    rated = timed and report is not None
    answer = isolated(
        "priorbench.plan.worker:measure", cells=list(cells.values()), seconds=SECONDS, timed=timed, rated=rated
    )
    costs = dict(zip(cells, answer["costs"], strict=True))
    scaled = {}
    for key, (stage, cell) in chosen.items():
        known = sizes[stage.dataset]
        assert known is not None
        scaled[key] = _scaled(costs[_text(cell)], known)
    if timed:
        return _timed(scaled, answer, report)
    return shared(scaled, {key: stage for key, (stage, _) in chosen.items()}, sizes, report)


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
