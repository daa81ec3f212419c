"""``priorbench status``: where every run of an experiment stands, read from the run folders alone.

It needs neither Snakemake nor PyTorch nor the cluster, so it works on a login node and for whoever shares the folder.
"""

import shutil
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, TextIO

from priorbench.config import Config, load_config
from priorbench.errors import PriorbenchError
from priorbench.io import read_json, sha256_json, to_json
from priorbench.lock import NAME as LOCK
from priorbench.lock import STALE, describe, holder_of
from priorbench.runs import CHECKPOINT, PROGRESS, finetune_spec, pretrain_spec

State = Literal["running", "cut", "failed", "diverged", "outdated", "queued", "done"]
STATES: tuple[State, ...] = ("running", "failed", "cut", "diverged", "outdated", "queued", "done")
LINES = 5  # of the log of a failed run
EVERY = 2.0  # seconds between two looks
HOME, REST_OF_LINE, REST_OF_SCREEN = "\x1b[H", "\x1b[K", "\x1b[J"


@dataclass(frozen=True)
class RunStatus:
    """One run; what is not known (yet) is None.  Losses are the task's, errors meV/Å, ``eta`` and ``age`` seconds."""

    stage: str
    dataset: str
    backbone: str
    name: str
    seed: int
    folder: str
    state: State
    epoch: int | None = None
    epochs: int | None = None
    loss: float | None = None  # of validation
    force_rmse: float | None = None  # of validation
    structures_per_s: float | None = None
    eta: float | None = None
    age: float | None = None  # of what is known of it
    where: str | None = None
    message: str | None = None
    log: str | None = None

    @property
    def title(self) -> str:
        """Which run it is, in words."""
        return f"{self.stage:<8}  {self.dataset}  {self.backbone}  {self.name}  seed {self.seed}"


def status(config: Path, as_json: bool, results: Path = Path("results")) -> None:
    """Print the state of every run of the experiment in the file ``config``."""
    experiment = load_config(config)
    found = statuses(experiment, results / experiment.experiment)
    print(to_json([asdict(run) for run in found]) if as_json else as_text(experiment.experiment, found), end="")


def watch(
    config: Path,
    results: Path = Path("results"),
    out: TextIO = sys.stdout,
    wait: Callable[[float], None] = time.sleep,
) -> None:
    """Show it again every two seconds, in the place of what was shown before, until nothing is left to do."""
    experiment = load_config(config)
    if not out.isatty():
        raise PriorbenchError("--watch: draws on a terminal, and this is none; leave it out")
    while True:
        found = statuses(experiment, results / experiment.experiment)
        size = shutil.get_terminal_size()
        lines = as_text(experiment.experiment, found).splitlines()
        shown = [overall(found, size.columns), *(line[: size.columns] for line in lines)][: size.lines - 1]
        out.write(HOME + "".join(f"{line}{REST_OF_LINE}\n" for line in shown) + REST_OF_SCREEN)
        out.flush()
        if not any(run.state in ("running", "cut", "queued", "outdated") for run in found):
            return
        wait(EVERY)


def overall(runs: list[RunStatus], width: int) -> str:
    """How far all runs together are, by epochs, as one line of ``width`` characters at most."""
    share = share_of_epochs(runs)
    room = max(width - 30, 10)
    full = int(room * share)
    return f"[{'#' * full}{'.' * (room - full)}] {100 * share:3.0f} % of all epochs"[:width]


def share_of_epochs(runs: list[RunStatus]) -> float:
    """The mean share of its epochs that a run has done, 0 to 1."""
    shares = [
        1.0 if run.state in ("done", "diverged") else (run.epoch or 0) / run.epochs if run.epochs else 0.0
        for run in runs
    ]
    return sum(shares) / max(len(shares), 1)


def statuses(config: Config, folder: Path) -> list[RunStatus]:
    """Of every pretraining that some run needs, then of every finetuning; ``folder`` holds the experiment."""
    pretrainings = {
        (dataset, backbone, name): None
        for on in config.finetuned_datasets
        for backbone in config.backbones
        for dataset, name in config.pretrainings_on(on, backbone)
    }
    runs = [
        (dataset, backbone, name)
        for dataset in config.finetuned_datasets
        for backbone in config.backbones
        for name in config.trials_on(dataset, backbone)
    ]
    job = "all-seeds" if config.seeds_per_job == "all" else "seed{seed}"
    return [
        _status(
            stage,
            cell,
            seed,
            folder / top,
            folder / "logs" / stage / "/".join(cell) / job.format(seed=seed),
            sha256_json(spec(config, *cell, seed)),
        )
        for stage, top, cells, spec in (
            ("pretrain", "pretrained", pretrainings, pretrain_spec),
            ("finetune", "runs", runs, finetune_spec),
        )
        for cell in cells
        for seed in config.seeds
    ]


def _status(stage: str, cell: tuple[str, str, str], seed: int, top: Path, log: Path, settings: str) -> RunStatus:
    folder = top / "/".join(cell) / f"seed{seed}"
    known: dict[str, Any] = {"log": f"{log}.log"}
    if (record := _json(folder / "run.json")) is not None:
        state: State = "diverged" if record.get("status") == "diverged" else "done"
        if record.get("config_hash") != settings:
            state = "outdated"  # of another configuration; it will be repeated
        known |= {"epoch": record.get("epochs"), "epochs": record.get("epochs"), "message": record.get("diverged_at")}
        known |= {"force_rmse": record.get("val_force_rmse"), "loss": record.get("loss_best")}
        known |= {"structures_per_s": record.get("structures_per_s")}
    else:
        state, progress = _unfinished(folder)
        known |= {"loss": progress.get("val_loss"), "force_rmse": progress.get("val_force_rmse")}
        known |= {key: progress.get(key) for key in ("epoch", "epochs", "structures_per_s", "eta", "message")}
        known["where"] = describe(progress) if progress else None
        known["age"] = max(0.0, time.time() - progress["time"]) if "time" in progress else None
    return RunStatus(stage, *cell, seed, str(folder), state, **known)


def _unfinished(folder: Path) -> tuple[State, dict[str, Any]]:
    """The state of a run without a record, and its progress; a lease that is no longer beaten is of a dead process."""
    progress, holder = _json(folder / PROGRESS) or {}, holder_of(folder)
    if progress.get("state") == "waiting":
        return "queued", progress if holder else {}  # its job has not come to it yet
    if holder is not None and _beaten(folder / LOCK):
        return "running", {**progress, **holder, "message": None}
    if progress.get("state") == "failed":
        return "failed", progress
    if progress or (folder / CHECKPOINT).exists():
        return "cut", progress
    return "queued", {}


def _beaten(lease: Path) -> bool:
    try:
        return abs(time.time() - lease.stat().st_mtime) < 2 * STALE  # clocks of nodes may differ somewhat
    except OSError:
        return False


def _json(path: Path) -> dict[str, Any] | None:
    try:
        found = read_json(path)
    except (PriorbenchError, OSError):
        return None
    return found if isinstance(found, dict) else None


def as_text(experiment: str, runs: list[RunStatus]) -> str:
    """A screen for people: what is running and what went wrong in full, the rest in numbers."""
    counts = Counter(run.state for run in runs)
    numbers = ", ".join(f"{counts[state]} {state}" for state in STATES if counts[state])
    lines = [f"{experiment}: {len(runs)} runs: {numbers}"]
    for state in STATES[:4]:
        for run in (run for run in runs if run.state == state):
            lines.append(f"{state:<8}  {run.title}  {details(run)}".rstrip())
            if state == "failed":
                lines += [f"          | {line}" for line in _tail(Path(run.log or ""))]
    lines += ["", *_cells(runs)]
    return "\n".join(lines) + "\n"


def details(run: RunStatus) -> str:
    """What there is to say of a run besides its name."""
    parts = []
    if run.state in ("failed", "diverged"):
        parts.append(run.message)
    elif run.epoch is not None:
        parts.append(f"epoch {run.epoch}/{run.epochs}")
        parts.append(f"force {run.force_rmse:.1f} meV/Å" if run.force_rmse is not None else None)
        parts.append(f"loss {run.loss:.4g}" if run.loss is not None and run.force_rmse is None else None)
        parts.append(f"{run.structures_per_s:.1f} structures/s" if run.structures_per_s else None)
    else:
        parts.append("starting" if run.state == "running" else None)
    if run.state == "running":
        parts.append(f"ETA {_clock(run.eta)}" if run.eta is not None else None)
    if run.state in ("running", "cut"):
        parts.append(run.where)
    if run.state == "cut" and run.age is not None:
        parts.append(f"{_clock(run.age)} ago")
    return "  ".join(part for part in parts if part)


def _cells(runs: list[RunStatus]) -> list[str]:
    """One line a pretraining or strategy: how many of its seeds are done."""
    cells: dict[tuple[str, str, str, str], list[RunStatus]] = {}
    for run in runs:
        cells.setdefault((run.stage, run.dataset, run.backbone, run.name), []).append(run)
    widths = [max((len(cell[i]) for cell in cells), default=0) for i in range(4)]
    lines = []
    for cell, members in cells.items():
        done = sum(run.state in ("done", "diverged") for run in members)
        names = "  ".join(text.ljust(width) for text, width in zip(cell, widths, strict=True))
        bar = "#" * round(20 * done / len(members))
        lines.append(f"{names}  [{bar:<20}] {done}/{len(members)}")
    return lines


def _clock(seconds: float) -> str:
    whole = int(seconds)
    hours, rest = divmod(whole, 3600)
    return f"{hours}:{rest // 60:02d}:{rest % 60:02d}" if hours else f"{rest // 60}:{rest % 60:02d}"


def _tail(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8", errors="replace").splitlines()[-LINES:]
    except OSError:
        return []
