"""Compiling, finding and calling the kernels: once for each kind of machine, then from a cache.

What is compiled are a few C files without headers of PyTorch, in about two seconds, by the C compiler at hand.
Without a compiler, or with PRIORBENCH_KERNELS=plain, everything is computed in plain PyTorch: the same mathematics,
two to three times slower.
"""

import ctypes
import hashlib
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

SOURCES = Path(__file__).with_name("c")
FLAGS = ("-O3", "-march=native", "-fno-math-errno", "-fno-trapping-math", "-fopenmp", "-fPIC")
WIDE = ("-mprefer-vector-width=512",)  # compilers for x86-64 know it, and by default use half of AVX-512
VARIABLE = "PRIORBENCH_KERNELS"
_REALS = {torch.float32: ("float", "sgemm_"), torch.float64: ("double", "dgemm_")}
_enabled = True


class UnavailableError(Exception):
    """Why there are no kernels on this machine."""


@contextmanager
def plain() -> Iterator[None]:
    """Compute in plain PyTorch while the context lasts."""
    global _enabled
    before, _enabled = _enabled, False
    try:
        yield
    finally:
        _enabled = before


def usable(x: Tensor) -> bool:
    """Whether the kernels compute for tensors like ``x``."""
    return _enabled and x.device.type == "cpu" and x.dtype in _REALS and _library(x.dtype) is not None


def in_use(device: str) -> str:
    """What edge layers are computed by on ``device``: ``compiled`` or ``plain``, as records name it."""
    return "compiled" if usable(torch.zeros((), device=device)) else "plain"


def call(name: str, dtype: torch.dtype, *arguments: Any) -> None:
    """Call the kernel ``name``; tensors go as the address of their first element, which must be contiguous."""
    library = _library(dtype)
    assert library is not None
    getattr(library, name)(*map(_converted, arguments))


def _converted(value: Any) -> Any:
    if isinstance(value, Tensor):
        return ctypes.c_void_p(value.data_ptr())
    if isinstance(value, float):
        return ctypes.c_double(value)
    return ctypes.c_int64(value) if isinstance(value, int) else value


@cache
def _library(dtype: torch.dtype) -> ctypes.CDLL | None:
    """The kernels for ``dtype``; None, and one line on standard error, where there are none."""
    if os.environ.get(VARIABLE) == "plain":
        return None
    try:
        return _load(dtype)
    except UnavailableError as problem:
        print(
            f"priorbench: no compiled kernels ({problem}); going on in plain PyTorch, two to three times slower",
            file=sys.stderr,
            flush=True,
        )
        return None


def _load(dtype: torch.dtype) -> ctypes.CDLL:
    real, gemm = _REALS[dtype]
    blas = _blas()
    if not hasattr(blas, gemm):
        raise UnavailableError(f"this build of PyTorch does not export {gemm}")
    path = _compiled(real)
    try:
        library = ctypes.CDLL(str(path))
    except OSError as error:
        raise UnavailableError(f"{path}: {error}") from None
    functions = (getattr(blas, gemm), getattr(blas, "MKL_Set_Num_Threads_Local", None))
    library.use_blas(*(ctypes.cast(f, ctypes.c_void_p) if f else None for f in functions))
    return library


@cache
def _blas() -> ctypes.CDLL:
    """The library of PyTorch that holds its matrix products."""
    path = Path(torch.__file__).parent / "lib" / "libtorch_cpu.so"
    if not path.exists():
        raise UnavailableError(f"{path} does not exist")
    return ctypes.CDLL(str(path))


def _compiled(real: str) -> Path:
    """The shared library for ``real``, from the cache or compiled into it; the cache may be shared between machines."""
    compiler = os.environ.get("CC") or next(filter(shutil.which, ("cc", "gcc", "clang")), None)
    if compiler is None or shutil.which(compiler.split()[0]) is None:
        raise UnavailableError("no C compiler; install gcc, or name one in CC")
    key = hashlib.sha256()
    for source in sorted(SOURCES.iterdir()):
        key.update(source.read_bytes() + b"\0")
    for part in (real, compiler, *FLAGS, *WIDE, _processor(), torch.__version__):
        key.update(part.encode() + b"\0")
    try:
        folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "priorbench" / "kernels"
        folder.mkdir(parents=True, exist_ok=True)
    except (OSError, RuntimeError):
        folder = Path(tempfile.mkdtemp(prefix="priorbench-kernels-"))
    path = folder / f"kernels-{real}-{key.hexdigest()[:16]}.so"
    if not path.exists():
        _compile(compiler.split(), real, path)
    return path


def _compile(compiler: list[str], real: str, path: Path) -> None:
    """Compile to ``path``, which appears whole or not at all, however many processes try at once."""
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        built, made = Path(folder) / "kernels.o", Path(folder) / "kernels.so"
        flags = [*FLAGS, f"-DREAL={real}", "-c", str(SOURCES / "kernels.c"), "-o", str(built)]
        if platform.machine() == "x86_64" and _run([*compiler, *WIDE, *flags]) is None:
            problem = None
        else:
            problem = _run([*compiler, *flags])
        # Not linked to OpenMP: the symbols are those of the runtime that PyTorch has loaded, one pool for both.
        problem = problem or _run([*compiler, "-shared", str(built), "-o", str(made), "-lm"])
        if problem:
            raise UnavailableError(problem)
        made.replace(path)


def _run(command: list[str]) -> str | None:
    """Run a compiler; None, or what went wrong."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError as error:
        return f"{command[0]}: {error.strerror}"
    if done.returncode == 0:
        return None
    lines = [line for line in done.stderr.splitlines() if "error" in line] or done.stderr.splitlines()
    return f"{command[0]}: {lines[0] if lines else f'exit code {done.returncode}'}"


def _processor() -> str:
    """What `-march=native` depends on."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.machine() + platform.processor()
    return "".join(sorted({line for line in lines if line.startswith(("model name", "flags", "Features", "CPU part"))}))
