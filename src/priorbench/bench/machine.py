"""What the machine is, and the two rates that all times are held against."""

import os
import platform
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from priorbench.bench.options import Options
from priorbench.bench.process import isolated
from priorbench.provenance import cores

MATRIX = 4096  # rows and columns of the matrix product
COPIED = 1 << 29  # bytes copied, more than any cache holds
REPETITIONS = 5
KIND = ("cpu", "threads", "device", "gpu", "gpu_mode")  # what two machines must share for their times to be compared


def describe(options: Options) -> dict[str, Any]:
    """The machine with its rates: ``matmul_gflops`` (GFLOP/s) and ``copy_gbytes`` (GB/s)."""
    return {
        "cpu": _processor(),
        "cores": cores(),
        "threads": options.threads,
        "memory_gb": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9,
        "device": options.device,
        "gpu_mode": ", ".join(options.gpu) or None,
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        **measure(options),
    }


def matmul_gflops(options: Options) -> float:
    """The rate of the matrix product alone, here and now."""
    return float(measure(options, copied=1 << 20)["matmul_gflops"])


def measure(options: Options, copied: int = COPIED) -> dict[str, Any]:
    """The rates alone, with GPU and version of PyTorch, from a process of their own."""
    rates: dict[str, Any] = isolated(
        "priorbench.bench.machine:rates",
        threads=options.threads,
        device=options.device,
        tf32="tf32" in options.gpu,
        matrix=MATRIX,
        copied=copied,
    )
    return rates


def rates(threads: int, device: str, matrix: int, copied: int, tf32: bool = False) -> dict[str, Any]:
    """Best of :data:`REPETITIONS` of a ``matrix`` × ``matrix`` product and of copying ``copied`` bytes.

    Bandwidth counts bytes read and bytes written.
    """
    import torch

    from priorbench.config_sections import GPU
    from priorbench.errors import PriorbenchError
    from priorbench.training.process import prepare_torch

    if device == "cuda" and not torch.cuda.is_available():
        raise PriorbenchError("--device cuda: PyTorch finds no GPU")
    prepare_torch(threads, GPU(tf32=tf32))
    a, b = (torch.rand(matrix, matrix, device=device) for _ in range(2))
    source = torch.ones(copied // 4, device=device)
    product, target = torch.empty_like(a), torch.empty_like(source)
    return {
        "matmul_gflops": 2 * matrix**3 / _best(lambda: torch.mm(a, b, out=product), device) / 1e9,
        "copy_gbytes": 2 * copied / _best(lambda: target.copy_(source), device) / 1e9,
        "torch": torch.__version__,
        "gpu": torch.cuda.get_device_name() if device == "cuda" else None,
    }


def _best(work: Callable[[], object], device: str) -> float:
    """Seconds of the fastest of the repetitions, one before them not counted."""
    times = []
    for _ in range(REPETITIONS + 1):
        synchronise(device)
        started = time.perf_counter()
        work()
        synchronise(device)
        times.append(time.perf_counter() - started)
    return min(times[1:])


def synchronise(device: str) -> None:
    """Wait until the device has done what it was given."""
    if device == "cuda":
        import torch

        torch.cuda.synchronize()


def slug(machine: dict[str, Any]) -> str:
    """The machine's name for files: that of its GPU, or of its processor with its cores."""
    if machine["gpu"]:
        return _plain(machine["gpu"])
    count = f"{machine['cores']}core{'s' * (machine['cores'] > 1)}"
    fewer = f"{machine['threads']}thread{'s' * (machine['threads'] > 1)}"
    return "-".join([_plain(machine["cpu"]), count, *([fewer] if machine["threads"] != machine["cores"] else [])])


def _plain(name: str) -> str:
    name = re.sub(r"\((R|TM)\)|@.*|\b(CPU|Processor|\d+-Core)\b", " ", name, flags=re.IGNORECASE)
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-") or "machine"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or platform.machine())
