"""What a process that trains or evaluates settles before it starts."""

import ctypes
import os
import sys

import torch

from priorbench.config_sections import GPU
from priorbench.runs import Spec

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # of glibc's malloc.h


def gpu_of(spec: Spec) -> GPU:
    """How the GPU of a run computes."""
    return GPU(**spec.get("gpu", {}))


def prepare_torch(threads: int, gpu: GPU | None = None) -> None:
    """Fix what the numbers depend on: thread count, deterministic kernels, no subnormal numbers; keep freed memory.

    On a GPU, deterministic kernels and full precision are up to ``gpu``; None: both.
    """
    gpu = gpu or GPU()
    keep_memory()
    # Before the first parallel operation: threads take this over from the one that starts them.  Saturated units leave
    # numbers below 1e-38, which processors handle in microcode: a ForceNet step took nine times as long.
    torch.set_flush_denormal(True)
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # asked for by deterministic cuBLAS, before its start
    torch.set_num_threads(threads)
    # The same as use_deterministic_algorithms(True), which imports the compiler, 1.5 s of every job, to tell it too.
    torch.set_deterministic_debug_mode("error" if gpu.deterministic else "default")
    torch.backends.cuda.matmul.allow_tf32 = gpu.tf32
    torch.backends.cudnn.allow_tf32 = gpu.tf32
    # Filling uninitialised memory costs a pass over every new tensor, and none is read before it is written.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]


def keep_memory() -> None:
    """Let glibc keep the memory of large tensors; with another C library do nothing.

    By default it hands them back to the kernel and asks for them again, page by page, at every step: 10 to 20 % of a
    training step of EGNN, and a quarter with boxes of 24,576 atoms.
    """
    if sys.platform != "linux":
        return
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt"):
        libc.mallopt(M_MMAP_MAX, 0)
        libc.mallopt(M_TRIM_THRESHOLD, -1)  # never
