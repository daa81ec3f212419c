"""Functions run in an interpreter of their own: memory, caches and settings of a measurement belong to it alone."""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Mapping
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from functools import cache
from importlib import import_module
from typing import Any

from priorbench.errors import PriorbenchError

Process = subprocess.Popen[str]


def isolated(function: str, **arguments: Any) -> Any:
    """What ``function`` ("module:name") returns for ``arguments`` in a fresh process; both must be JSON.

    Whatever ends it otherwise is a :class:`PriorbenchError` with one line.
    """
    return _answer(_started(function, os.environ), arguments)


def together(function: str, several: list[dict[str, Any]]) -> list[Any]:
    """As :func:`isolated`, a process for each of the ``several`` arguments, at once and as torchrun would start them.

    Where one fails, the others are ended.
    """
    common = {"WORLD_SIZE": str(len(several)), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(_free_port())}
    processes = [_started(function, {**os.environ, **common, "RANK": str(rank)}) for rank in range(len(several))]
    with ThreadPoolExecutor(len(several)) as pool:
        answers = [pool.submit(_answer, *each) for each in zip(processes, several, strict=True)]
        failed = [a for a in wait(answers, return_when=FIRST_EXCEPTION).done if a.exception()]
        for process in processes if failed else ():
            process.kill()
    return [answer.result() for answer in failed or answers]


def _started(function: str, environment: Mapping[str, str]) -> Process:
    command = [sys.executable, "-c", "from priorbench.bench.process import main; main()", function]
    pipes: dict[str, Any] = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    return subprocess.Popen(command, env=environment, text=True, **pipes)


def _answer(process: Process, arguments: dict[str, Any]) -> Any:
    try:
        output, complaints = process.communicate(json.dumps(arguments))
    except BaseException:
        process.kill()
        raise
    lines = complaints.splitlines()
    for line in lines:
        if line.startswith("priorbench:"):
            _say_once(line)
    if process.returncode < 0:
        reason = "; is the memory too small?" if process.returncode == -9 else ""
        raise PriorbenchError(f"its process was ended by signal {-process.returncode}{reason}")
    if process.returncode:
        raise PriorbenchError(lines[-1] if lines else f"its process ended with exit code {process.returncode}")
    answer = json.loads(output.splitlines()[-1])
    if "error" in answer:
        raise PriorbenchError(answer["error"])
    return answer["result"]


def _free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return int(listening.getsockname()[1])


def main() -> None:
    """The other side: arguments from standard input, the answer in the last line of standard output."""
    module, name = sys.argv[1].split(":")
    arguments = json.load(sys.stdin)
    try:
        answer = {"result": getattr(import_module(module), name)(**arguments)}
    except PriorbenchError as error:
        answer = {"error": str(error)}
    print(json.dumps(answer))


@cache
def _say_once(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
