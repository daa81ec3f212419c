"""``priorbench run``: Snakemake with bars for whoever sits at a terminal, and with its own lines for everyone else.

Snakemake is a child process.  On a terminal its lines go to ``logs/run.log`` of the experiment, and bars are drawn from
them and from what the runs say of themselves; where there is none, nothing is different from calling it directly.
Ctrl-C and SIGTERM reach it, it lets the trainings save, and its exit code is passed on.  What goes wrong here, and a
terminal that is closed, end it as SIGTERM does: it never goes on alone.
"""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

from priorbench.config import Config, load_config
from priorbench.status import REST_OF_LINE, RunStatus, details, share_of_epochs, statuses

EVERY = 1.0  # seconds between two drawings
LAST_LINES = 25  # of the log, where Snakemake failed
VERBS = {"pretrain": "Pretrain", "finetune": "Finetune"}  # in the messages of training jobs
_FAILED = re.compile(r"^Error in (rule|group) ")
_FAILED_ID = re.compile(r"^ +jobid: (\d+)")
_NEXT = re.compile(
    r"^(\[\w{3} \w{3} .*\]$|Select jobs|Execute \d|Finished jobid|Exiting|Trying|Removing output|\d+ of \d+)"
)
_STEPS = re.compile(r"^(\d+) of (\d+) steps \(\d+%\) done")
_TOTAL = re.compile(r"^total +(\d+)")
_STARTED = re.compile(r"^(?:Job|localjob|localrule) ?(\d+)?: (.*)")
_FINISHED = re.compile(r"^Finished jobid: (\d+)")
_UP = "\x1b[{}A"


def run(config: Path, cores: str, command: Sequence[str] = ("snakemake",), out: TextIO = sys.stdout) -> int:
    """Run the experiment in the file ``config``; Snakemake's exit code."""
    experiment = load_config(config)
    arguments = [*command, "--cores", cores, "--configfile", str(config)]
    if not out.isatty() or os.environ.get("TERM", "dumb") == "dumb":
        with _started(arguments) as child:
            return _wait(child, lambda: None)
    log = Path("results", experiment.experiment, "logs/run.log")
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("w", encoding="utf-8") as lines:
        board = Board(experiment, log, out)
        with _started(arguments, stdout=lines, stderr=subprocess.STDOUT) as child:
            code = _wait(child, board.draw)
    board.draw(last=True)
    if code:
        if board.failed:
            out.write(f"\n{log} has all of it; the same command goes on where this ended.\n")
            return code
        tail = log.read_text(encoding="utf-8", errors="replace").splitlines()[-LAST_LINES:]
        out.write("\n".join(["", *tail, "", f"{log} has all of it; the same command goes on where this ended."]) + "\n")
    return code


@contextmanager
def _started(arguments: Sequence[str], **streams: Any) -> Iterator[subprocess.Popen[bytes]]:
    """A child process that signals are left to: the terminal sends it Ctrl-C itself, SIGTERM is passed on.

    It has ended when the context has, whatever happens inside.
    """
    children: list[subprocess.Popen[bytes]] = []
    asked = False  # to end, perhaps before the child was there

    def end(number: int, frame: object) -> None:
        nonlocal asked
        once, asked = not asked, True
        for child in children if once else ():  # one that is about to exit would die of another
            child.terminate()

    handlers: dict[signal.Signals, Callable[[int, Any], None]] = {
        signal.SIGINT: lambda *_: None,
        signal.SIGTERM: end,
    }
    if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:  # nohup: a closed terminal is to end nothing
        handlers[signal.SIGHUP] = end
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        # A closed terminal sends SIGHUP to all, and Snakemake would die of it with its folder locked: it gets SIGTERM.
        ended = signal.signal(signal.SIGHUP, signal.SIG_IGN)
        child = subprocess.Popen(arguments, **streams)
        signal.signal(signal.SIGHUP, ended)
        children.append(child)
        if asked:
            child.terminate()
        try:
            yield child
        finally:
            if child.poll() is None and not asked:
                child.terminate()
            child.wait()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _wait(child: subprocess.Popen[bytes], draw: Callable[[], None]) -> int:
    """The exit code of the child, drawn until it ends."""
    while True:
        try:
            code = child.wait(EVERY)
        except subprocess.TimeoutExpired:
            draw()
        else:
            return 128 - code if code < 0 else code


class Board:
    """What is drawn of an experiment, always in the same place."""

    def __init__(self, config: Config, log: Path, out: TextIO) -> None:
        self.config, self.log, self.out = config, log, out
        self.folder = Path("results", config.experiment)
        self.jobs: tuple[int, int] | None = None
        self.running: dict[str, str] = {}
        self.failed = False
        self.in_error = False
        self.errors: list[str] = []  # not shown yet
        self.read = 0
        self.drawn = 0
        self.started = time.monotonic()
        self.first_share: float | None = None

    def draw(self, last: bool = False) -> None:
        """Draw over what was drawn before; ``last`` leaves what is under way out."""
        self._listen()
        size = shutil.get_terminal_size()
        lines = [line[: size.columns - 1] for line in self.lines(size.columns - 1, last)]
        lines = lines[: max(size.lines - 1, 1)]
        up = _UP.format(self.drawn) if self.drawn else ""
        blank = max(self.drawn - len(lines), 0)
        body = "".join(f"{line}{REST_OF_LINE}\n" for line in [*self.errors, *lines, *[""] * blank])
        self.errors = []
        self.out.write(up + body + (_UP.format(blank) if blank else ""))
        self.out.flush()
        self.drawn = len(lines)

    def lines(self, width: int, last: bool = False) -> list[str]:
        """The bar of all jobs, that of all epochs, and a line for what is running."""
        runs = statuses(self.config, self.folder)
        share = share_of_epochs(runs)
        self.first_share = share if self.first_share is None else self.first_share
        elapsed = time.monotonic() - self.started
        gained = share - self.first_share
        done, total = self.jobs or (0, 0)
        jobs = f"{done} of {total} jobs" if total else "looking at what is to be done"
        lines = [bar("jobs", done / total if total else 0.0, f"{jobs}  {_clock(elapsed)}", width)]
        left = f"ETA {_clock(elapsed * (1 - share) / gained)}" if gained > 0.01 and share < 1 else ""
        lines.append(bar("epochs", share, f"of {len(runs)} trainings  {left}".rstrip(), width))
        if last:
            return lines
        under_way = [run for run in runs if run.state == "running"]
        lines += [bar(_name(run), (run.epoch or 0) / (run.epochs or 1), details(run), width) for run in under_way]
        return lines + [f"  {text}" for text in self.running.values() if not any(_is_job(text, r) for r in under_way)]

    def _listen(self) -> None:
        """Read what Snakemake has said since."""
        with self.log.open("rb") as stream:
            stream.seek(self.read)
            text = stream.read()
        whole, newline, _ = text.rpartition(b"\n")
        self.read += len(whole) + len(newline)
        for line in whole.decode("utf-8", "replace").splitlines():
            self._listen_for_errors(line)
            if found := _STEPS.match(line):
                self.jobs = int(found[1]), int(found[2])
            elif found := _TOTAL.match(line):
                self.jobs = self.jobs or (0, int(found[1]))
            elif found := _STARTED.match(line):
                self.running[found[1] or found[2]] = found[2]
            elif found := _FINISHED.match(line):
                self.running.pop(found[1], None)

    def _listen_for_errors(self, line: str) -> None:
        """Keep what is said of a failed job, its log included, and count it as running no longer."""
        if _FAILED.match(line):
            self.failed = self.in_error = True
        elif _NEXT.match(line):
            self.in_error = False
        if self.in_error:
            self.errors.append(line)
            if found := _FAILED_ID.match(line):
                self.running.pop(found[1], None)


def _name(run: RunStatus) -> str:
    return f"{run.backbone} {'pretrain ' if run.stage == 'pretrain' else ''}{run.name} {run.seed}"


def _is_job(message: str, run: RunStatus) -> bool:
    """Whether the job that says ``message`` is the one that trains ``run``."""
    job, _, seeds = message.rpartition(", ")
    named = f"{VERBS[run.stage]} {run.backbone} by {run.name} on {run.dataset}"
    return job == named and (seeds == f"seed {run.seed}" or seeds.endswith(" seeds"))


def bar(name: str, share: float, words: str, width: int) -> str:
    """A name, a bar and what there is to say, in ``width`` characters; on a narrow terminal the bar gives way."""
    names = min(24, max(width // 3, 8))
    room = min(30, width - 24 - 44)
    full = round(max(room, 0) * min(max(share, 0.0), 1.0))
    drawn = f"[{'#' * full}{'.' * (room - full)}] " if room >= 6 else ""
    short = name if len(name) <= names else f"{name[: names - 3]}…{name[-2:]}"  # the seed is at its end
    start = f"{short:<{names}} {drawn}{100 * share:3.0f} %  "
    return start + _fitting(words, width - len(start))


def _fitting(words: str, room: int) -> str:
    """The first part of ``words`` and what else has room, the ETA before all: half a number would be a wrong one."""
    parts = words.split("  ")
    while len(parts) > 1 and len("  ".join(parts)) > room:
        rest = [i for i in range(1, len(parts)) if not parts[i].startswith("ETA")]
        parts.pop(rest[-1] if rest else -1)
    return "  ".join(parts)


def _clock(seconds: float) -> str:
    whole = int(seconds)
    return f"{whole // 3600}:{whole // 60 % 60:02}:{whole % 60:02}"
