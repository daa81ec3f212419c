"""Reports without anything measured, and the processes of the bench run in this one."""

import copy
import itertools
import json
from collections.abc import Callable, Iterator
from importlib import import_module
from typing import Any

import pytest
import torch

from priorbench.bench.phases import PHASES

MACHINE = {
    "cpu": "Intel(R) Xeon(R) Processor",
    "cores": 2,
    "threads": 2,
    "memory_gb": 24.0,
    "device": "cpu",
    "gpu": None,
    "torch": "2.13.0",
    "matmul_gflops": 300.0,
    "copy_gbytes": 20.0,
}


def version(ms: float, gflop: float, edges: float) -> dict[str, Any]:
    """What a row holds of priorbench or of the textbook version."""
    shares = dict(zip(PHASES, (0.1, 0.3, 0.5, 0.1), strict=True))
    return {
        "ms": ms,
        "best_ms": 0.9 * ms,
        "phases_ms": {phase: share * ms for phase, share in shares.items()},
        "steps": 3,
        "peak_memory_gb": 0.5,
        "peak_gpu_memory_gb": None,
        "matmul_units": ms * 0.3,
        "structures_per_s": 1000 / ms,
        "edges_per_s": 1000 * edges / ms,
        "matmul_share": gflop / ms / 0.3,
    }


def row(backbone: str, task: str, atoms: int, textbook: bool = True) -> dict[str, Any]:
    """A row of the suite ``steps``; the textbook version takes 2.5 times as long."""
    gflop, edges = 0.03 * atoms, 14.0 * atoms
    return {
        **{"backbone": backbone, "task": task, "atoms": atoms, "batch_size": 16},
        **{"edges_per_atom": 14.0, "edges_per_step": 16 * edges, "gflop_per_structure": gflop},
        "priorbench": version(0.2 * atoms, gflop, edges),
        "textbook": version(0.5 * atoms, gflop, edges) if textbook else None,
        "ratio": 2.5 if textbook else None,
    }


def report(rows: list[dict[str, Any]] | None = None) -> dict[str, Any]:
    """A report of three backbones, three tasks and two sizes, or of ``rows``."""
    names = ("egnn", "gns", "forcenet"), ("masking", "denoising", "potential"), (192, 774)
    everything = [row(b, t, n) for b in names[0] for t in names[1] for n in names[2]]
    starts = [{"backbone": "egnn", "task": "masking", "seconds": 2.0, "compile_seconds": 1.5}]
    return {
        **{"format": 1, "date": "2026-01-01T00:00:00+00:00", "version": "0.1.0", "commit": "0123456789abcdef+"},
        "machine": copy.deepcopy(MACHINE),
        "options": {},
        "suites": {"steps": everything if rows is None else rows, "startup": starts},
        **{"bounds": [], "failures": []},
    }


def scale_rows(growth: float = 0.05) -> list[dict[str, Any]]:
    """Rows of the suite ``scale``; an atom costs ``growth`` more at every size, and one did not fit."""
    rows = []
    for backbone, kind in itertools.product(("egnn", "gns"), ("inference", "training")):
        for i, atoms in enumerate((1536, 6144, 24576)):
            cost, left_out = 2e4 * (1 + growth * i), (backbone, kind, atoms) == ("egnn", "training", 24576)
            measured = {"ns_per_atom": cost * 1.1, "best_ns_per_atom": cost, "ratio": 1 + growth * i, "steps": 2}
            more = {"edges_per_atom": 14.8, "edges_at_once": 14 * atoms, "peak_memory_gb": 1.0}
            values = {**measured, **more, "matmul_units": cost / 3e6}
            rows.append(
                {
                    **{"backbone": backbone, "kind": kind, "atoms": atoms, "structures": 24576 // atoms},
                    **{"extrapolated_memory_gb": 31.4},
                    **(dict.fromkeys(values) if left_out else values),
                }
            )
    return rows


def parallel_row(over_one: float, over_two: float) -> dict[str, Any]:
    """A row of the suite ``parallel``."""
    ways = {way: {"structures_per_s": 10.0} for way in ("one_thread", "two_threads", "two_processes")}
    ratios = {"over_one_thread": over_one, "over_two_threads": over_two, "matmul_units": 3.0}
    return {"backbone": "egnn", "atoms": 192, "batch_size": 16, **ways, **ratios}


def packed_row(backbone: str, task: str, ratio: float) -> dict[str, Any]:
    """A row of the suite ``packed``."""
    ways = {way: {"structures_per_s": 10.0, "peak_memory_gb": 1.0} for way in ("in_a_row", "at_once")}
    name = {"backbone": backbone, "task": task, "atoms": 192, "batch_size": 16}
    return {**name, "runs": 2, **ways, "ratio": ratio, "matmul_units": 3.0}


@pytest.fixture
def in_this_process(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Any]]:
    """Run what the suites isolate here, through JSON all the same."""

    def isolated(function: str, **arguments: Any) -> Any:
        module, name = function.split(":")
        return json.loads(json.dumps(getattr(import_module(module), name)(**json.loads(json.dumps(arguments)))))

    def together(function: str, several: list[dict[str, Any]]) -> list[Any]:
        return [isolated(function, **arguments) for arguments in several]

    for module in ("steps", "machine", "startup", "parallel", "packed", "scale"):
        monkeypatch.setattr(f"priorbench.bench.{module}.isolated", isolated)
    monkeypatch.setattr("priorbench.bench.scale_cells.limit_memory", lambda most: None)
    for module in ("parallel", "packed"):
        monkeypatch.setattr(f"priorbench.bench.{module}.together", together)
    yield isolated
    torch.set_num_threads(1)
