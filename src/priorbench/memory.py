"""Memory of this process and of the machine, in GB of 10⁹ bytes."""

import os
import sys
from pathlib import Path


def peak_memory() -> float:
    """Largest resident memory of this process so far, GB.

    On Linux the kernel's ``ru_maxrss`` also counts what the parent held when it started this process; VmHWM does not.
    """
    try:
        return _kilobytes("/proc/self/status", "VmHWM") * 1024 / 1e9
    except (OSError, StopIteration):
        import resource

        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak * (1 if sys.platform == "darwin" else 1024) / 1e9


def resident_memory() -> float:
    """Memory of this process now, GB; where the system does not say, the largest so far."""
    try:
        return _kilobytes("/proc/self/status", "VmRSS") * 1024 / 1e9
    except (OSError, StopIteration):
        return peak_memory()


def available_memory() -> float:
    """Memory that a new process could take, GB, a job of SLURM no more than its own; all where the system is silent."""
    try:
        free = _kilobytes("/proc/meminfo", "MemAvailable") * 1024 / 1e9
    except (OSError, StopIteration):
        free = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    asked_for = os.environ.get("SLURM_MEM_PER_NODE", "")  # MB; 0: all of it
    return min(free, int(asked_for) * 2**20 / 1e9) if asked_for.isdecimal() and int(asked_for) else free


def limit_memory(most: float) -> None:
    """From here on, asking for more than ``most`` GB is an error of this process and not its end; on Linux only."""
    if sys.platform == "linux":
        import resource

        resource.setrlimit(resource.RLIMIT_DATA, (int(most * 1e9), resource.getrlimit(resource.RLIMIT_DATA)[1]))


def _kilobytes(path: str, name: str) -> int:
    lines = Path(path).read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name))
