"""Processes of the tests, forked: to import PyTorch takes longer than what most of them do."""

import json
import os
import signal
import socket
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from priorbench.cli import main
from priorbench.errors import PriorbenchError


def started(job: Callable[[], Any], log: Path | None = None, errors: Path | None = None) -> int:
    """Number of a process that does the ``job`` and exits with 1 where that fails.

    What it says goes to ``log``, its errors as well unless they have a file of their own.
    """
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        for number in (signal.SIGTERM, signal.SIGINT):  # who forks may be about to handle them
            signal.signal(number, signal.SIG_DFL)
        if log is not None:
            # Not only the descriptors: what captures output has put files of its own into sys.
            sys.stdout = log.open("w", buffering=1)
            sys.stderr = errors.open("w", buffering=1) if errors else sys.stdout
            for number, stream in enumerate((sys.stdout, sys.stderr), start=1):
                os.dup2(stream.fileno(), number)
        job()
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


class Forked:
    """Stands in for ``subprocess.Popen`` where that starts ``python -m priorbench.cli``."""

    def __init__(self, command: list[str]) -> None:
        assert command[:3] == [sys.executable, "-m", "priorbench.cli"]
        self.pid = started(lambda: sys.exit(main(command[3:])))
        self.returncode: int | None = None

    def poll(self) -> int | None:
        if self.returncode is None:
            ended, status = os.waitpid(self.pid, os.WNOHANG)
            self.returncode = os.waitstatus_to_exitcode(status) if ended else None
        return self.returncode

    def terminate(self) -> None:
        os.kill(self.pid, signal.SIGTERM)

    def kill(self) -> None:
        os.kill(self.pid, signal.SIGKILL)


def together(function: Callable[..., Any], several: list[dict[str, Any]], folder: Path) -> list[Any]:
    """What ``function`` returns for each of the ``several`` arguments, in processes as torchrun would start them.

    The first that fails ends the others; a :class:`PriorbenchError` of it is raised here.
    """
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        port = listening.getsockname()[1]
    answers = [folder / f"answer-{rank}.json" for rank in range(len(several))]
    for path in answers:
        path.unlink(missing_ok=True)
    logs = [path.with_suffix(".log") for path in answers]

    def job(rank: int) -> None:
        of_torchrun = {"RANK": rank, "WORLD_SIZE": len(several), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
        os.environ |= {name: str(value) for name, value in of_torchrun.items()}
        try:
            answer = {"result": function(**several[rank])}
        except PriorbenchError as error:
            answer = {"error": str(error)}
        answers[rank].write_text(json.dumps(answer))
        assert "result" in answer

    children = {started(lambda rank=rank: job(rank), logs[rank]): rank for rank in range(len(several))}  # type: ignore[misc]
    waiting, failed = set(children), None
    while waiting:
        child, status = os.wait()
        waiting.discard(child)
        if status and failed is None and child in children:
            failed = children[child]
            for other in waiting:
                os.kill(other, signal.SIGKILL)
    if failed is not None:
        assert answers[failed].exists(), logs[failed].read_text()
        raise PriorbenchError(json.loads(answers[failed].read_text())["error"])
    return [json.loads(path.read_text())["result"] for path in answers]
