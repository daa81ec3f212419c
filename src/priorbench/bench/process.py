"""Functions run in an interpreter of their own: memory, caches and settings of a measurement belong to it alone."""

import json
import subprocess
import sys
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

from priorbench.errors import PriorbenchError


def isolated(function: str, **arguments: Any) -> Any:
    """What ``function`` ("module:name") returns for ``arguments`` in a fresh process; both must be JSON.

    Whatever ends it otherwise is a :class:`PriorbenchError` with one line.
    """
    command = [sys.executable, "-c", "from priorbench.bench.process import main; main()", function]
    done = subprocess.run(command, input=json.dumps(arguments), capture_output=True, text=True, check=False)
    complaints = done.stderr.splitlines()
    for line in complaints:
        if line.startswith("priorbench:"):
            _say_once(line)
    if done.returncode < 0:
        reason = "; is the memory too small?" if done.returncode == -9 else ""
        raise PriorbenchError(f"its process was ended by signal {-done.returncode}{reason}")
    if done.returncode:
        raise PriorbenchError(complaints[-1] if complaints else f"its process ended with exit code {done.returncode}")
    answer = json.loads(done.stdout.splitlines()[-1])
    if "error" in answer:
        raise PriorbenchError(answer["error"])
    return answer["result"]


def main() -> None:
    """The other side: arguments from standard input, the answer in the last line of standard output."""
    module, name = sys.argv[1].split(":")
    arguments = json.load(sys.stdin)
    try:
        answer = {"result": getattr(import_module(module), name)(**arguments)}
    except PriorbenchError as error:
        answer = {"error": str(error)}
    print(json.dumps(answer))


def peak_memory() -> float:
    """Largest resident memory of this process so far, GB.

    On Linux the kernel's ``ru_maxrss`` also counts what the parent held when it started this process; VmHWM does not.
    """
    try:
        lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) * 1024 / 1e9
    except (OSError, StopIteration):
        import resource

        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak * (1 if sys.platform == "darwin" else 1024) / 1e9


@cache
def _say_once(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
