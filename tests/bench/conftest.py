"""Reports without anything measured, and the processes of the bench run in this one."""

import copy
import json
from collections.abc import Callable
from importlib import import_module
from typing import Any

import pytest

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
    }


@pytest.fixture
def in_this_process(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Run what the suites isolate here, through JSON all the same."""

    def isolated(function: str, **arguments: Any) -> Any:
        module, name = function.split(":")
        return json.loads(json.dumps(getattr(import_module(module), name)(**json.loads(json.dumps(arguments)))))

    for module in ("steps", "machine", "startup"):
        monkeypatch.setattr(f"priorbench.bench.{module}.isolated", isolated)
    return isolated
