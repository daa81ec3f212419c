"""Several runs side by side on one device: a process each, which leaves the very bytes that it leaves alone.

A small network does not fill a GPU.  Each run of a pack is the same command for one seed; the pack starts them, passes
on the request to stop, and ends when all have.
"""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from priorbench.errors import PriorbenchError
from priorbench.io import sync_folder
from priorbench.runs import CHECKPOINT, Spec
from priorbench.stop import TRY_AGAIN, Interrupted, Stop, noticed
from priorbench.training.data import Inputs

Command = Sequence[str]


def pack(
    stage: str, specs: Sequence[Spec], inputs: Sequence[Inputs], outputs: Sequence[Path], threads: int, at_once: int
) -> None:
    """Do the runs of several seeds ``at_once`` at a time, with ``threads`` of the CPU together.

    Their checkpoints stay until all are done: a pack that is cut trains nothing again that was finished.
    """
    each = max(1, threads // at_once)
    commands = {
        f"seed {spec['seed']}": _command(stage, spec, files, output, each)
        for spec, files, output in zip(specs, inputs, outputs, strict=True)
    }
    side_by_side(commands, at_once)
    for output in outputs:
        sync_folder(output)
        (output / CHECKPOINT).unlink(missing_ok=True)


def _command(stage: str, spec: Spec, files: Inputs, output: Path, threads: int) -> list[str]:
    options = {
        "spec": json.dumps(spec, sort_keys=True),
        "frames": files.frames,
        "neighbours": files.neighbours,
        "split": files.split,
        "parent": files.parent,
        "budget": files.budget,
        "threads": threads,
        "output": output,
    }
    given = [word for name, value in options.items() if value is not None for word in (f"--{name}", str(value))]
    return [stage, *given, "--keep-checkpoint"]


def side_by_side(commands: Mapping[str, Command], at_once: int) -> None:
    """Run ``priorbench`` with the arguments of every entry, ``at_once`` of them at a time.

    Where one fails, those that run are asked to save and the others are not begun; its name is in the error.
    """
    waiting = list(commands.items())
    running: dict[str, subprocess.Popen[bytes]] = {}
    codes: dict[str, int] = {}
    asked: set[str] = set()
    with noticed() as stop:
        try:
            while running or (waiting and not _over(stop, codes)):
                while waiting and len(running) < at_once and not _over(stop, codes):
                    name, arguments = waiting.pop(0)
                    running[name] = subprocess.Popen([sys.executable, "-m", "priorbench.cli", *arguments])
                for name in (running.keys() - asked) if _over(stop, codes) else ():
                    with suppress(ProcessLookupError):
                        running[name].terminate()
                    asked.add(name)
                for name, process in list(running.items()):
                    if process.poll() is not None:
                        codes[name] = running.pop(name).returncode
                time.sleep(0.05)
        finally:
            for process in running.values():
                process.kill()
    _judge({name: codes[name] for name in commands if name in codes}, [name for name, _ in waiting])


_SIGNALS = (signal.SIGTERM, signal.SIGINT)
# The latter: before there was anything to save.
_AGAIN = (TRY_AGAIN, *(-number for number in _SIGNALS), *(128 + number for number in _SIGNALS))


def _over(stop: Stop, codes: dict[str, int]) -> bool:
    return bool(stop) or any(codes.values())


def _judge(codes: dict[str, int], waiting: list[str]) -> None:
    for name, code in codes.items():
        if code not in (0, *_AGAIN):
            how = f"signal {-code}" if code < 0 else f"exit code {code}"
            raise PriorbenchError(f"{name}: its process ended with {how}; its own line above says why")
    if cut := [*(name for name, code in codes.items() if code), *waiting]:
        raise Interrupted(f"{', '.join(cut)}: saved or not begun; run the same command to go on")
