"""Where results come from: what source and what machine."""

import hashlib
import os
import subprocess
from functools import cache
from pathlib import Path


def cores() -> int:
    """Cores that this process may use, as Snakemake counts `all`."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@cache
def commit() -> str:
    """Commit of the source tree this package runs from, with "+" where tracked sources differ; else "unknown"."""
    root = Path(__file__).resolve().parents[2]
    git = ["git", "-C", str(root)]
    try:
        head = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True, check=True).stdout.strip()
        status = [*git, "status", "--porcelain", "--untracked-files=no", "--", "src"]
        changed = subprocess.run(status, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return f"{head}+" if changed else head


@cache
def code_hash() -> str:
    """SHA-256 over the sources that a training runs through: what they compute may change with any of them."""
    package, digest = Path(__file__).resolve().parent, hashlib.sha256()
    folders = ("backbones", "kernels", "tasks", "training")
    found = [path for folder in folders for path in (package / folder).rglob("*") if path.suffix in (".py", ".c", ".h")]
    for path in sorted([*found, package / "graph.py"]):
        digest.update(str(path.relative_to(package)).encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()
